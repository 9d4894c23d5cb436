//! A provider's request to slow down: how fast the rate may grow afterwards.
//!
//! `slow_down` means that the traffic rose faster than the provider allows, independent of the quota. A documented
//! pace is half more in fifteen minutes. With `r` the rate at the request, after `t`:
//!
//! ```text
//! rate  <= r * 1.5 ^ (1 + floor(t / period))       never more than half more within one period
//! growth = 10 * ln 1.5 / period per second         so that what was measured too low comes back, and slowly
//! quiet <= period / 30                             before it grows again
//! ```
//!
//! Neither headers nor the lane's own growth can exceed this. It must never raise a rate. A later request starts it
//! anew. After four periods, in which the rate may have grown fivefold, it is discarded.

use std::time::Duration;

use crate::Timestamp;

/// Factor by which the rate may grow in one period.
const GROWTH: f64 = 1.5;
/// The number of periods after which a request is discarded.
const KEPT: f64 = 4.0;
/// How many times faster than the quota the rate may grow, so that a rate measured a tenth too low recovers within a
/// few minutes.
const PACE: f64 = 10.0;
/// Share of the period that is quiet before the rate grows again; in this time the quota grows by little more than 1
/// %.
const QUIET_PART: f64 = 1.0 / 30.0;

/// The bound of the rate since the provider's request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SlowDownCeiling {
    rate: f64,
    at: Timestamp,
    period: Duration,
}

impl SlowDownCeiling {
    /// Creates the bound for a request that came while `rate` was accepted.
    pub(crate) fn new(rate: f64, at: Timestamp, period: Duration) -> Self {
        Self { rate, at, period }
    }

    /// Continues from the ceiling of an earlier controller, as if a period began now.
    pub(crate) fn with_ceiling(most: f64, now: Timestamp, period: Duration) -> Self {
        Self::new(most / GROWTH, now, period)
    }

    /// Returns the time since the request.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        now.since(self.at)
    }

    /// Returns the share by which the rate may grow each second.
    pub(crate) fn pace(&self) -> f64 {
        PACE * GROWTH.ln() / self.period.as_secs_f64().max(1e-3)
    }

    /// Returns the highest rate now; `None` once the request is discarded.
    pub(crate) fn ceiling(&self, now: Timestamp) -> Option<f64> {
        let periods = now.since(self.at).as_secs_f64() / self.period.as_secs_f64().max(1e-3);
        (periods < KEPT).then(|| self.rate * GROWTH.powf(1.0 + periods.floor()))
    }
}

/// Returns the longest quiet time after a request, in seconds.
pub(crate) fn quiet_max(period: Duration) -> f64 {
    QUIET_PART * period.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_half_more_in_each_period_and_forgotten_after_four() {
        let at = Timestamp::from_secs_f64;
        let request = SlowDownCeiling::new(10.0, at(100.0), Duration::from_mins(15));
        let ceiling = |seconds: f64| request.ceiling(at(100.0 + seconds));
        for (seconds, most) in [(0.0, 15.0), (899.0, 15.0), (900.0, 22.5), (3599.0, 50.625)] {
            assert_eq!(ceiling(seconds), Some(most), "{seconds}");
        }
        assert_eq!(ceiling(3600.0), None);
    }

    #[test]
    fn a_ceiling_that_is_remembered_is_no_higher() {
        let (at, period) = (Timestamp::from_secs_f64(7.0), Duration::from_mins(15));
        let again = SlowDownCeiling::with_ceiling(15.0, at, period);
        assert_eq!(again.ceiling(at), Some(15.0));
    }
}
