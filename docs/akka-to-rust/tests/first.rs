//! The first tests of the guide, as README.md and chapter 1 show them.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Props};

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

struct Sum(u64);

impl Actor for Sum {
    type Context = Context<Self>;
}

impl Handler<Add> for Sum {
    type Result = u64;

    fn handle(&mut self, Add(number): Add, _: &mut Context<Self>) -> u64 {
        self.0 += number;
        self.0
    }
}

#[actix::test]
async fn a_sum_adds() {
    let system = ActorSystem::new("first", 1);
    let sum = system.spawn(Props::new(|| Sum(0)), "sum");
    assert_eq!(sum.ask(Add(2), Duration::from_secs(1)).await, Ok(2));
    assert_eq!(sum.ask(Add(3), Duration::from_secs(1)).await, Ok(5));
}

#[derive(Message)]
#[rtype(result = "()")]
struct Increment;

#[derive(Message)]
#[rtype(result = "u64")]
struct GetValue;

struct Counter {
    value: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Increment> for Counter {
    type Result = ();

    fn handle(&mut self, _: Increment, _: &mut Context<Self>) {
        self.value += 1;
    }
}

impl Handler<GetValue> for Counter {
    type Result = u64;

    fn handle(&mut self, _: GetValue, _: &mut Context<Self>) -> u64 {
        self.value
    }
}

#[actix::test]
async fn a_counter_counts() {
    let system = ActorSystem::new("test", 1);
    let counter = system.spawn(Props::new(|| Counter { value: 0 }), "counter");
    assert!(counter.tell(Increment).is_enqueued());
    assert_eq!(counter.ask(GetValue, Duration::from_secs(1)).await, Ok(1));
}
