//! The actors, in virtual time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Offer, Props, Recipient, Strategy};

use crate::{Consumer, Delivery, DeliveryError, Producer, RequestNext, connect};

const SECOND: Duration = Duration::from_secs(1);

/// Holds what is delivered until the test lets it go.
#[derive(Clone, Default)]
struct Hands(Arc<Mutex<Vec<Delivery<u32>>>>);

impl Hands {
    fn messages(&self) -> Vec<u32> {
        let held = self.0.lock().unwrap();
        held.iter().map(|delivery| **delivery.message()).collect()
    }

    fn take(&self) -> Delivery<u32> {
        self.0.lock().unwrap().remove(0)
    }
}

struct Worker(Hands);

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Delivery<u32>> for Worker {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, _: &mut Context<Self>) {
        self.0.0.lock().unwrap().push(delivery);
    }
}

struct World {
    system: ActorSystem,
    producer: Producer<u32>,
    consumer: Consumer<u32>,
}

impl World {
    fn new(buffer: usize, window: u32) -> Self {
        tokio::time::pause();
        let system = ActorSystem::new("test", 1);
        let producer = Producer::<u32>::builder().buffer(buffer).session(1);
        let producer = producer.spawn(&system, "producer");
        let consumer = Consumer::<u32>::builder()
            .window(window)
            .spawn(&system, "consumer");
        connect(&producer, &consumer);
        Self {
            system,
            producer,
            consumer,
        }
    }

    fn worker(&self, name: &str) -> (ActorRef<Worker>, Hands) {
        let hands = Hands::default();
        let kept = hands.clone();
        let props = Props::new(move || Worker(kept.clone())).supervise(Strategy::restart());
        let worker = self.system.spawn(props, name);
        self.consumer.start(&worker);
        (worker, hands)
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[actix::test]
async fn messages_come_one_at_a_time_and_a_receipt_shows_the_confirmation() {
    let world = World::new(10, 5);
    let (_worker, hands) = world.worker("worker");
    let receipt = world.producer.submit(1).unwrap();
    assert!(world.producer.offer(2).is_enqueued());
    settle().await;
    assert_eq!(hands.messages(), [1], "the second waits for the first");
    hands.take().confirm();
    assert_eq!(receipt.confirmed_within(SECOND).await, Ok(()));
    settle().await;
    assert_eq!(hands.messages(), [2]);
    let timed_out = world.producer.ask(3, SECOND).await;
    assert_eq!(timed_out, Err(DeliveryError::TimedOut));
}

#[actix::test]
async fn a_full_buffer_refuses_and_a_producer_that_stops_says_so() {
    let world = World::new(2, 5);
    assert_eq!(
        [1, 2, 3].map(|n| world.producer.offer(n)),
        [Offer::Enqueued, Offer::Enqueued, Offer::Dropped]
    );
    assert!(matches!(
        world.producer.submit(3),
        Err((DeliveryError::Full, 3))
    ));
    let (_worker, hands) = world.worker("worker");
    settle().await;
    hands.take().confirm();
    settle().await;
    hands.take().confirm();
    tokio::time::sleep(40 * SECOND).await;
    assert_eq!(
        world.producer.unconfirmed(),
        0,
        "heard at the latest after the longest silence"
    );
    let receipt = world.producer.submit(4).unwrap();
    world.producer.stop();
    assert_eq!(receipt.confirmed().await, Err(DeliveryError::Stopped));
    assert_eq!(world.producer.offer(5), Offer::Closed);
}

#[actix::test]
async fn a_delivery_that_is_dropped_comes_again_before_the_next() {
    let world = World::new(10, 5);
    let (_worker, hands) = world.worker("worker");
    assert!(world.producer.offer(1).is_enqueued());
    assert!(world.producer.offer(2).is_enqueued());
    settle().await;
    drop(hands.take());
    settle().await;
    assert_eq!(hands.messages(), [1]);
}

#[actix::test]
async fn the_message_of_a_worker_that_stopped_goes_to_the_next_and_its_late_confirmation_is_ignored()
 {
    let world = World::new(10, 5);
    let (worker, hands) = world.worker("first");
    assert!(world.producer.offer(1).is_enqueued());
    assert!(world.producer.offer(2).is_enqueued());
    settle().await;
    let late = hands.take();
    worker.stop();
    worker.when_stopped().await;
    settle().await;
    let (_worker, hands) = world.worker("second");
    settle().await;
    assert_eq!(hands.messages(), [1]);
    late.confirm();
    settle().await;
    assert_eq!(
        hands.messages(),
        [1],
        "the first is not confirmed by who lost it"
    );
}

#[actix::test]
async fn who_produces_is_asked_for_as_many_as_the_window_allows() {
    let world = World::new(100, 4);
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    world
        .producer
        .start(Recipient::new(move |request: RequestNext<u32>| {
            let number = count.fetch_add(1, SeqCst);
            drop(request.send(u32::try_from(number).unwrap()));
            Offer::Enqueued
        }));
    settle().await;
    assert_eq!(asked.load(SeqCst), 4, "the window");
    let (_worker, hands) = world.worker("worker");
    for expected in 0..20 {
        settle().await;
        let delivery = hands.take();
        assert_eq!(**delivery.message(), expected);
        delivery.confirm();
    }
    settle().await;
    assert!(asked.load(SeqCst) <= 24);
}

/// A link that works only while it is open.
#[actix::test]
async fn after_a_link_was_down_all_that_was_lost_is_sent_again() {
    let world = World::new(100, 10);
    let is_open = Arc::new(AtomicBool::new(true));
    let (consumer, open) = (world.consumer.clone(), Arc::clone(&is_open));
    world.producer.connect(move |frame| {
        if open.load(SeqCst) {
            consumer.receive(frame);
        }
    });
    let (_worker, hands) = world.worker("worker");
    assert!(world.producer.offer(0).is_enqueued());
    settle().await;
    hands.take().confirm();
    is_open.store(false, SeqCst);
    for message in 1..=5 {
        assert!(world.producer.offer(message).is_enqueued());
    }
    settle().await;
    assert!(hands.messages().is_empty());
    is_open.store(true, SeqCst);
    tokio::time::sleep(31 * SECOND).await;
    for expected in 1..=5 {
        settle().await;
        assert_eq!(hands.messages(), [expected]);
        hands.take().confirm();
    }
}

#[actix::test]
async fn a_new_consumer_gets_what_the_last_one_has_not_confirmed() {
    let world = World::new(100, 10);
    let (_worker, hands) = world.worker("worker");
    for message in 0..4 {
        assert!(world.producer.offer(message).is_enqueued());
    }
    settle().await;
    hands.take().confirm();
    settle().await;
    world.consumer.stop();
    let consumer = Consumer::<u32>::builder().spawn(&world.system, "next");
    connect(&world.producer, &consumer);
    let hands = Hands::default();
    let kept = hands.clone();
    consumer.start(
        &world
            .system
            .spawn(Props::new(move || Worker(kept.clone())), "next-worker"),
    );
    settle().await;
    let first = hands.messages()[0];
    assert!(first <= 1, "at least once: {first}");
    for expected in first..4 {
        settle().await;
        assert_eq!(hands.messages(), [expected]);
        hands.take().confirm();
    }
}
