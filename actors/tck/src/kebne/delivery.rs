//! Kebne's reliable delivery, as the suite sees it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use actix::{Actor, Handler};
use fastrand::Rng;
use kebne_actors::{ActorRef, ActorSystem, Context, Offer, Props, Recipient};
use kebne_delivery::{Consumer, Delivery, Producer, RequestNext, ToConsumer};

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        delivery::{self as suite, Driver, Pair, Spec, Way, Weather},
    },
};

/// The driver.
#[derive(Debug)]
pub(super) struct Deliveries;

impl Driver for Deliveries {
    fn open(&self, spec: Spec) -> Result<Box<dyn Pair>, Unsupported> {
        let system = ActorSystem::new("tck", SEED);
        let bench = Bench {
            spec,
            producer: Mutex::new(start_producer(&system, spec, 1)),
            consumer: Mutex::new(start_consumer(&system, spec, 1)),
            system,
            starts: AtomicU64::new(1),
            forth: Arc::default(),
            back: Arc::default(),
            sent: Arc::default(),
            requests: Arc::default(),
        };
        bench.connect();
        Ok(Box::new(bench))
    }
}

fn start_producer(system: &ActorSystem, spec: Spec, start: u64) -> Producer<u32> {
    let mut builder = Producer::<u32>::builder().session(start);
    if let Some(buffer) = spec.buffer {
        builder = builder.buffer(buffer);
    }
    builder.spawn(system, &format!("producer-{start}"))
}

