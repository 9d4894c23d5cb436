//! The state of an actor, as `ActorSystem::tree` and `ActorRef::report` return it.

use std::sync::Arc;

use serde::Serialize;

/// A stage of an actor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ActorState {
    /// The factory or `started` runs.
    Starting,
    /// Handling messages.
    Running,
    /// Failed; waiting for its restart.
    Restarting,
    /// Stopping: waiting for its children.
    Stopping,
    /// Stopped for good.
    Stopped,
}

impl ActorState {
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Restarting,
            3 => Self::Stopping,
            _ => Self::Stopped,
        }
    }
}

/// One actor of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActorReport {
    /// The actor's path.
    pub path: Arc<str>,
    /// The stage of its life.
    pub state: ActorState,
    /// Restarts since it was spawned.
    pub restarts: u32,
    /// Messages that wait.
    pub mailbox: usize,
    /// Messages that were handled since it was spawned, those that failed included.
    pub handled: u64,
    /// The last failure, shortened to 300 bytes; `None` if it never failed.
    pub last_failure: Option<Arc<str>>,
}
