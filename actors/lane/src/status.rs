//! What a caller's thread may know of a lane without asking an actor.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use kebne_control::{Grant, LaneState};

/// The last grant's headline, published by the controller.
#[derive(Debug, Default)]
pub(crate) struct Status {
    state: AtomicU8,
    limit: AtomicU32,
    restarts: AtomicU32,
}

impl Status {
    pub(crate) fn publish(&self, grant: &Grant) {
        self.state.store(grant.state as u8, Relaxed);
        self.limit.store(grant.concurrency, Relaxed);
    }

    pub(crate) fn state(&self) -> LaneState {
        let number = usize::from(self.state.load(Relaxed));
        LaneState::ALL.get(number).copied().unwrap_or_default()
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    pub(crate) fn worker_restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Relaxed)
    }
}
