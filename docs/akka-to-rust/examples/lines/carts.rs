//! Chapter 17.

use std::{collections::BTreeMap, fmt, sync::Arc};

use actix::Message;
use kebne_actors::{ActorSystem, AskError, Context};
use kebne_persistence::{
    CommandHandler, Effect, Entity, EventSourced, Json, Persistence, ReplyEffect,
    on_persist_failure, testkit::FaultyJournal,
};
use serde::{Deserialize, Serialize};

use crate::{MS, Part, SECOND, say};

#[derive(Message)]
#[rtype(result = "Result<u32, &'static str>")]
struct AddItem {
    item: &'static str,
    quantity: u32,
}

#[derive(Message)]
#[rtype(result = "Result<u32, &'static str>")]
struct Checkout;

#[derive(Clone, Deserialize, Serialize)]
enum Event {
    ItemAdded { item: String, quantity: u32 },
    CheckedOut,
}

#[derive(Clone, Default, Deserialize, Serialize)]
struct Cart {
    items: BTreeMap<String, u32>,
    checked_out: bool,
}

impl EventSourced for Cart {
    type Event = Event;

    fn apply(&mut self, event: &Event) {
        match event {
            Event::ItemAdded { item, quantity } => {
                *self.items.entry(item.clone()).or_default() += quantity;
            }
            Event::CheckedOut => self.checked_out = true,
        }
    }
}

impl CommandHandler<AddItem> for Cart {
    fn handle(&self, add: AddItem, _: &mut Context<Entity<Self>>) -> ReplyEffect<Self, AddItem> {
        if self.checked_out {
            return Effect::reply(Err("checked out"));
        }
        let event = Event::ItemAdded {
            item: add.item.to_owned(),
            quantity: add.quantity,
        };
        self.persist(event)
            .then_reply(|cart| Ok(cart.items.values().sum()))
    }
}

impl CommandHandler<Checkout> for Cart {
    fn handle(&self, _: Checkout, _: &mut Context<Entity<Self>>) -> ReplyEffect<Self, Checkout> {
        if self.items.is_empty() {
            return Effect::reply(Err("empty"));
        }
        self.persist(Event::CheckedOut)
            .then_reply(|cart| Ok(cart.items.values().sum()))
    }
}

fn said<T: fmt::Display>(answer: Result<Result<T, &str>, AskError>) -> String {
    match answer {
        Ok(Ok(value)) => value.to_string(),
        Ok(Err(error)) => error.to_owned(),
        Err(AskError::TimedOut) => "nothing until its timeout".to_owned(),
        Err(_) => "an error at once".to_owned(),
    }
}

pub(crate) async fn run() -> Part {
    let journal = FaultyJournal::default();
    let carts = Persistence::new(Arc::new(journal.clone()), Json::default());
    let system = ActorSystem::new("carts", 1);
    let spawn = || {
        let props = carts.props("7", Cart::default);
        let strategy = on_persist_failure(200 * MS, 5 * SECOND);
        system.spawn(props.supervise(strategy), "cart-7")
    };
    let tea = |quantity| AddItem {
        item: "tea",
        quantity,
    };
    let cart = spawn();
    let empty = said(cart.ask(Checkout, SECOND).await);
    say(&format!("17 the checkout of an empty cart: {empty}"))?;
    let added = said(cart.ask(tea(2), SECOND).await);
    say(&format!("17 two of tea: {added}"))?;
    journal.fail_next_writes(1);
    let failed = said(cart.ask(tea(1), SECOND).await);
    say(&format!(
        "differs: 17 whose event cannot be written gets: {failed}"
    ))?;
    let added = said(cart.ask(tea(1), SECOND).await);
    say(&format!("17 one more, behind the recovery: {added}"))?;
    cart.ask(Checkout, SECOND).await??;
    // Of these writes one failed.
    let events: usize = journal.writes().iter().map(|(_, events)| events).sum();
    say(&format!("17 events in the journal: {}", events - 1))?;
    cart.stop();
    cart.when_stopped().await;
    let added = said(spawn().ask(tea(1), SECOND).await);
    say(&format!("17 one more in another life: {added}"))?;
    system.terminate().await;
    Ok(())
}
