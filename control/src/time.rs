//! A point in time that a test can construct.
//!
//! Contains only a number: the nanoseconds since the lane's epoch. `std::time::Instant` can only be read from a clock,
//! which a pure crate does not have.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A monotonic point in time, as nanoseconds since an epoch that the caller chose.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);
    /// Later than any point during the life of a process (584 years).
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a timestamp from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Creates a timestamp from the time since the epoch; saturates after 584 years.
    pub fn from_duration(since_epoch: Duration) -> Self {
        Self(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Creates a timestamp from seconds since the epoch; negative values and NaN become the epoch.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self::from_duration(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO))
    }

    /// Returns the nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the seconds since the epoch.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }

    /// Returns the point `later` after this one; saturates at [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_zero_when_the_earlier_point_is_later() {
        let early = Timestamp::from_secs_f64(1.0);
        assert_eq!(
            early.since(early.after(Duration::from_secs(1))),
            Duration::ZERO
        );
        assert_eq!(
            early.after(Duration::from_secs(2)).since(early),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn after_saturates() {
        assert_eq!(Timestamp::MAX.after(Duration::from_secs(1)), Timestamp::MAX);
    }
}
