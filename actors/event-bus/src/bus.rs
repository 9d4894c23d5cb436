//! The trait of buses, and what they carry.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

/// An answer that is waited for.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id; a message that is published again keeps it.
    pub id: String,
    /// The topic: parts between dots.
    pub topic: String,
    /// The key within which order is kept.
    pub key: String,
    /// The content.
    pub payload: Bytes,
}

impl Message {
    /// Creates a message.
    pub fn new(
        id: impl Into<String>,
        topic: impl Into<String>,
        key: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            id: id.into(),
            topic: topic.into(),
            key: key.into(),
            payload: payload.into(),
        }
    }
}

/// The result of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The bus has stored the message.
    Stored,
    /// The bus had stored a message with this id already.
    Duplicate,
}

/// The reason why a bus did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The broker does not answer, or cannot store anything now. It may be asked again.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// The broker will never take this, for example because the message is too large.
    #[error("the bus refuses it: {0}")]
    Refused(String),
}

/// A bus of messages.
pub trait EventBus: fmt::Debug + Send + Sync {
    /// Publishes a message. It is stored when this returns without an error. After an error it may be stored or not: publish it again with the same id.
    fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>>;

    /// Subscribes, or joins those who have subscribed by the same name.
    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>>;

    /// Ends the subscriptions of this process before it stops, so that other members take over at once. A bus whose members do not own messages has
    /// nothing to do.
    fn close(&self) -> Later<'_, ()> {
        Box::pin(async {})
    }
}

/// What a subscriber wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The name. What was acknowledged is remembered under it.
    pub name: String,
    /// The topics: `*` stands for one part, `>` at the end for one or more.
    pub filter: String,
    /// The time in which a message must be acknowledged; then it is delivered again.
    pub acknowledge_within: Duration,
    /// The messages that may be unacknowledged at once, over all members.
    pub unacknowledged_max: usize,
}

impl Subscription {
    /// Creates a subscription with 30 seconds for each message, and 1000 messages unacknowledged at most.
    pub fn new(name: impl Into<String>, filter: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filter: filter.into(),
            acknowledge_within: Duration::from_secs(30),
            unacknowledged_max: 1000,
        }
    }
}

/// The messages of a subscription.
pub trait Deliveries: fmt::Debug + Send {
    /// Takes at most `max` messages. Waits until there is one, but no longer than `wait`; then there are none. Nothing is fetched ahead, so that a
    /// member that does not pull leaves the messages to the others.
    fn pull(&mut self, max: usize, wait: Duration) -> Later<'_, Result<Vec<Delivery>, BusError>>;
}

/// A message that was delivered. If it is dropped without a word, it is delivered again after the time of its subscription.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The number of times that it was delivered, this one included; at least 1.
    pub attempt: u64,
    receipt: Box<dyn Receipt>,
}

impl Delivery {
    /// Creates a delivery.
    pub fn new(message: Message, attempt: u64, receipt: Box<dyn Receipt>) -> Self {
        Self {
            message,
            attempt,
            receipt,
        }
    }

    /// Acknowledges the message; it is not delivered again to this subscription.
    ///
    /// # Errors
    /// Fails if the bus did not confirm it: the message may be delivered again.
    pub async fn acknowledge(&self) -> Result<(), BusError> {
        self.receipt.acknowledge().await
    }

    /// Begins the time for the acknowledgement anew, because the message is still being worked on.
    ///
    /// # Errors
    /// Fails if the bus could not be told.
    pub async fn extend(&self) -> Result<(), BusError> {
        self.receipt.extend().await
    }

    /// Gives the message back, to be delivered again after `wait`.
    ///
    /// # Errors
    /// Fails if the bus could not be told: the message is delivered again after the time of its subscription.
    pub async fn release(&self, wait: Duration) -> Result<(), BusError> {
        self.receipt.release(wait).await
    }
}

/// What a bus needs to know of a delivery later.
pub trait Receipt: fmt::Debug + Send + Sync {
    /// See [`Delivery::acknowledge`].
    fn acknowledge(&self) -> Later<'_, Result<(), BusError>>;
    /// See [`Delivery::extend`].
    fn extend(&self) -> Later<'_, Result<(), BusError>>;
    /// See [`Delivery::release`].
    fn release(&self, wait: Duration) -> Later<'_, Result<(), BusError>>;
}
