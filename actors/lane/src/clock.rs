//! The one place in this crate that reads the clock.
//!
//! The epoch is on tokio's clock, so in a test with paused time the law uses the paused time.

use std::time::Duration;

use kebne_control::Timestamp;
use tokio::time::Instant;

/// Converts between tokio's clock and the timestamps of `kebne-control`. Copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Creates a clock whose epoch is one hour ago, so that times before the start can be expressed.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self {
            epoch: now.checked_sub(Duration::from_hours(1)).unwrap_or(now),
        }
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_duration(Instant::now().saturating_duration_since(self.epoch))
    }

    /// Returns the current time on tokio's clock.
    pub(crate) fn instant_now() -> Instant {
        Instant::now()
    }

    /// Returns the instant on tokio's clock at which `at` is due.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + at.since(Timestamp::ZERO)
    }
}
