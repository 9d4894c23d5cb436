//! The parts of the context manager.

use std::{fmt, sync::Arc};

use crate::{
    limits::ContextLimits,
    store::{SessionStore, StoreError},
};

/// Opens the store, at the start and after the store was lost. It must not block.
pub type OpenStore = Arc<dyn Fn() -> Result<Arc<dyn SessionStore>, StoreError> + Send + Sync>;
/// Returns the current time, in milliseconds of Unix time.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The parts that each instance of the context manager starts with.
#[derive(Clone)]
pub struct ContextParts {
    /// Opens the store.
    pub open: OpenStore,
    /// The bounds of sessions.
    pub limits: ContextLimits,
    /// The wall clock, because sessions outlive the process.
    pub clock: WallClock,
    /// Earlier names of owners, as pairs of a former and the present name. Sessions of the former name are moved to the
    /// present one before it reads or creates any.
    pub former_owners: Vec<(String, String)>,
}

impl fmt::Debug for ContextParts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ContextParts")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
