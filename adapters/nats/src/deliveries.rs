//! Messages that are pulled from a durable consumer.

use std::time::Duration;

use async_nats::{
    header::NATS_MESSAGE_ID,
    jetstream::{
        self, AckKind,
        consumer::{Consumer, pull},
        message::Acker,
    },
};
use futures_util::StreamExt as _;
use kebne_event_bus::{BusError, Deliveries, Delivery, Later, Message, Receipt};

use crate::{KEY, Options, late, unavailable};

/// The time for which a request waits to be filled. The server ends it, so that no message is sent to a request that is given up.
const GATHER: Duration = Duration::from_millis(50);

/// A member of a durable consumer.
#[derive(Debug)]
pub(crate) struct NatsDeliveries {
    consumer: Consumer<pull::Config>,
    stream: String,
    prefix: String,
    timeout: Duration,
}

impl NatsDeliveries {
    pub(crate) fn new(consumer: Consumer<pull::Config>, options: &Options) -> Self {
        Self {
            consumer,
            stream: options.stream.clone(),
            prefix: options.prefix.clone(),
            timeout: options.timeout,
        }
    }

    /// Takes what is there now. A request that does not wait would not be answered while too many messages are unacknowledged.
    async fn fetch(&self, max: usize) -> Result<Vec<Delivery>, BusError> {
        let messages = self.consumer.batch().max_messages(max).expires(GATHER);
        let mut messages = messages.messages().await.map_err(unavailable)?;
        let mut taken = Vec::new();
        while let Some(message) = messages.next().await {
            taken.push(self.delivery(message.map_err(unavailable)?)?);
        }
        Ok(taken)
    }

    /// Waits for one message.
    async fn one(&self, wait: Duration) -> Result<Vec<Delivery>, BusError> {
        let messages = self.consumer.batch().max_messages(1).expires(wait);
        let mut messages = messages.messages().await.map_err(unavailable)?;
        match messages.next().await {
            Some(message) => Ok(vec![self.delivery(message.map_err(unavailable)?)?]),
            None => Ok(Vec::new()),
        }
    }

    fn delivery(&self, message: jetstream::Message) -> Result<Delivery, BusError> {
        let info = message.info().map_err(unavailable)?;
        let attempt = u64::try_from(info.delivered).unwrap_or(1).max(1);
        let place = info.stream_sequence;
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get(name).map(|value| value.as_str().to_owned())
        };
        // One who publishes without an id is not protected from duplicates; the place is the same at each delivery.
        let id =
            header(NATS_MESSAGE_ID.as_ref()).unwrap_or_else(|| format!("{}-{place}", self.stream));
        let key = header(KEY).unwrap_or_default();
        let topic = message.subject.as_str();
        let topic = topic.strip_prefix(&self.prefix).unwrap_or(topic).to_owned();
        let (message, acker) = message.split();
        let message = Message {
            id,
            topic,
            key,
            payload: message.payload,
        };
        let receipt = NatsReceipt {
            acker,
            timeout: self.timeout,
        };
        Ok(Delivery::new(message, attempt, Box::new(receipt)))
    }
}

impl Deliveries for NatsDeliveries {
    fn pull(&mut self, max: usize, wait: Duration) -> Later<'_, Result<Vec<Delivery>, BusError>> {
        Box::pin(async move {
            let taken = tokio::time::timeout(self.timeout, self.fetch(max)).await;
            let taken = taken.map_err(|_| late())??;
            if !taken.is_empty() {
                return Ok(taken);
            }
            // What is waited for is one message: a larger request would hold messages back until it is filled.
            let one = tokio::time::timeout(wait + self.timeout, self.one(wait)).await;
            one.map_err(|_| late())?
        })
    }
}

/// What acknowledges a message.
struct NatsReceipt {
    acker: Acker,
    timeout: Duration,
}

impl std::fmt::Debug for NatsReceipt {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NatsReceipt")
            .finish_non_exhaustive()
    }
}

impl NatsReceipt {
    async fn tell(&self, kind: AckKind) -> Result<(), BusError> {
        let told = tokio::time::timeout(self.timeout, self.acker.ack_with(kind)).await;
        told.map_err(|_| late())?.map_err(unavailable)
    }
}

impl Receipt for NatsReceipt {
    fn acknowledge(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(async {
            let confirmed = tokio::time::timeout(self.timeout, self.acker.double_ack()).await;
            confirmed.map_err(|_| late())?.map_err(unavailable)
        })
    }

    fn extend(&self) -> Later<'_, Result<(), BusError>> {
        Box::pin(self.tell(AckKind::Progress))
    }

    fn release(&self, wait: Duration) -> Later<'_, Result<(), BusError>> {
        Box::pin(self.tell(AckKind::Nak(Some(wait))))
    }
}
