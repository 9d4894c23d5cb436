//! A token bucket that may become negative: a call whose true cost is above the level is sent, and the next calls wait
//! for the debt.

use std::time::Duration;

use crate::num::seconds;
use crate::{BucketGrant, Timestamp};

/// A token bucket; without a grant it is always full.
#[derive(Debug)]
pub(super) struct Bucket {
    grant: Option<BucketGrant>,
    level: f64,
    at: Timestamp,
}

impl Bucket {
    /// Creates a bucket with one unit, not a full burst, because earlier spending is unknown.
    pub(super) fn new(grant: Option<BucketGrant>, now: Timestamp) -> Self {
        Self {
            grant,
            level: 1.0,
            at: now,
        }
    }

    /// Sets a new grant. A `remaining` lower than the level is used, once per grant.
    pub(super) fn set(
        &mut self,
        new: Option<BucketGrant>,
        old: Option<BucketGrant>,
        now: Timestamp,
    ) {
        self.refill(now);
        if let Some(grant) = new {
            if self.grant.is_none() {
                self.level = grant.burst;
            }
            self.level = self.level.min(grant.burst);
            if let Some(most) = grant.level_max.filter(|_| new != old) {
                self.level = self.level.min(most);
            }
        }
        self.grant = new;
    }

    fn refill(&mut self, now: Timestamp) {
        if let Some(grant) = self.grant {
            let gained = grant.rate * now.since(self.at).as_secs_f64();
            self.level = (self.level + gained).min(grant.burst);
        }
        self.at = now;
    }

    pub(super) fn holds(&mut self, units: f64, now: Timestamp) -> bool {
        self.refill(now);
        // The slack covers the rounding of times to nanoseconds, so that a wakeup is never too early.
        self.grant.is_none() || self.level + 1e-6 >= units
    }

    pub(super) fn spend(&mut self, units: f64, now: Timestamp) {
        self.refill(now);
        if self.grant.is_some() {
            self.level -= units;
        }
    }

    /// Returns the available units; negative if the bucket is in debt.
    #[cfg(test)]
    pub(super) fn level(&self) -> f64 {
        self.level
    }

    /// Returns when the bucket will hold `units`.
    pub(super) fn ready(&self, units: f64, now: Timestamp) -> Timestamp {
        let Some(grant) = self.grant else { return now };
        let level = self.level + grant.rate * now.since(self.at).as_secs_f64();
        if level >= units {
            return now;
        }
        now.after(seconds((units - level) / grant.rate.max(1e-6)) + Duration::from_micros(1))
    }
}
