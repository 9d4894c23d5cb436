//! Exercise 26. A till sends twenty bookings over a link that loses some. All must be in the ledger in the end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorSystem, Context, Props};
use kebne_delivery::{Consumer, Delivery, Producer};

/// Sends the bookings.
async fn send(producer: &Producer<u64>) {
    for booking in 1..=20 {
        // Waits until the ledger has confirmed it, so that there is room for the next one.
        let sent = producer.ask(booking, Duration::from_mins(10)).await;
        assert_eq!(sent, Ok(()));
    }
}

// The check: leave it as it is.

struct Ledger(Arc<AtomicU64>);

impl Actor for Ledger {
    type Context = Context<Self>;
}

impl Handler<Delivery<u64>> for Ledger {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u64>, _: &mut Context<Self>) {
        self.0.fetch_add(**delivery.message(), SeqCst);
        delivery.confirm();
    }
}

pub(crate) async fn check() {
    tokio::time::pause();
    let system = ActorSystem::new("exercise", 1);
    let producer = Producer::builder().buffer(5).spawn(&system, "till");
    let consumer = Consumer::<u64>::builder().window(3);
    let consumer = consumer.spawn(&system, "consumer");
    let (to_consumer, frames) = (consumer.clone(), AtomicU32::new(0));
    producer.connect(move |frame| {
        if frames.fetch_add(1, SeqCst) % 3 != 2 {
            to_consumer.receive(frame);
        }
    });
    let to_producer = producer.clone();
    consumer.connect(move |frame| to_producer.receive(frame));
    let sum = Arc::<AtomicU64>::default();
    let shared = Arc::clone(&sum);
    let ledger = Props::new(move || Ledger(Arc::clone(&shared)));
    consumer.start(&system.spawn(ledger, "ledger"));
    send(&producer).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(
        sum.load(SeqCst),
        210,
        "exercise 26: all bookings are in the ledger"
    );
}
