//! The event bus on Apache Kafka.
//!
//! Owns the connection to the brokers, how messages become records of Kafka, and what Kafka does not have: ids within a window, acknowledgements of
//! single messages, and their redelivery. The id of a message is the header `kebne-id`, its key the key of the record, so that the messages of a key are in
//! one partition and in order. A subscription is a consumer group.

mod connection;
mod deliveries;
mod error;
mod group;
mod ids;
mod options;
mod progress;
mod publish;
mod queue;
mod tail;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use kebne_event_bus::{BusError, Deliveries, EventBus, Later, Message, Published, Subscription};
use kebne_events::matches;

use connection::Connection;
use deliveries::KafkaDeliveries;
use group::Group;
pub use options::{Mechanism, Options, Topics, Trust, User};

/// The header with the id of a message.
const ID: &str = "kebne-id";
/// The header with the topic of a message whose topic is not that of Kafka.
const TOPIC: &str = "kebne-topic";

/// The bus.
#[derive(Debug)]
pub struct KafkaBus {
    connection: Arc<Connection>,
    groups: Mutex<HashMap<String, Weak<Group>>>,
}

impl KafkaBus {
    /// Creates a bus, which connects when it is used first, and again after a failure. It must be used on a runtime of tokio.
    pub fn new(options: Options) -> Self {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have installed the provider first; it is the same one.
            let _same = rustls::crypto::ring::default_provider().install_default();
        }
        Self {
            connection: Arc::new(Connection::new(options)),
            groups: Mutex::default(),
        }
    }

    /// Returns the topics of Kafka that a subscription reads.
    fn topics(&self, filter: &str) -> Result<Vec<String>, BusError> {
        let topics = match &self.connection.options().topics {
            Topics::One(topic) => vec![topic.clone()],
            Topics::Named(topics) => {
                let fits = topics.iter().filter(|topic| matches(filter, topic));
                fits.cloned().collect()
            }
        };
        if topics.is_empty() {
            let message = format!("no topic of this bus fits the filter `{filter}`");
            return Err(BusError::Refused(message));
        }
        Ok(topics)
    }

    /// Returns the subscription of a name, and makes it if there is none.
    fn group(&self, subscription: &Subscription) -> Result<Arc<Group>, BusError> {
        let topics = self.topics(&subscription.filter)?;
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.retain(|_, group| group.strong_count() > 0);
        let group = groups.get(&subscription.name).and_then(Weak::upgrade);
        if let Some(group) = group.filter(|group| !group.has_ended()) {
            let bounds = (
                subscription.acknowledge_within,
                subscription.unacknowledged_max,
            );
            group.queue().set_bounds(bounds.0, bounds.1);
            return Ok(group);
        }
        let group = Group::start(Arc::clone(&self.connection), subscription, topics);
        let group = Arc::new(group);
        groups.insert(subscription.name.clone(), Arc::downgrade(&group));
        Ok(group)
    }
}

impl EventBus for KafkaBus {
    fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>> {
        Box::pin(publish::publish(&self.connection, message))
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>> {
        Box::pin(async move {
            self.connection.get().await?;
            let group = self.group(&subscription)?;
            Ok(Box::new(KafkaDeliveries::new(group)) as Box<dyn Deliveries>)
        })
    }

    fn close(&self) -> Later<'_, ()> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let groups: Vec<Arc<Group>> = groups.values().filter_map(Weak::upgrade).collect();
        Box::pin(async move {
            for group in groups {
                group.leave().await;
            }
        })
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
