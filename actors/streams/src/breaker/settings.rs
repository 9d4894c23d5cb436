//! The settings of a circuit breaker.

use std::time::Duration;

use crate::backoff::{InvalidSetting, require};

/// The default of the longest opening: Pekko's 36500 days, which is practically no limit.
const MAX_RESET_TIMEOUT: Duration = Duration::from_hours(36_500 * 24);

/// Settings of a circuit breaker; the defaults are Pekko's.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// The number of failures in a row that open the breaker; at least 1, default 10.
    pub max_failures: u32,
    /// Time after which a call counts as failed; zero disables it. Default 10 s.
    pub call_timeout: Duration,
    /// Duration of the first opening; greater than 0, default 15 s.
    pub reset_timeout: Duration,
    /// The limit of the growth of openings: an opening that would last this long or longer is not lengthened. At least
    /// `reset_timeout`, default 36500 days.
    pub max_reset_timeout: Duration,
    /// Factor between the durations of two openings in a row; at least 1, default 1.
    pub backoff_factor: f64,
    /// Random part of the growth, `1 + U · random_factor`; 0 to 1, default 0.
    pub random_factor: f64,
    /// Seed of the random part; default 1.
    pub seed: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            max_failures: 10,
            call_timeout: Duration::from_secs(10),
            reset_timeout: Duration::from_secs(15),
            max_reset_timeout: MAX_RESET_TIMEOUT,
            backoff_factor: 1.0,
            random_factor: 0.0,
            seed: 1,
        }
    }
}

impl BreakerSettings {
    /// Doubles the duration of each opening, up to `max_reset_timeout`.
    #[must_use]
    pub fn with_exponential_backoff(mut self, max_reset_timeout: Duration) -> Self {
        self.backoff_factor = 2.0;
        self.max_reset_timeout = max_reset_timeout;
        self
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        require(self.max_failures > 0, "max_failures", "at least 1")?;
        let resets = !self.reset_timeout.is_zero();
        require(resets, "reset_timeout", "more than 0")?;
        let ordered = self.max_reset_timeout >= self.reset_timeout;
        require(ordered, "max_reset_timeout", "at least `reset_timeout`")?;
        let grows = self.backoff_factor.is_finite() && self.backoff_factor >= 1.0;
        require(grows, "backoff_factor", "at least 1")?;
        let spread = (0.0..=1.0).contains(&self.random_factor);
        require(spread, "random_factor", "from 0 to 1")
    }
}
