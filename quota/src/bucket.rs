//! A number of units per minute, as a token bucket that holds one minute's units.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds of a minute. Levels are counted in parts of a unit of this size, so that refilling is exact.
const MINUTE: i64 = 60_000;

/// One bucket. Its level may be negative: what turned out to be used beyond the estimate is paid back first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    per_minute: i64,
    /// In parts of a unit.
    level: i64,
    /// The time up to which it is refilled, in milliseconds since 1970.
    at: u64,
}

impl Bucket {
    /// Creates a full bucket.
    pub(crate) fn new(per_minute: u64, now: u64) -> Self {
        let per_minute = Self::bounded(per_minute);
        Self {
            per_minute,
            level: per_minute * MINUTE,
            at: now,
        }
    }

    fn bounded(per_minute: u64) -> i64 {
        let per_minute = i64::try_from(per_minute).unwrap_or(i64::MAX / MINUTE);
        per_minute.clamp(1, i64::MAX / MINUTE / 4)
    }

    /// Replaces the limit. What is left stays, up to a full bucket.
    pub(crate) fn set_limit(&mut self, per_minute: u64) {
        self.per_minute = Self::bounded(per_minute);
        self.level = self.level.min(self.full());
    }

    /// Returns one of `parts` equal parts, with `own` units that are not divided.
    #[must_use]
    pub(crate) fn part(&self, parts: u32, own: i64) -> Self {
        let parts = i64::from(parts.max(1));
        let mut part = *self;
        part.per_minute = (self.per_minute / parts).max(1);
        let level = (self.level / parts).saturating_add(own.saturating_mul(MINUTE));
        part.level = level.min(part.full());
        part
    }

    /// Returns the whole units that are left; negative for a debt.
    pub(crate) fn whole_units(&self) -> i64 {
        self.level.div_euclid(MINUTE)
    }

    /// Returns the units of a full bucket.
    pub(crate) fn whole_limit(&self) -> i64 {
        self.per_minute
    }

    fn full(&self) -> i64 {
        self.per_minute * MINUTE
    }

    /// Refills up to now. A clock that was set back adds nothing.
    pub(crate) fn refill(&mut self, now: u64) {
        let elapsed = i64::try_from(now.saturating_sub(self.at)).unwrap_or(i64::MAX);
        let added = elapsed.saturating_mul(self.per_minute);
        self.level = self.level.saturating_add(added).min(self.full());
        self.at = now;
    }

    /// Returns the time until `units` can be taken; `None` if they can be taken now. More units than the bucket can hold
    /// can be taken when it is full.
    pub(crate) fn wait_for(&self, units: u64) -> Option<Duration> {
        let needed = Self::parts(units).min(self.full());
        let missing = needed.saturating_sub(self.level);
        if missing <= 0 {
            return None;
        }
        let millis = missing.saturating_add(self.per_minute - 1) / self.per_minute;
        Some(Duration::from_millis(millis.unsigned_abs()))
    }

    /// Returns the units that can be taken now.
    pub(crate) fn left(&self) -> u64 {
        u64::try_from(self.level / MINUTE).unwrap_or(0)
    }

    /// Returns the units of a full bucket.
    pub(crate) fn limit(&self) -> u64 {
        self.per_minute.unsigned_abs()
    }

    /// Returns the time until the bucket is full if nothing is taken.
    pub(crate) fn full_in(&self) -> Duration {
        let missing = self.full().saturating_sub(self.level).max(0);
        let millis = missing.saturating_add(self.per_minute - 1) / self.per_minute;
        Duration::from_millis(millis.unsigned_abs())
    }

    /// Takes units, whether they are there or not.
    pub(crate) fn take(&mut self, units: u64) {
        self.level = self.level.saturating_sub(Self::parts(units));
    }

    /// Gives units back.
    pub(crate) fn give_back(&mut self, units: u64) {
        self.level = self
            .level
            .saturating_add(Self::parts(units))
            .min(self.full());
    }

    fn parts(units: u64) -> i64 {
        i64::try_from(units)
            .unwrap_or(i64::MAX)
            .saturating_mul(MINUTE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_units_however_they_are_spread() {
        let mut bucket = Bucket::new(3, 0);
        for _ in 0..3 {
            assert_eq!(bucket.wait_for(1), None);
            bucket.take(1);
        }
        assert_eq!(bucket.wait_for(1), Some(Duration::from_secs(20)));
        bucket.refill(19_999);
        assert_eq!(bucket.wait_for(1), Some(Duration::from_millis(1)));
        bucket.refill(20_000);
        assert_eq!(bucket.wait_for(1), None);
        // Set back by an hour, and forward again.
        bucket.refill(0);
        bucket.refill(1_000_000_000);
        assert_eq!(bucket, Bucket::new(3, 1_000_000_000));
    }

    #[test]
    fn more_than_a_minutes_units_are_a_debt() {
        let mut bucket = Bucket::new(60, 0);
        assert_eq!(bucket.wait_for(1_000), None);
        bucket.take(1_000);
        assert_eq!(bucket.wait_for(1), Some(Duration::from_secs(941)));
        bucket.give_back(900);
        assert_eq!(bucket.wait_for(1), Some(Duration::from_secs(41)));
        bucket.take(u64::MAX);
        bucket.give_back(u64::MAX);
        let wait = bucket.wait_for(1).unwrap_or_default();
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
    }
}
