//! What a watcher hears when an actor stops: once, with the cause, and not at a restart.

use std::{fmt, sync::Arc};

use actix::Message;

/// Why an actor stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It was asked to, by itself or by others.
    Stopped,
    /// It failed, and its strategy said stop or its restarts were used up.
    Failed(String),
    /// It failed, and its strategy said that the parent is to fail.
    Escalated(String),
    /// The thread that it was to run on is gone.
    Lost,
}

impl fmt::Display for StopCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => formatter.write_str("stopped"),
            Self::Failed(message) => write!(formatter, "failed: {message}"),
            Self::Escalated(message) => write!(formatter, "escalated: {message}"),
            Self::Lost => formatter.write_str("its thread is gone"),
        }
    }
}

/// Tells a watcher that an actor stopped.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Terminated {
    /// The actor.
    pub path: Arc<str>,
    /// Why.
    pub cause: StopCause,
}
