//! The beginning of the step that the thread runs now, for those who wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// The value while no step runs.
const NONE: u64 = 0;

/// When the present step began; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    since: Instant,
    /// Milliseconds after `since`, plus one.
    begun: Arc<AtomicU64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            begun: Arc::new(AtomicU64::new(NONE)),
        }
    }
}

impl Progress {
    /// Notes that a step begins.
    pub(super) fn begin(&self) {
        self.begun.store(self.now().saturating_add(1), SeqCst);
    }

    /// Notes that no step runs.
    pub(super) fn end(&self) {
        self.begun.store(NONE, SeqCst);
    }

    /// Returns the time since the present step began; zero if none runs.
    pub(super) fn lasts(&self) -> Duration {
        match self.begun.load(SeqCst) {
            NONE => Duration::ZERO,
            begun => Duration::from_millis(self.now().saturating_sub(begun - 1)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
