//! The settings of a circuit breaker.

use std::time::Duration;

use crate::backoff::{InvalidSetting, require};

/// The longest opening unless set: Pekko's 36500 days, that is, no limit.
const MAX_RESET_TIMEOUT: Duration = Duration::from_hours(36_500 * 24);

/// Settings of a circuit breaker; the defaults are Pekko's.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Failures in a row that open the breaker; at least 1, default 10.
    pub max_failures: u32,
    /// Time after which a call counts as failed; zero disables it; default 10 s.
    pub call_timeout: Duration,
    /// How long the first opening lasts; more than 0, default 15 s.
    pub reset_timeout: Duration,
    /// Growth of the opening stops when the next one would be this long or longer; at least
    /// `reset_timeout`, default 36500 days.
    pub max_reset_timeout: Duration,
    /// By how much each re-opening is longer than the one before; at least 1, default 1.
    pub backoff_factor: f64,
    /// Spread of the growth, `1 + U · random_factor`; 0 to 1, default 0.
    pub random_factor: f64,
    /// Seed of that spread; default 1.
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
    /// Lets each re-opening last twice as long as the one before, up to `max_reset_timeout`.
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
