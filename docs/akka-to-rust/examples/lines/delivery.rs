//! Chapter 26.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use actix::{Actor, Handler};
use kebne_actors::{ActorSystem, Context, Offer, Props, Recipient};
use kebne_delivery::{Consumer, Delivery, Producer, RequestNext, connect};

use crate::{Part, drain, probe, say, settle, words};

#[derive(Debug)]
struct Order(u32);

struct Ledger {
    begun: Recipient<u32>,
    /// What it does not confirm.
    kept: Vec<Delivery<Order>>,
    keeps: bool,
}

impl Actor for Ledger {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Ledger {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<Order>, _: &mut Context<Self>) {
        let _gone = self.begun.tell(delivery.message().0);
        if self.keeps {
            self.kept.push(delivery);
        } else {
            delivery.confirm();
        }
    }
}

fn ledger(begun: &Recipient<u32>, keeps: bool) -> Props<Ledger> {
    let begun = begun.clone();
    Props::new(move || Ledger {
        begun: begun.clone(),
        kept: Vec::new(),
        keeps,
    })
}

/// Starts both sides and a shop, which sends the orders one by one, each when it is asked for one.
fn pair(system: &ActorSystem, name: &str, orders: u32) -> (Consumer<Order>, Arc<AtomicU32>) {
    let consumer = Consumer::<Order>::builder().spawn(system, &format!("{name}-consumer"));
    let producer = Producer::<Order>::builder().spawn(system, &format!("{name}-producer"));
    connect(&producer, &consumer);
    let sent = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&sent);
    producer.start(Recipient::new(move |request: RequestNext<Order>| {
        if count.load(SeqCst) < orders {
            let _receipt = request.send(Order(count.fetch_add(1, SeqCst) + 1));
        }
        Offer::Enqueued
    }));
    (consumer, sent)
}

pub(crate) async fn run() -> Part {
    let system = ActorSystem::new("orders", 1);
    let (booked, mut all) = probe();
    let (orders, _) = pair(&system, "orders", 6);
    orders.start(&system.spawn(ledger(&booked, false), "ledger"));
    settle().await;
    say(&format!("26 in their order: {}", words(drain(&mut all))))?;

    let (begun, mut beginnings) = probe();
    let (slow, sent) = pair(&system, "slow", 1000);
    slow.start(&system.spawn(ledger(&begun, true), "keeps"));
    settle().await;
    let another = drain(&mut beginnings).len() > 1;
    say(&format!(
        "26 one that is not confirmed is followed by another: {another}"
    ))?;
    say(&format!("26 sent and not confirmed: {}", sent.load(SeqCst)))?;
    let next = system.spawn(ledger(&begun, true), "next");
    slow.start(&next);
    settle().await;
    let first = words(drain(&mut beginnings));
    say(&format!("26 the next consumer begins with: {first}"))?;
    next.stop();
    next.when_stopped().await;
    slow.start(&system.spawn(ledger(&begun, true), "last"));
    settle().await;
    let outlives = !drain(&mut beginnings).is_empty();
    say(&format!(
        "differs: 26 the controller outlives a consumer that stops: {outlives}"
    ))?;
    system.terminate().await;
    Ok(())
}
