//! An actor that is restarted after a panic; the example of the README, which prints the answers.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, AskError, Context, Props, Strategy};

#[derive(Message)]
#[rtype(result = "u64")]
struct Add(u64);

struct Sum(u64);

impl Actor for Sum {
    type Context = Context<Self>;
}

impl Handler<Add> for Sum {
    type Result = u64;

    fn handle(&mut self, Add(number): Add, _: &mut Self::Context) -> u64 {
        assert!(number != 13, "a bug");
        self.0 += number;
        self.0
    }
}

#[actix::main]
async fn main() {
    let system = ActorSystem::new("example", 1);
    let props = Props::new(|| Sum(0)).supervise(Strategy::restart());
    let sum = system.spawn(props, "sum");
    let second = Duration::from_secs(1);
    for number in [2, 3, 13, 2] {
        match sum.ask(Add(number), second).await {
            Ok(sum) => println!("add {number}: the sum is {sum}"),
            Err(AskError::Failed) => println!("add {number}: the actor failed and restarts"),
            Err(error) => println!("add {number}: {error}"),
        }
    }
    println!("stopped: {:?}", system.terminate().await.stopped);
}
