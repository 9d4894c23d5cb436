//! The event bus on NATS JetStream.
//!
//! Owns the connection to the servers and how messages become those of NATS: the id is `Nats-Msg-Id`, the key is `Kebne-Key`, and the topic is the
//! subject after a prefix. The server keeps the order of a stream and drops what has the id of a message within its duplicate window.

mod deliveries;
mod options;

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use async_nats::{
    Client, HeaderMap,
    connection::State,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::PublishErrorKind,
        stream,
    },
};
use kebne_event_bus::{BusError, Deliveries, EventBus, Later, Message, Published, Subscription};

use deliveries::NatsDeliveries;
pub use options::Options;

/// The header with the key of a message.
const KEY: &str = "Kebne-Key";

/// The longest wait between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The bus.
pub struct NatsBus {
    client: Client,
    context: Context,
    options: Options,
    /// The stream is known to exist.
    is_ready: AtomicBool,
}

impl fmt::Debug for NatsBus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("NatsBus");
        shown
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl NatsBus {
    /// Begins to connect, in the background, and returns at once. Must be called on a runtime of tokio.
    ///
    /// # Errors
    /// Fails if an address or a file of the options cannot be used.
    pub async fn connect(options: Options) -> Result<Self, BusError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have installed the provider first; it is the same one.
            let _same = rustls::crypto::ring::default_provider().install_default();
        }
        let client = options.to_connect().connect(options.servers.clone()).await;
        let client = client.map_err(|error| BusError::Refused(error.to_string()))?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(options.timeout);
        Ok(Self {
            client,
            context,
            options,
            is_ready: AtomicBool::new(false),
        })
    }

    /// Fails at once without a connection, so that nothing piles up in the client.
    fn require_connection(&self) -> Result<(), BusError> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err(BusError::Unavailable(
                "there is no connection to NATS".to_owned(),
            )),
        }
    }

    /// Creates the stream if there is none. One that exists keeps its settings.
    async fn require_stream(&self) -> Result<(), BusError> {
        self.require_connection()?;
        if self.is_ready.load(Relaxed) {
            return Ok(());
        }
        let made = self.context.get_or_create_stream(self.options.to_stream());
        let made = tokio::time::timeout(self.options.timeout, made).await;
        made.map_err(|_| late())?.map_err(unavailable)?;
        self.is_ready.store(true, Relaxed);
        Ok(())
    }

    async fn store(&self, message: Message) -> Result<Published, BusError> {
        self.require_stream().await?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, message.id.as_str());
        headers.insert(KEY, message.key.as_str());
        let subject = format!("{}{}", self.options.prefix, message.topic);
        let sent = self
            .context
            .publish_with_headers(subject, headers, message.payload);
        let stored = async { sent.await?.await };
        let stored = tokio::time::timeout(self.options.timeout, stored).await;
        match stored.map_err(|_| late())? {
            Ok(stored) if stored.duplicate => Ok(Published::Duplicate),
            Ok(_) => Ok(Published::Stored),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(BusError::Refused(error.to_string()))
            }
            Err(error) => {
                // It may be that somebody has removed the stream.
                self.is_ready.store(false, Relaxed);
                Err(unavailable(error))
            }
        }
    }

    async fn consume(&self, subscription: Subscription) -> Result<NatsDeliveries, BusError> {
        self.require_stream().await?;
        let config = pull::Config {
            durable_name: Some(subscription.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: subscription.acknowledge_within,
            max_ack_pending: i64::try_from(subscription.unacknowledged_max).unwrap_or(i64::MAX),
            filter_subject: format!("{}{}", self.options.prefix, subscription.filter),
            ..pull::Config::default()
        };
        let stream = self.context.get_stream_no_info(&self.options.stream);
        let stream = stream.await.map_err(unavailable)?;
        let consumer = stream.create_consumer(config);
        let consumer = tokio::time::timeout(self.options.timeout, consumer).await;
        let consumer = consumer.map_err(|_| late())?.map_err(unavailable)?;
        Ok(NatsDeliveries::new(consumer, &self.options))
    }
}

fn late() -> BusError {
    BusError::Unavailable("NATS did not answer in time".to_owned())
}

fn unavailable(error: impl fmt::Display) -> BusError {
    BusError::Unavailable(error.to_string())
}

impl EventBus for NatsBus {
    fn publish(&self, message: Message) -> Later<'_, Result<Published, BusError>> {
        Box::pin(self.store(message))
    }

    fn subscribe(
        &self,
        subscription: Subscription,
    ) -> Later<'_, Result<Box<dyn Deliveries>, BusError>> {
        Box::pin(async move {
            let deliveries = self.consume(subscription).await?;
            Ok(Box::new(deliveries) as Box<dyn Deliveries>)
        })
    }
}

impl Options {
    fn to_stream(&self) -> stream::Config {
        stream::Config {
            name: self.stream.clone(),
            subjects: self.subjects(),
            num_replicas: self.replicas,
            max_age: self.age_max,
            max_bytes: i64::try_from(self.bytes_max).unwrap_or(i64::MAX),
            duplicate_window: self.duplicate_window,
            discard: stream::DiscardPolicy::Old,
            ..stream::Config::default()
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
