//! The time of a call in a lane, for its trail.

use std::{sync::Arc, time::Duration};

use crate::{clock::Clock, status::Status, trail::Trail};

/// Records the visit of a call: from its arrival until the answer begins, the call fails or its caller leaves.
pub(crate) struct Visit<'a> {
    trail: Trail,
    status: &'a Status,
    clock: Clock,
    /// The lane's cold time at the arrival.
    cold_before: Duration,
}

impl<'a> Visit<'a> {
    pub(crate) fn enter(trail: Trail, lane: &Arc<str>, status: &'a Status, clock: Clock) -> Self {
        let now = clock.now();
        trail.enter(lane, clock.instant(now));
        Self {
            trail,
            status,
            clock,
            cold_before: status.cold_time(now),
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let now = self.clock.now();
        let cold = self.status.cold_time(now);
        let cold = cold.saturating_sub(self.cold_before);
        self.trail.leave(cold, self.clock.instant(now));
    }
}
