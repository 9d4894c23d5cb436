//! Calls from a broker: messages become calls of this gateway, and their answers messages.
//!
//! Owns the way of a message: it is pulled when the lanes have room for it, posted to this gateway like the call of any client, answered by a message whose
//! id is made of its own, and acknowledged once the bus has confirmed the answer. A gateway that dies in between has the message delivered again; the
//! answer has the same id then, so that the bus drops the second one. What cannot be answered becomes a dead letter with the reason.

mod ask;
mod call;
mod letters;
mod room;
mod work;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use kebne_event_bus::{BusError, Deliveries, EventBus, Subscription};
use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{gateway::Gateway, settings::ConsumeSettings};

pub use ask::{Asker, AskerError};

use room::room;
use work::Work;

/// The longest wait for a message, and the time after which a bus that does not answer is asked again.
const PULL_WAIT: Duration = Duration::from_secs(1);
/// The time between two looks at the room of lanes that have none.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The most messages that are taken at once.
const PULL_MAX: usize = 64;

/// The two ends of the consumer.
#[derive(Clone, Debug)]
pub struct Buses {
    /// Where calls come from.
    pub calls: Arc<dyn EventBus>,
    /// Where answers and dead letters go.
    pub answers: Arc<dyn EventBus>,
}

/// The consumer; clones share it.
#[derive(Clone, Debug)]
pub struct Consumer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: ConsumeSettings,
    /// The attribute `source` of answers.
    source: String,
    buses: Buses,
    asker: Asker,
    counts: Counts,
    /// The messages that are worked on.
    running: AtomicUsize,
    /// Until when no message is taken, because a lane has asked for it.
    paused: watch::Sender<Option<Instant>>,
    /// Cancelled when no further message is to be taken.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    answered: AtomicU64,
    duplicates: AtomicU64,
    dead: AtomicU64,
    put_off: AtomicU64,
    failures: AtomicU64,
}

/// What a consumer has done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ConsumeReport {
    /// Messages that were delivered.
    pub taken: u64,
    /// Answers that the bus has stored.
    pub answered: u64,
    /// Answers that the bus had already.
    pub duplicates: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// Times that a lane has put a call off.
    pub put_off: u64,
    /// Times that the bus did not do what it was asked.
    pub failures: u64,
    /// Messages that are worked on now.
    pub running: usize,
    /// `true` while no message is taken because a lane has asked for it.
    pub paused: bool,
}

impl Consumer {
    /// Creates a consumer that takes messages until `stop` is cancelled.
    pub fn new(
        settings: &ConsumeSettings,
        source: &str,
        (buses, asker): (Buses, Asker),
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            settings: settings.clone(),
            source: source.to_owned(),
            buses,
            asker,
            counts: Counts::default(),
            running: AtomicUsize::new(0),
            paused: watch::Sender::new(None),
            stop,
        }))
    }

    /// Takes messages as the lanes have room for them, for ever; after the stop it only waits.
    pub async fn run(&self, gateway: &Gateway) -> Infallible {
        let stop = self.0.stop.clone();
        loop {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.take_all(gateway) => taken,
            };
            if let Err(error) = taken {
                self.0.counts.failures.fetch_add(1, SeqCst);
                tracing::warn!(%error, "no calls can be taken from the bus");
                tokio::time::sleep(PULL_WAIT).await;
            }
        }
        std::future::pending().await
    }

    /// Subscribes, and takes messages until the bus fails.
    async fn take_all(&self, gateway: &Gateway) -> Result<(), BusError> {
        let settings = &self.0.settings;
        let mut subscription = Subscription::new(&settings.name, &settings.subject);
        subscription.acknowledge_within = settings.acknowledge_within.0;
        // Gateways that share the subscription share this bound too.
        subscription.unacknowledged_max = settings.at_once_max.saturating_mul(16);
        let mut deliveries = self.0.buses.calls.subscribe(subscription).await?;
        loop {
            self.until_resumed().await;
            let running = self.0.running.load(SeqCst);
            let lanes = gateway.snapshot().await.lanes;
            let room = room(&lanes, running, settings.at_once_max).min(PULL_MAX);
            if room == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            self.take(&mut *deliveries, room).await?;
        }
    }

    /// Takes at most `room` messages, and has each worked on.
    async fn take(&self, deliveries: &mut dyn Deliveries, room: usize) -> Result<(), BusError> {
        for delivery in deliveries.pull(room, PULL_WAIT).await? {
            self.0.counts.taken.fetch_add(1, SeqCst);
            let work = Work::new(self.clone(), delivery);
            actix_rt::spawn(work.run());
        }
        Ok(())
    }

    /// Waits while a lane wants no calls.
    async fn until_resumed(&self) {
        loop {
            let until = *self.0.paused.borrow();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Takes no further messages for this long.
    fn pause(&self, wait: Duration) {
        self.0.counts.put_off.fetch_add(1, SeqCst);
        let until = Instant::now() + wait;
        self.0.paused.send_modify(|paused| {
            *paused = Some(paused.map_or(until, |before| before.max(until)));
        });
    }

    /// Waits until no message is worked on and others can take over, but no longer than `wait`. What is left is delivered again.
    pub async fn finish(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while self.0.running.load(SeqCst) > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if tokio::time::timeout_at(until, self.0.buses.calls.close())
            .await
            .is_err()
        {
            tracing::debug!("the bus was not told in time that no more calls are taken");
        }
    }

    /// Returns what was done.
    pub fn report(&self) -> ConsumeReport {
        let counts = &self.0.counts;
        let paused = *self.0.paused.borrow();
        ConsumeReport {
            taken: counts.taken.load(SeqCst),
            answered: counts.answered.load(SeqCst),
            duplicates: counts.duplicates.load(SeqCst),
            dead_letters: counts.dead.load(SeqCst),
            put_off: counts.put_off.load(SeqCst),
            failures: counts.failures.load(SeqCst),
            running: self.0.running.load(SeqCst),
            paused: paused.is_some_and(|until| until > Instant::now()),
        }
    }
}
