//! The one place in this crate that reads the clock.

use std::time::Duration;

use kebne_control::Timestamp;
use tokio::time::Instant;

/// Converts between tokio's clock and timestamps. Copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Creates a clock whose epoch is now.
    pub(crate) fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// Returns the current time.
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::from_duration(Instant::now().saturating_duration_since(self.epoch))
    }

    /// Returns the time until `at`; zero if it is past.
    pub(crate) fn until(self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}
