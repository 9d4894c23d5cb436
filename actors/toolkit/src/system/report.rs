//! An actor as the tree shows it.

use std::sync::Arc;

use serde::Serialize;

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ActorState {
    /// Being made.
    Starting,
    /// Handling messages.
    Running,
    /// Failed; waiting for its restart.
    Restarting,
    /// Stopping: waiting for its children.
    Stopping,
    /// Gone for good.
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
    /// Where it is in the tree.
    pub path: Arc<str>,
    /// Where it is in its life.
    pub state: ActorState,
    /// Restarts since it was spawned.
    pub restarts: u32,
    /// Messages that wait.
    pub mailbox: usize,
}
