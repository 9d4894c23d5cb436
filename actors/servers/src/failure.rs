//! Why a server does not serve, in words that hold no text of the server itself.

use std::time::Duration;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Its program could not be started.
    NotStarted,
    /// Another program uses its port.
    PortTaken,
    /// Its process has ended without a request.
    Ended,
    /// It was not healthy in time.
    Unhealthy,
    /// It served, and its health checks failed.
    StoppedServing,
    /// Its wake hook failed.
    WakeFailed,
    /// Its wake hook did not end in time.
    WakeHung,
}

impl FailureKind {
    /// Returns a sentence part about the server, for callers: it holds nothing that the server or a hook has written.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotStarted => "its program cannot be started",
            Self::PortTaken => "another program uses its port",
            Self::Ended => "its process ends by itself",
            Self::Unhealthy => "it does not become healthy in time",
            Self::StoppedServing => "it stopped serving",
            Self::WakeFailed => "its wake hook fails",
            Self::WakeHung => "its wake hook does not end in time",
        }
    }
}

/// A failure, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The whole reason. It may hold what the server has written.
    pub(crate) detail: String,
}

/// A server that fails again and again, or whose last start failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// How it failed last; `None` if that is not known.
    pub kind: Option<FailureKind>,
    /// The failures in a row.
    pub times: u32,
    /// The time until it is started again; `None` while it is being started.
    pub again_in: Option<Duration>,
}