fn start_consumer(system: &ActorSystem, spec: Spec, start: u64) -> Consumer<u32> {
    let mut builder = Consumer::<u32>::builder();
    if let Some(window) = spec.window {
        builder = builder.window(window);
    }
    builder.spawn(system, &format!("consumer-{start}"))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A direction of the link.
struct Lane<F> {
    weather: Weather,
    chance: Rng,
    /// One that was delayed behind the next.
    late: Option<F>,
}

impl<F> Default for Lane<F> {
    fn default() -> Self {
        Self {
            weather: Weather::Clear,
            chance: Rng::with_seed(SEED),
            late: None,
        }
    }
}

impl<F: Clone> Lane<F> {
    /// Returns what passes now of something that is given to the link.
    fn pass(&mut self, frame: F) -> Vec<F> {
        match self.weather {
            Weather::Clear => vec![frame],
            Weather::Loses(0) => {
                self.weather = Weather::Clear;
                vec![frame]
            }
            Weather::Loses(left) => {
                self.weather = Weather::Loses(left - 1);
                Vec::new()
            }
            Weather::Down => Vec::new(),
            Weather::Repeats => vec![frame.clone(), frame],
            Weather::Foul(_) => {
                let mut passes = match self.chance.u8(0..5) {
                    0 => Vec::new(),
                    1 => vec![frame.clone(), frame],
                    2 => return self.late.replace(frame).into_iter().collect(),
                    _ => vec![frame],
                };
                passes.extend(self.late.take());
                passes
            }
        }
    }
}

type Shared<T> = Arc<Mutex<T>>;

struct Bench {
    spec: Spec,
    system: ActorSystem,
    producer: Mutex<Producer<u32>>,
    consumer: Mutex<Consumer<u32>>,
    starts: AtomicU64,
    forth: Shared<Lane<ToConsumer<u32>>>,
    back: Shared<Lane<kebne_delivery::ToProducer>>,
    sent: Shared<Vec<u32>>,
    requests: Shared<Vec<RequestNext<u32>>>,
}

impl Bench {
    fn connect(&self) {
        let (producer, consumer) = (lock(&self.producer).clone(), lock(&self.consumer).clone());
        let (lane, sent, to) = (
            Arc::clone(&self.forth),
            Arc::clone(&self.sent),
            consumer.clone(),
        );
        producer.connect(move |frame: ToConsumer<u32>| {
            lock(&sent).push(*frame.message);
            let passes = lock(&lane).pass(frame);
            for frame in passes {
                to.receive(frame);
            }
        });
        let lane = Arc::clone(&self.back);
        consumer.connect(move |frame| {
            let passes = lock(&lane).pass(frame);
            for frame in passes {
                producer.receive(frame);
            }
        });
    }
}

impl Pair for Bench {
    fn offer(&self, message: u32) -> bool {
        lock(&self.producer).offer(message).is_enqueued()
    }

    fn submit(&self, message: u32) -> Box<dyn suite::Receipt> {
        let receipt = lock(&self.producer).submit(message);
        let confirmed = Arc::default();
        if let Ok(receipt) = receipt {
            let confirmed = Arc::clone(&confirmed);
            actix_rt::spawn(async move {
                *lock(&confirmed) = receipt.confirmed().await.is_ok();
            });
        }
        Box::new(Paper(confirmed))
    }

    fn start_producer(&self) {
        lock(&self.requests).clear();
        let requests = Arc::clone(&self.requests);
        lock(&self.producer).start(Recipient::new(move |request| {
            lock(&requests).push(request);
            Offer::Enqueued
        }));
    }

    fn requests(&self) -> usize {
        lock(&self.requests).len()
    }

    fn send(&self, message: u32) -> bool {
        let request = lock(&self.requests).pop();
        request.map(|request| request.send(message)).is_some()
    }

    fn worker(&self, name: &'static str) -> Box<dyn suite::Worker> {
        let hands = Shared::default();
        let held = Arc::clone(&hands);
        let props = Props::new(move || Holder(Arc::clone(&held)));
        let actor = self.system.spawn(props, name);
        lock(&self.consumer).start(&actor);
        Box::new(Hired { actor, hands })
    }

    fn weather(&self, way: Way, weather: Weather) {
        let chance = match weather {
            Weather::Foul(seed) => Rng::with_seed(seed),
            _ => Rng::with_seed(SEED),
        };
        match way {
            Way::Forth => {
                let mut lane = lock(&self.forth);
                (lane.weather, lane.chance) = (weather, chance);
            }
            Way::Back => {
                let mut lane = lock(&self.back);
                (lane.weather, lane.chance) = (weather, chance);
            }
        }
    }

    fn sent(&self) -> Vec<u32> {
        lock(&self.sent).clone()
    }

    fn replace_consumer(&self) {
        let start = self.starts.fetch_add(1, SeqCst) + 1;
        let next = start_consumer(&self.system, self.spec, start);
        std::mem::replace(&mut *lock(&self.consumer), next).stop();
        self.connect();
    }

    fn replace_producer(&self) {
        let start = self.starts.fetch_add(1, SeqCst) + 1;
        let next = start_producer(&self.system, self.spec, start);
        std::mem::replace(&mut *lock(&self.producer), next).stop();
        self.connect();
    }
}

struct Paper(Shared<bool>);

impl suite::Receipt for Paper {
    fn is_confirmed(&mut self) -> bool {
        *lock(&self.0)
    }
}

/// Holds what it is given, outside its own state, so that the case can confirm it late.
struct Holder(Shared<Vec<Delivery<u32>>>);

impl Actor for Holder {
    type Context = Context<Self>;
}

impl Handler<Delivery<u32>> for Holder {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, _: &mut Context<Self>) {
        lock(&self.0).push(delivery);
    }
}

struct Hired {
    actor: ActorRef<Holder>,
    hands: Shared<Vec<Delivery<u32>>>,
}

impl Hired {
    fn first(&self) -> Option<Delivery<u32>> {
        let mut held = lock(&self.hands);
        let is_empty = held.is_empty();
        (!is_empty).then(|| held.remove(0))
    }
}

impl suite::Worker for Hired {
    fn messages(&self) -> Vec<u32> {
        let held = lock(&self.hands);
        held.iter().map(|delivery| **delivery.message()).collect()
    }

    fn confirm(&self) -> bool {
        self.first().map(Delivery::confirm).is_some()
    }

    fn forget(&self) -> Result<(), Unsupported> {
        drop(self.first());
        Ok(())
    }

    fn stop(&self) {
        self.actor.stop();
    }
}
