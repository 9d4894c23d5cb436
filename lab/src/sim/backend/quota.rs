//! The provider's quota: a token bucket, and the details of its refusals.

use std::time::Duration;

use kebne_control::{BucketHint, Outcome, QuotaHints, Timestamp};

use crate::sim::number::at;
use crate::sim::scenario::{Quota, Telling};

/// The token bucket of a quota.
#[derive(Debug)]
pub(crate) struct Meter {
    quota: Quota,
    level: f64,
    at: Timestamp,
    /// The number of calls accepted so far.
    used: f64,
    /// Nothing is accepted before this time.
    shut_until: f64,
}

impl Meter {
    /// Creates a full bucket.
    pub(crate) fn new(quota: Quota) -> Self {
        let window = quota.per_minute / 60.0 * quota.window;
        Self {
            quota,
            level: if window > 0.0 {
                window.floor()
            } else {
                quota.burst
            },
            at: Timestamp::ZERO,
            used: 0.0,
            shut_until: 0.0,
        }
    }

    /// Returns the units per second at `time`, less the share of other clients and scaled by the ramp.
    fn rate(&self, time: f64) -> f64 {
        let q = &self.quota;
        let full = q.per_minute / 60.0;
        let foreign = q.foreign_period > 0.0 && (time / q.foreign_period).rem_euclid(2.0) >= 1.0;
        let left = if foreign { 1.0 - q.foreign_share } else { 1.0 };
        let ramp = if q.ramp_period > 0.0 {
            (q.ramp_from * 1.5_f64.powf(time / q.ramp_period)).min(1.0)
        } else {
            1.0
        };
        full * left * ramp
    }

    fn refill(&mut self, now: Timestamp) {
        // Integrated in steps, because the rate changes with time.
        let mut from = self.at.as_secs_f64();
        let to = now.as_secs_f64();
        if self.quota.window > 0.0 {
            let window = |time: f64| (time / self.quota.window).floor();
            if window(to) > window(from) {
                self.level = (self.rate(to) * self.quota.window).floor();
            }
            self.at = self.at.max(now);
            return;
        }
        while from < to {
            let step = (to - from).min(1.0);
            self.level = (self.level + step * self.rate(from)).min(self.quota.burst);
            from += step;
        }
        self.at = self.at.max(now);
    }

    fn units(&self, cost: u32) -> f64 {
        if self.quota.tokens {
            f64::from(cost)
        } else {
            1.0
        }
    }

    /// Returns `true` if a call of this cost would be accepted; a cost above the burst needs a full bucket.
    pub(crate) fn holds(&mut self, cost: u32, now: Timestamp) -> bool {
        self.refill(now);
        let shut = now.as_secs_f64() < self.shut_until;
        !shut
            && self.spent(now).is_none()
            && self.level + 1e-9 >= self.units(cost).min(self.quota.burst)
    }

    /// Returns the time until the long quota is available again, if it is used up.
    fn spent(&self, now: Timestamp) -> Option<Duration> {
        let left = at(self.quota.spent_until).since(now);
        let over = self.quota.spent_after > 0.0 && self.used >= self.quota.spent_after;
        (over && !left.is_zero()).then_some(left)
    }

    /// Charges a call, or refuses it.
    pub(crate) fn charge(&mut self, cost: u32, now: Timestamp) -> Result<(), Outcome> {
        if self.holds(cost, now) {
            self.level -= self.units(cost);
            self.used += 1.0;
            return Ok(());
        }
        if let Some(left) = self.spent(now) {
            return Err(Outcome::Quota { reset: Some(left) });
        }
        let time = now.as_secs_f64();
        if self.quota.penalty > 0.0 && time >= self.shut_until {
            self.shut_until = time + self.quota.penalty;
        }
        if self.quota.debt > 0.0 {
            self.level = (self.level - 1.0).max(-self.quota.debt);
        }
        let missing = self.units(cost).min(self.quota.burst) - self.level;
        let wait = if self.quota.window > 0.0 {
            self.window_left(time)
        } else {
            missing / self.rate(time).max(1e-3)
        };
        let wait = wait.max(self.shut_until - time).ceil();
        Err(match self.quota.telling {
            Telling::Nothing => Outcome::Limit,
            _ => Outcome::Rate {
                retry_after: Duration::try_from_secs_f64(wait.max(1.0)).ok(),
                slow_down: self.quota.ramp_period > 0.0,
            },
        })
    }

    /// Returns the time until the next window.
    fn window_left(&self, time: f64) -> f64 {
        self.quota.window - time.rem_euclid(self.quota.window)
    }

    /// Returns the quota headers of a call that was counted or refused now.
    pub(crate) fn hints(&mut self, now: Timestamp) -> QuotaHints {
        self.refill(now);
        if self.quota.telling != Telling::Headers {
            return QuotaHints::default();
        }
        let rate = self.quota.per_minute / 60.0;
        let (limit, full) = if self.quota.window > 0.0 {
            let left = self.window_left(now.as_secs_f64());
            ((rate * self.quota.window).floor(), left)
        } else {
            let missing = (self.quota.burst - self.level).max(0.0);
            (self.quota.per_minute, missing / rate)
        };
        let hint = Some(BucketHint {
            limit,
            remaining: self.level.max(0.0).floor(),
            reset: Some(at(full).since(Timestamp::ZERO)),
            window: None,
        });
        if self.quota.tokens {
            QuotaHints {
                requests: None,
                tokens: hint,
            }
        } else {
            QuotaHints {
                requests: hint,
                tokens: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(debt: f64) -> Quota {
        Quota {
            per_minute: 300.0,
            burst: 30.0,
            telling: Telling::RetryAfter,
            tokens: false,
            debt,
            foreign_share: 0.0,
            foreign_period: 0.0,
            spent_after: 0.0,
            spent_until: 0.0,
            ramp_from: 0.0,
            ramp_period: 0.0,
            window: 0.0,
            penalty: 0.0,
        }
    }

    #[test]
    fn a_quota_serves_its_burst_and_its_rate() {
        let mut meter = Meter::new(quota(0.0));
        let served = (0..10_000)
            .filter(|step| meter.charge(0, at(f64::from(*step) * 0.01)).is_ok())
            .count();
        // 30 at once and 5 per second for 100 s.
        assert!((528..=531).contains(&served), "{served}");
    }

    #[test]
    fn refusals_that_are_charged_starve_whoever_hammers() {
        let mut meter = Meter::new(quota(30.0));
        let served = (0..10_000)
            .filter(|step| meter.charge(0, at(f64::from(*step) * 0.01)).is_ok())
            .count();
        assert!(served < 60, "{served}");
    }

    #[test]
    fn a_window_gives_out_its_units_at_its_start_and_a_penalty_silences() {
        let mut windowed = quota(0.0);
        windowed.window = 6.0;
        let mut meter = Meter::new(windowed);
        let served = |meter: &mut Meter, from: i32| {
            (0..100)
                .filter(|step| meter.charge(0, at(f64::from(from + *step) * 0.01)).is_ok())
                .count()
        };
        assert_eq!(served(&mut meter, 0), 30);
        assert_eq!(served(&mut meter, 400), 0);
        assert_eq!(served(&mut meter, 600), 30);
        let mut punishing = quota(0.0);
        punishing.penalty = 3.0;
        let mut meter = Meter::new(punishing);
        assert_eq!(served(&mut meter, 0), 30 + 1);
        assert_eq!(served(&mut meter, 200), 0, "silent for 3 s");
        assert!(meter.charge(0, at(8.0)).is_ok());
    }
}
