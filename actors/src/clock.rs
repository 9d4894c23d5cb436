//! The one place that reads the clock.
//!
//! Owns an epoch on tokio's clock, so that paused time in a test is the time that control sees.

use kebne_control::{Chance, Timestamp};
use tokio::time::Instant;

/// Turns tokio's clock into the timestamps of `kebne-control`; copies share the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Starts a clock whose epoch is one hour ago, so that "long before the start" can be expressed.
    pub fn start() -> Self {
        let now = Instant::now();
        let hour = std::time::Duration::from_hours(1);
        Self {
            epoch: now.checked_sub(hour).unwrap_or(now),
        }
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_duration(Instant::now().saturating_duration_since(self.epoch))
    }

    /// Returns the instant at which `at` is due on tokio's clock.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + at.since(Timestamp::ZERO)
    }
}

/// Returns the real time, which no test can pause: for what happens to real threads only.
pub(crate) fn real_now() -> std::time::Instant {
    std::time::Instant::now()
}

/// A seeded source of chance.
#[derive(Clone, Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// Makes a source that repeats its numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }
}

impl Chance for Dice {
    fn unit(&mut self) -> f64 {
        self.0.f64()
    }
}
