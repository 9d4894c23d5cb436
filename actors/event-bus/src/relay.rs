//! The way of messages from the outbox to a broker.
//!
//! A message leaves the outbox when the bus has confirmed it. Messages of one key are published one after the other, so that their order is kept
//! whatever fails; those of different keys at the same time. While the bus is not available everything stays in the outbox, and is tried again with a
//! growing wait.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::{
    bus::{BusError, EventBus, Message, Published},
    outbox::Outbox,
};

/// The messages that are read at once.
const BATCH: usize = 512;
/// The keys whose messages are published at the same time. One round trip to a broker is shared by so many.
const KEYS_AT_ONCE: usize = 64;
/// The time within which the bus must answer, unless another one is set.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait after a failure.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// The longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The task that publishes what waits in an outbox.
#[derive(Debug)]
pub struct Relay {
    outbox: Outbox,
    bus: Arc<dyn EventBus>,
    counts: RelayCounts,
    publish_timeout: Duration,
}

/// How many of the messages that were read are done.
#[derive(Clone, Copy, Debug)]
enum Pass {
    /// All.
    Complete,
    /// Some.
    Partial,
    /// None.
    Failed,
}

/// What a relay has done; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RelayCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    published: AtomicU64,
    duplicates: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    reason: Mutex<Option<String>>,
}

/// What a relay has done, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RelayReport {
    /// Messages that the bus has stored.
    pub published: u64,
    /// Messages that the bus had already.
    pub duplicates: u64,
    /// Messages that were lost because the bus will never take them.
    pub refused: u64,
    /// Tries that failed and were repeated.
    pub failures: u64,
    /// Why the bus does not take messages; `None` while it does.
    pub reason: Option<String>,
}

impl RelayCounts {
    /// Returns the counts.
    pub fn report(&self) -> RelayReport {
        let counts = &self.0;
        let reason = counts.reason.lock().unwrap_or_else(PoisonError::into_inner);
        RelayReport {
            published: counts.published.load(Relaxed),
            duplicates: counts.duplicates.load(Relaxed),
            refused: counts.refused.load(Relaxed),
            failures: counts.failures.load(Relaxed),
            reason: reason.clone(),
        }
    }

    fn note(&self, published: &Result<Published, BusError>) {
        let counts = &self.0;
        let counter = match published {
            Ok(Published::Stored) => &counts.published,
            Ok(Published::Duplicate) => &counts.duplicates,
            Err(BusError::Refused(_)) => &counts.refused,
            Err(BusError::Unavailable(_)) => &counts.failures,
        };
        counter.fetch_add(1, Relaxed);
        let mut reason = counts.reason.lock().unwrap_or_else(PoisonError::into_inner);
        match published {
            Err(error @ BusError::Unavailable(_)) => {
                if reason.replace(error.to_string()).is_none() {
                    tracing::warn!(%error, "events wait in the outbox");
                }
            }
            Err(error) => tracing::error!(%error, "an event is lost"),
            Ok(_) => {
                if reason.take().is_some() {
                    tracing::info!("the bus of events takes events again");
                }
            }
        }
    }
}

impl Relay {
    /// Creates the task.
    pub fn new(outbox: Outbox, bus: Arc<dyn EventBus>) -> Self {
        Self {
            outbox,
            bus,
            counts: RelayCounts::default(),
            publish_timeout: PUBLISH_TIMEOUT,
        }
    }

