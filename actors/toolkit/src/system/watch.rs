//! The message that a watcher receives when an actor stops: once, with the cause, and not at a restart.

use std::{fmt, sync::Arc};

use actix::Message;

/// The reason why an actor stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// It was requested to stop, by itself or by others.
    Stopped,
    /// It failed, and its strategy stops it or its limit of restarts is exceeded.
    Failed(String),
    /// It failed, and its strategy escalates the failure to the parent.
    Escalated(String),
    /// The thread on which it ran has ended.
    Lost,
}

impl fmt::Display for StopCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => formatter.write_str("stopped"),
            Self::Failed(message) => write!(formatter, "failed: {message}"),
            Self::Escalated(message) => write!(formatter, "escalated: {message}"),
            Self::Lost => formatter.write_str("its thread has ended"),
        }
    }
}

/// Sent to a watcher when an actor has stopped.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct Terminated {
    /// The actor.
    pub path: Arc<str>,
    /// The reason.
    pub cause: StopCause,
}
