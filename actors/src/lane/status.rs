//! What a caller's thread may know of a lane without asking an actor.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use kebne_control::{Grant, LaneState};

/// The states in the order of their numbers.
const STATES: [LaneState; 7] = [
    LaneState::Unknown,
    LaneState::Cold,
    LaneState::Waking,
    LaneState::Warming,
    LaneState::Ready,
    LaneState::Backoff,
    LaneState::Broken,
];

/// The last grant's headline, published by the controller.
#[derive(Debug, Default)]
pub(crate) struct Status {
    state: AtomicU8,
    limit: AtomicU32,
    restarts: AtomicU32,
}

impl Status {
    pub(crate) fn publish(&self, grant: &Grant) {
        let number = STATES.iter().position(|state| *state == grant.state);
        self.state.store(
            number.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
            Relaxed,
        );
        self.limit.store(grant.concurrency, Relaxed);
    }

    pub(crate) fn state(&self) -> LaneState {
        STATES
            .get(usize::from(self.state.load(Relaxed)))
            .copied()
            .unwrap_or(LaneState::Unknown)
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