    /// Sets the time within which the bus must answer. Default 10 s.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.publish_timeout = time;
        self
    }

    /// Returns the counts, which the task changes.
    pub fn counts(&self) -> RelayCounts {
        self.counts.clone()
    }

    /// Publishes what waits, for ever.
    pub async fn run(self) -> Infallible {
        let mut waiting = self.outbox.waiting();
        let mut wait = WAIT_MIN;
        loop {
            // The outbox lives as long as this task, which holds it.
            drop(waiting.wait_for(|waiting| *waiting > 0).await);
            match self.pass().await {
                Pass::Complete => {
                    wait = WAIT_MIN;
                    continue;
                }
                Pass::Partial => wait = WAIT_MIN,
                Pass::Failed => {}
            }
            // Gateways that have lost the same broker do not all come back at the same moment.
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Publishes the oldest messages.
    async fn pass(&self) -> Pass {
        let batch = match self.outbox.read(BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::debug!(%error, "the outbox cannot be read");
                return Pass::Failed;
            }
        };
        let mut done = Vec::new();
        let mut keys: BTreeMap<String, Vec<(i64, Message)>> = BTreeMap::new();
        for (number, message) in batch {
            let Some(message) = message else {
                tracing::error!(
                    number,
                    "an event in the outbox cannot be decrypted; it is lost"
                );
                done.push(number);
                continue;
            };
            let of_key = keys.entry(message.key.clone()).or_default();
            of_key.push((number, message));
        }
        let expected = keys.values().map(Vec::len).sum::<usize>() + done.len();
        let mut finished = stream::iter(keys.into_values())
            .map(|messages| self.publish_in_order(messages))
            .buffer_unordered(KEYS_AT_ONCE);
        while let Some(numbers) = finished.next().await {
            done.extend(numbers);
        }
        let is_complete = done.len() == expected;
        if done.is_empty() && expected > 0 {
            return Pass::Failed;
        }
        match self.outbox.remove(done).await {
            Ok(()) if is_complete => Pass::Complete,
            Ok(()) => Pass::Partial,
            Err(error) => {
                // They are published again with the same ids.
                tracing::debug!(%error, "published events could not be removed from the outbox");
                Pass::Failed
            }
        }
    }

    /// Publishes messages one after the other, until one fails; returns the numbers of those that are done.
    async fn publish_in_order(&self, messages: Vec<(i64, Message)>) -> Vec<i64> {
        let mut done = Vec::new();
        for (number, message) in messages {
            let published =
                tokio::time::timeout(self.publish_timeout, self.bus.publish(message)).await;
            let late = |_| {
                Err(BusError::Unavailable(
                    "it did not answer in time".to_owned(),
                ))
            };
            let published = published.unwrap_or_else(late);
            self.counts.note(&published);
            match published {
                Ok(_) | Err(BusError::Refused(_)) => done.push(number),
                Err(BusError::Unavailable(_)) => break,
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        OutboxParts, OutboxSettings,
        bus::{Deliveries, Later, Subscription},
        memory::MemoryBus,
    };

    /// A bus that is away while the flag is set, and that stores every third message without saying so.
    #[derive(Debug)]
    struct Shaky {
        bus: MemoryBus,
        is_away: AtomicBool,
        calls: AtomicU64,
    }

    impl EventBus for Shaky {
        fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>> {
            Box::pin(async move {
                let away = || BusError::Unavailable("away".to_owned());
                if self.is_away.load(Relaxed) {
                    return Err(away());
                }
                if message.payload.len() > 100 {
                    return Err(BusError::Refused("too large".to_owned()));
                }
                let published = self.bus.put(message);
                let call = self.calls.fetch_add(1, Relaxed);
                if call.is_multiple_of(3) {
                    Err(away())
                } else {
                    Ok(published)
                }
            })
        }

        fn subscribe(
            &self,
            subscription: Subscription,
        ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>> {
            self.bus.subscribe(subscription)
        }
    }

    #[tokio::test]
    async fn every_message_arrives_once_and_in_the_order_of_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let settings = OutboxSettings {
            path: folder.path().join("events.sqlite"),
            ..OutboxSettings::default()
        };
        let outbox = Outbox::start(OutboxParts {
            settings,
            keyring: None,
        })
        .unwrap();
        let bus = Arc::new(Shaky {
            bus: MemoryBus::new(10_000),
            is_away: AtomicBool::new(true),
            calls: AtomicU64::new(0),
        });
        let relay = Relay::new(outbox.clone(), bus.clone());
        let counts = relay.counts();
        let task = tokio::spawn(relay.run());
        let mut all = bus.bus.follow(None);
        let emitter = outbox.clone();
        let emitted = tokio::task::spawn_blocking(move || {
            for number in 0..60 {
                let key = format!("k{}", number % 7);
                emitter.put(Message::new(number.to_string(), "a", key, "{}"));
            }
            emitter.put(Message::new("large", "a", "k0", "x".repeat(101)));
        });
        emitted.await.unwrap();
        while counts.report().failures == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(counts.report().reason.is_some());
        bus.is_away.store(false, Relaxed);
        let mut last = BTreeMap::new();
        for _ in 0..60 {
            let Some(crate::Followed::Message(message)) = all.next().await else {
                panic!("a message is missing");
            };
            let number: u32 = message.id.parse().unwrap();
            let before = last.insert(message.key.clone(), number);
            assert!(before.is_none_or(|before| before < number), "{message:?}");
        }
        while outbox.counts().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let report = counts.report();
        assert_eq!(
            (report.published + report.duplicates, report.refused),
            (60, 1)
        );
        assert!(report.duplicates > 0);
        task.abort();
    }
}
