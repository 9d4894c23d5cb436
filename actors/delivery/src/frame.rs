//! What a producer and a consumer send each other. A link may lose, repeat and reorder it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A message on its way to the consumer: Pekko's `SequencedMessage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToConsumer<T> {
    /// The start of the producer that numbers the messages. A later start has a higher number.
    pub session: u64,
    /// The number of the message, from 1.
    pub sequence: u64,
    /// `true` if the producer has not heard yet of a consumer that knows the session. The consumer begins with this message.
    pub first: bool,
    /// `true` if somebody waits for the confirmation of this message.
    pub ack: bool,
    /// The content.
    pub message: Arc<T>,
}

/// What a consumer tells the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToProducer {
    /// It has started and knows no session: Pekko's `RegisterConsumer`.
    Register,
    /// How far it is: Pekko's `Request`.
    Request {
        /// The session that the numbers belong to.
        session: u64,
        /// All messages up to this one are confirmed.
        confirmed: u64,
        /// All messages up to this one have arrived.
        received: u64,
        /// Messages up to this one may be sent.
        up_to: u64,
        /// `true` if nothing has arrived for a while: what was sent after `received` is lost.
        timed_out: bool,
    },
    /// Messages from this one on are missing: Pekko's `Resend`.
    Resend {
        /// The session that the number belongs to.
        session: u64,
        /// The first that is missing.
        from: u64,
    },
    /// All messages up to this one are confirmed: Pekko's `Ack`.
    Ack {
        /// The session that the number belongs to.
        session: u64,
        /// The last that is confirmed.
        confirmed: u64,
    },
}

impl ToProducer {
    /// The session that is meant; `None` if none is known.
    pub(crate) fn session(&self) -> Option<u64> {
        match self {
            Self::Register => None,
            Self::Request { session, .. }
            | Self::Resend { session, .. }
            | Self::Ack { session, .. } => Some(*session),
        }
    }
}
