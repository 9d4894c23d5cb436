//! Exercise 17. Ten pieces are in stock. However often the stock starts again, it must sell ten.

use std::sync::Arc;

use actix::Message;
use kebne_actors::{ActorSystem, Context};
use kebne_persistence::{
    CommandHandler, Effect, Entity, EventSourced, Json, MemoryJournal, Persistence, ReplyEffect,
};
use serde::{Deserialize, Serialize};

#[derive(Message)]
#[rtype(result = "bool")]
struct Sell(u32);

#[derive(Deserialize, Serialize)]
enum Event {
    Sold(u32),
}

struct Stock {
    left: u32,
}

fn full() -> Stock {
    Stock { left: 10 }
}

impl EventSourced for Stock {
    type Event = Event;

    fn apply(&mut self, Event::Sold(number): &Event) {
        self.left -= number;
    }
}

impl CommandHandler<Sell> for Stock {
    fn handle(&self, Sell(number): Sell, _: &mut Context<Entity<Self>>) -> ReplyEffect<Self, Sell> {
        if number > self.left {
            return Effect::reply(false);
        }
        self.persist(Event::Sold(number)).then_reply(|_| true)
    }
}

// The check: leave it as it is.

pub(crate) async fn check() {
    let system = ActorSystem::new("exercise", 1);
    let journal = Arc::new(MemoryJournal::default());
    let stocks = Persistence::new(journal, Json::default());
    let mut sold = 0;
    for start in 1..=3 {
        let stock = system.spawn(stocks.props("stock", full), "stock");
        for _ in 0..3 {
            let answer = stock.ask(Sell(2), std::time::Duration::from_secs(1)).await;
            sold += if answer.unwrap() { 2 } else { 0 };
        }
        stock.stop();
        stock.when_stopped().await;
        assert!(
            sold <= 10,
            "exercise 17: {sold} of 10 sold at start {start}"
        );
    }
    assert_eq!(sold, 10, "exercise 17: what is there is sold");
}
