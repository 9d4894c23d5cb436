//! Kebne's work pulling, as the suite sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::{Actor, Handler, Message};
use kebne_actors::{
    ActorRef, ActorSystem, Context, Offer, Props, Recipient, Strategy,
    work_pulling::{Delivery, Progress as KebneProgress, Receipt, RequestNext, WorkPulling},
};

use crate::{
    case::SEED,
    driver::{
        Unsupported,
        work_pulling::{self as suite, After, Claim, Desk, Driver, Progress, Soon, Spec},
    },
};

/// The driver.
#[derive(Debug)]
pub(super) struct Pulling;

impl Driver for Pulling {
    fn open(&self, spec: Spec) -> Result<Box<dyn Desk>, Unsupported> {
        let system = ActorSystem::new("tck", SEED);
        let mut builder = WorkPulling::builder();
        if let Some(buffer) = spec.buffer {
            builder = builder.buffer(buffer);
        }
        if let Some(deliveries) = spec.deliveries_max {
            builder = builder.deliveries_max(deliveries);
        }
        Ok(Box::new(Bench {
            work: builder.spawn(&system, "desk"),
            system,
            requests: Shared::default(),
        }))
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::WorkersLeave => Ok(()),
        }
    }
}

type Shared<T> = Arc<Mutex<Vec<T>>>;

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, Vec<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Bench {
    system: ActorSystem,
    work: WorkPulling<u32>,
    requests: Shared<RequestNext<u32>>,
}

impl Desk for Bench {
    fn offer(&self, job: u32) -> Result<bool, Unsupported> {
        Ok(self.work.offer(job).is_enqueued())
    }

    fn submit(&self, job: u32) -> Result<Box<dyn suite::Receipt>, Unsupported> {
        match self.work.submit(job) {
            Ok(receipt) => Ok(Box::new(Paper(receipt))),
            Err(_) => Err(Unsupported("room in an empty buffer")),
        }
    }

    fn start_producer(&self) -> Result<(), Unsupported> {
        lock(&self.requests).clear();
        let requests = Arc::clone(&self.requests);
        let producer = Recipient::new(move |request| {
            lock(&requests).push(request);
            Offer::Enqueued
        });
        self.work.start_producer(producer);
        Ok(())
    }

    fn requests(&self) -> usize {
        lock(&self.requests).len()
    }

    fn send(&self, job: u32) -> Option<Box<dyn suite::Receipt>> {
        let request = lock(&self.requests).pop()?;
        Some(Box::new(Paper(request.send(job))))
    }

    fn worker(&self, name: &'static str, after: After) -> Box<dyn suite::Worker> {
        let hands = Shared::default();
        let strategy = match after {
            After::Stop => Strategy::stop(),
            After::Restart => Strategy::restart(),
        };
        let held = Arc::clone(&hands);
        let props = Props::new(move || Holder(Arc::clone(&held))).supervise(strategy);
        let actor = self.system.spawn(props, name);
        self.work.register(&actor);
        let work = self.work.clone();
        Box::new(Hired { actor, work, hands })
    }

    fn counts(&self) -> Soon<'_, Result<(usize, usize, usize), Unsupported>> {
        Box::pin(async {
            let stats = self.work.stats().await;
            let stats = stats.map_err(|_| Unsupported("answer of a desk that stopped"))?;
            Ok((stats.workers, stats.waiting, stats.in_work))
        })
    }

    fn stop(&self) {
        self.work.stop();
    }
}

struct Paper(Receipt);

impl suite::Receipt for Paper {
    fn progress(&self) -> Progress {
        match self.0.progress() {
            KebneProgress::Confirmed { deliveries } => Progress::Confirmed(deliveries),
            KebneProgress::GivenBack { .. } => Progress::GivenBack,
            _ if self.0.is_lost() => Progress::Lost,
            KebneProgress::Waiting => Progress::Waiting,
            KebneProgress::Taken { .. } => Progress::Taken,
        }
    }
}

/// Holds what it is given, outside its own state, so that the case can confirm it late.
struct Holder(Shared<Delivery<u32>>);

impl Actor for Holder {
    type Context = Context<Self>;
}

impl Handler<Delivery<u32>> for Holder {
    type Result = ();

    fn handle(&mut self, delivery: Delivery<u32>, _: &mut Context<Self>) {
        lock(&self.0).push(delivery);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct PanicWithAll;

impl Handler<PanicWithAll> for Holder {
    type Result = ();

    #[expect(
        clippy::panic,
        reason = "a worker that panics is what the case is about"
    )]
    fn handle(&mut self, _: PanicWithAll, _: &mut Context<Self>) {
        // What it holds is part of what is lost in the panic.
        let _held = std::mem::take(&mut *lock(&self.0));
        panic!("on purpose");
    }
}

struct Hired {
    actor: ActorRef<Holder>,
    work: WorkPulling<u32>,
    hands: Shared<Delivery<u32>>,
}

impl suite::Worker for Hired {
    fn jobs(&self) -> Vec<u32> {
        lock(&self.hands)
            .iter()
            .map(|delivery| **delivery.job())
            .collect()
    }

    fn confirm(&self) -> bool {
        let mut hands = lock(&self.hands);
        if hands.is_empty() {
            return false;
        }
        let first = hands.remove(0);
        drop(hands);
        first.confirm();
        true
    }

    fn forget(&self) -> Result<(), Unsupported> {
        let mut hands = lock(&self.hands);
        let first = (!hands.is_empty()).then(|| hands.remove(0));
        drop(hands);
        drop(first);
        Ok(())
    }

    fn panic(&self) {
        self.actor.inform(PanicWithAll);
    }

    fn stop(&self) {
        self.actor.stop();
    }

    fn leave(&self) -> Result<(), Unsupported> {
        self.work.deregister(&self.actor);
        Ok(())
    }
}
