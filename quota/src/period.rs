//! Days and months of budgets, in UTC.

use serde::{Deserialize, Serialize};
use time::Date;

/// Seconds of a day.
const DAY_SECONDS: u64 = 86_400;
/// The Julian day of 1 January 1970.
const EPOCH: i32 = 2_440_588;
/// The last day that is told apart, in the year 9999.
const DAY_MAX: u32 = 2_932_896;

/// The time for which a budget is given. Both begin at midnight UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// A calendar day.
    Day,
    /// A calendar month.
    #[default]
    Month,
}

impl Period {
    /// Returns the name in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// A calendar day, counted from 1 January 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Day(pub u32);

impl Day {
    /// Returns the day of a time in seconds since 1970.
    pub fn of(unix_seconds: u64) -> Self {
        let day = u32::try_from(unix_seconds / DAY_SECONDS).unwrap_or(DAY_MAX);
        Self(day.min(DAY_MAX))
    }

    fn date(self) -> Date {
        let day = i32::try_from(self.0.min(DAY_MAX)).unwrap_or(0);
        Date::from_julian_day(EPOCH.saturating_add(day)).unwrap_or(Date::MIN)
    }

    /// Returns the first day of the period that contains this day.
    #[must_use]
    pub fn start(self, period: Period) -> Self {
        match period {
            Period::Day => self,
            Period::Month => Self(self.0 - u32::from(self.date().day() - 1)),
        }
    }

    /// Returns the first day after the period that contains this day.
    #[must_use]
    pub fn end(self, period: Period) -> Self {
        match period {
            Period::Day => Self(self.0 + 1),
            Period::Month => {
                let date = self.date();
                let days = date.month().length(date.year());
                Self(self.start(period).0 + u32::from(days))
            }
        }
    }

    /// Returns the beginning in seconds since 1970.
    pub fn unix_seconds(self) -> u64 {
        u64::from(self.0) * DAY_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_as_in_the_calendar() {
        // 1 January 1970, 29 February 2024, 31 December 2026.
        for (day, start, end) in [
            (0, 0, 31),
            (19_782, 19_754, 19_783),
            (20_818, 20_788, 20_819),
        ] {
            let day = Day(day);
            let ends = (day.start(Period::Month), day.end(Period::Month));
            assert_eq!(ends, (Day(start), Day(end)));
            assert_eq!(
                (day.start(Period::Day), day.end(Period::Day)),
                (day, Day(day.0 + 1))
            );
        }
        assert_eq!(Day::of(86_399), Day(0));
        assert_eq!(Day::of(u64::MAX), Day(DAY_MAX));
        assert_eq!(Day(DAY_MAX).end(Period::Month), Day(DAY_MAX + 1));
    }
}
