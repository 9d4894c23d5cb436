//! Exercise 18. Prices change faster than a display can show them. It must show an alarm as soon as it can, then the latest price, and
//! none that is out of date.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::{Actor, AtomicResponse, Handler, Message, fut::wrap_future};
use kebne_actors::{ActorRef, ActorSystem, Context, Offer, Props};

#[derive(Message)]
#[rtype(result = "()")]
struct Show(String);

type Shown = Arc<Mutex<Vec<String>>>;

/// Takes a second to show a text.
struct Display(Shown);

impl Actor for Display {
    type Context = Context<Self>;
}

impl Handler<Show> for Display {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, Show(text): Show, _: &mut Context<Self>) -> Self::Result {
        self.0.lock().unwrap().push(text);
        let drawing = tokio::time::sleep(Duration::from_secs(1));
        AtomicResponse::new(Box::pin(wrap_future(drawing)))
    }
}

fn props(shown: Shown) -> Props<Display> {
    Props::new(move || Display(Arc::clone(&shown)))
}

fn price(display: &ActorRef<Display>, price: u32) -> Offer {
    display.tell(Show(price.to_string()))
}

fn alarm(display: &ActorRef<Display>) -> Offer {
    display.tell(Show("alarm".to_owned()))
}

// The check: leave it as it is.

pub(crate) async fn check() {
    tokio::time::pause();
    let shown = Shown::default();
    let system = ActorSystem::new("exercise", 1);
    let display = system.spawn(props(Arc::clone(&shown)), "display");
    assert!(price(&display, 1).is_enqueued());
    tokio::time::sleep(Duration::from_millis(1)).await;
    for next in 2..=100 {
        assert!(
            price(&display, next).is_enqueued(),
            "exercise 18: a new price is never refused"
        );
    }
    assert!(
        alarm(&display).is_enqueued(),
        "exercise 18: an alarm is never refused"
    );
    tokio::time::sleep(Duration::from_secs(10)).await;
    let shown = shown.lock().unwrap().clone();
    assert_eq!(
        shown,
        ["1", "alarm", "100"],
        "exercise 18: the alarm at once, then the latest price"
    );
}
