//! The client of the brokers: made when it is needed, and again when it cannot go on.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use kebne_event_bus::BusError;
use krafka::{
    Kafka, KrafkaError,
    admin::{AdminClient, CreateTopicsOptions, ListTopicsOptions, NewTopic},
    error::ErrorCode,
    producer::Producer,
};
use tokio::time::Instant;

use crate::{
    Options,
    error::{late, unavailable},
    ids::Ids,
    tail::Tail,
};

/// The time after a failure in which everything fails at once.
const FAIL_FAST: Duration = Duration::from_millis(500);
/// The time that the client keeps trying to deliver a message. Who publishes waits less long, and finds the result when it publishes the message again.
const DELIVERY_TIMEOUT: Duration = Duration::from_mins(5);

/// The client, if there is one.
#[derive(Debug)]
pub(crate) struct Connection {
    options: Options,
    ids: Arc<Mutex<Ids>>,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    open: Option<Arc<Open>>,
    failed: Option<(Instant, BusError)>,
}

/// A client that has found the brokers and the topics.
pub(crate) struct Open {
    pub(crate) kafka: Kafka,
    pub(crate) admin: AdminClient,
    pub(crate) producer: Producer,
    tail: OnceLock<Tail>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) fn new(options: Options) -> Self {
        let ids = Ids::new(options.duplicate_window);
        Self {
            options,
            ids: Arc::new(Mutex::new(ids)),
            slot: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the client, and makes it if there is none.
    pub(crate) async fn get(&self) -> Result<Arc<Open>, BusError> {
        let slot = tokio::time::timeout(self.options.timeout, self.slot.lock());
        let mut slot = slot.await.map_err(|_| late())?;
        if let Some(open) = &slot.open {
            return Ok(Arc::clone(open));
        }
        if let Some((since, error)) = &slot.failed
            && since.elapsed() < FAIL_FAST
        {
            return Err(error.clone());
        }
        let opened = tokio::time::timeout(self.options.timeout, self.open()).await;
        match opened.map_err(|_| late()).flatten() {
            Ok(open) => {
                let open = Arc::new(open);
                slot.failed = None;
                slot.open = Some(Arc::clone(&open));
                Ok(open)
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Gives up a client that cannot go on.
    pub(crate) async fn forget(&self, broken: &Arc<Open>) {
        let mut slot = self.slot.lock().await;
        if slot
            .open
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, broken))
        {
            slot.open = None;
        }
    }

    /// Returns what reads the topics of a client; it begins with the first message that is published.
    pub(crate) fn tail<'a>(&self, open: &'a Arc<Open>) -> &'a Tail {
        open.tail
            .get_or_init(|| Tail::start(open.kafka.clone(), &self.options, Arc::clone(&self.ids)))
    }

    async fn open(&self) -> Result<Open, BusError> {
        let kafka = self.options.to_client().connect().await;
        let kafka = kafka.map_err(unavailable)?;
        let admin = kafka.admin().default_api_timeout(self.options.timeout);
        self.require_topics(&admin).await?;
        let producer = kafka
            .producer()
            .linger(Duration::ZERO)
            .max_block(self.options.timeout)
            .delivery_timeout(DELIVERY_TIMEOUT)
            .metrics_push(false)
            .build();
        let producer = producer.await.map_err(unavailable)?;
        Ok(Open {
            kafka,
            admin,
            producer,
            tail: OnceLock::new(),
        })
    }

    /// Creates the topics that are not there. Those that exist keep their settings.
    async fn require_topics(&self, admin: &AdminClient) -> Result<(), BusError> {
        let there = admin.list_topics(ListTopicsOptions::default()).await;
        let there = there.map_err(unavailable)?;
        let names = self.options.topics.names().iter();
        let missing: Result<Vec<_>, _> = names
            .filter(|name| !there.contains(name))
            .map(|name| self.options.to_topic(name))
            .collect();
        let missing = missing.map_err(|error| BusError::Refused(error.to_string()))?;
        if missing.is_empty() {
            return Ok(());
        }
        let made = admin.create_topics(missing, CreateTopicsOptions::default());
        for result in made.await.map_err(unavailable)?.into_values() {
            match result {
                Ok(()) => {}
                // Another process was faster.
                Err(KrafkaError::Broker {
                    code: ErrorCode::TopicAlreadyExists,
                    ..
                }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(())
    }
}

impl Options {
    fn to_topic(&self, name: &str) -> Result<NewTopic, KrafkaError> {
        let replicas = i16::try_from(self.replicas).unwrap_or(i16::MAX);
        let topic = NewTopic::new(name, i32::from(self.partitions), replicas)?;
        let age = i64::try_from(self.age_max.as_millis()).unwrap_or(i64::MAX);
        let age = if age == 0 { -1 } else { age };
        let bytes = i64::try_from(self.bytes_max).unwrap_or(i64::MAX);
        Ok(topic
            .with_config("retention.ms", age.to_string())
            .with_config("retention.bytes", bytes.to_string()))
    }
}
