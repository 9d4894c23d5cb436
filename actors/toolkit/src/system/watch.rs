//! The message that a watcher receives when an actor stops: once, with the cause, and not at a restart.

use std::{fmt, sync::Arc};

use actix::Message;

/// Why an actor stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It was asked to stop, by itself or by others.
    Stopped,
    /// It failed, and its strategy stops it or its restarts are used up.
    Failed(String),
    /// It failed, and its strategy escalates the failure to the parent.
    Escalated(String),
    /// The thread that it ran on has ended.
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
