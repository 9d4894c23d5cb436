//! Hooks: how a server that another system runs is woken and put to sleep.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// One thing to do, such as a request to the system that runs the server.
pub trait Hook: Send + Sync {
    /// Does it.
    ///
    /// The future resolves to an error with the reason if it failed.
    fn run(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// What wakes a server, and what puts it to sleep.
#[derive(Clone)]
pub struct Hooks {
    /// Run before the server is used.
    pub wake: Arc<dyn Hook>,
    /// Run when it is not used any more; `None` if it falls asleep by itself.
    pub sleep: Option<Arc<dyn Hook>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Hooks")
            .field("sleep", &self.sleep.is_some())
            .finish_non_exhaustive()
    }
}
