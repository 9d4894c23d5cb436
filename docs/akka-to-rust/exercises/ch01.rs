//! Exercise 1. The greeter counts its greetings. It must also send the count to `reply_to`.

use std::sync::{Arc, Mutex};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorSystem, Context, Offer, Props, Recipient};

#[derive(Message)]
#[rtype(result = "()")]
struct Greet {
    reply_to: Recipient<Greeted>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Greeted(u32);

struct Greeter {
    greeted: u32,
}

impl Actor for Greeter {
    type Context = Context<Self>;
}

impl Handler<Greet> for Greeter {
    type Result = ();

    fn handle(&mut self, Greet { reply_to }: Greet, _: &mut Context<Self>) {
        self.greeted += 1;
        drop(reply_to);
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let system = ActorSystem::new("exercise", 1);
    let greeter = system.spawn(Props::new(|| Greeter { greeted: 0 }), "greeter");
    let answers = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..2 {
        let seen = Arc::clone(&answers);
        let reply_to = Recipient::new(move |Greeted(number)| {
            seen.lock().unwrap().push(number);
            Offer::Enqueued
        });
        assert!(greeter.tell(Greet { reply_to }).is_enqueued());
    }
    tokio::time::pause();
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(
        *answers.lock().unwrap(),
        [1, 2],
        "exercise 1: every greeting is answered"
    );
}
