//! What a server is made of.

use std::{fmt, sync::Arc, time::Duration};

use kebne_control::LoadTimes;

use crate::{health::Health, hook::Hooks, process::Launch, room::Room, settings::StaySettings};

/// How a server is started and stopped.
#[derive(Clone, Debug)]
pub enum Means {
    /// A process of this machine.
    Process(Arc<Launch>),
    /// Hooks of another system.
    Hooks {
        /// The hooks.
        hooks: Hooks,
        /// The time within which the server must serve.
        start_timeout: Duration,
        /// The time within which the sleep hook must end.
        sleep_timeout: Duration,
    },
}

/// What a server is made of.
pub struct ServerParts {
    /// The name. Two servers of one name do not run at the same time.
    pub name: Arc<str>,
    /// How it is started and stopped.
    pub means: Means,
    /// How it is asked whether it serves; `None` if it is taken to serve once it was started.
    pub health: Option<Arc<dyn Health>>,
    /// The device.
    pub device: Arc<str>,
    /// The room that it takes.
    pub room: Room,
    /// When it stays loaded.
    pub stay: StaySettings,
    /// What an earlier process has learned of it.
    pub load_times: LoadTimes,
}

impl fmt::Debug for ServerParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerParts")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
