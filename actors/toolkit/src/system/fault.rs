//! Why an actor failed.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use super::watch::Terminated;

/// Why an actor failed.
///
/// An `Err` that a handler returns is an answer to the asker and not a failure: report a failure by
/// [`Context::fail`]. A message that the actor does not handle does not compile.
///
/// [`Context::fail`]: super::Context::fail
#[derive(Debug)]
pub enum Fault {
    /// A handler, or `started`, reported an error by `Context::fail`.
    Error(Box<dyn Error + Send + Sync>),
    /// A handler, a hook or an actor future panicked, with this message.
    Panic(String),
    /// The factory failed, or `started` panicked, with this message.
    Start(String),
    /// A future given to `Context::pipe_to_self`, or returned by a handler as a `ResponseFuture`, panicked with
    /// this message.
    Task(String),
    /// A child escalated its failure.
    Child {
        /// The child's path.
        path: Arc<str>,
        /// The child's failure.
        message: String,
    },
    /// One `ctx.wait` took longer than this, the limit of `Props::hang_after`.
    Hang(Duration),
    /// Its mailbox was full, and its overflow strategy is [`Overflow::Fail`](super::Overflow::Fail).
    Overflow,
    /// An actor watched with `Context::watch_or_die` has stopped.
    DeathPact(Terminated),
}

impl Fault {
    /// Returns the reported error if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Error(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(formatter, "{error}"),
            Self::Panic(message) => write!(formatter, "panicked: {message}"),
            Self::Start(message) => write!(formatter, "failed to start: {message}"),
            Self::Task(message) => write!(formatter, "a task of the actor panicked: {message}"),
            Self::Child { path, message } => write!(formatter, "child `{path}` failed: {message}"),
            Self::Hang(limit) => write!(formatter, "made no progress for {limit:?}"),
            Self::Overflow => formatter.write_str("its mailbox overflowed"),
            Self::DeathPact(Terminated { path, cause }) => {
                write!(formatter, "`{path}`, which it depends on, is gone: {cause}")
            }
        }
    }
}
