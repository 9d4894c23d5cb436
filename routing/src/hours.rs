//! Times of the day and days of the week, at a fixed distance from UTC.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// The greatest distance from UTC, in minutes.
const OFFSET_MAX: u16 = 14 * 60;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Day {
    const ALL: [Self; 7] = [
        Self::Mon,
        Self::Tue,
        Self::Wed,
        Self::Thu,
        Self::Fri,
        Self::Sat,
        Self::Sun,
    ];

    /// Returns the name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

/// A span of the day, such as `08:00-17:30`: from the first minute to the last one, which does not belong to it. A span whose end is before
/// its beginning passes midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

/// A fixed distance from UTC, such as `+01:00`. It does not follow daylight saving time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcOffset {
    minutes: i32,
}

/// A time of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) day: Day,
    /// The minute of the day.
    pub(crate) minute: u16,
}

impl Hours {
    pub(crate) fn contain(self, time: LocalTime) -> bool {
        let (minute, from, to) = (time.minute, self.from, self.to);
        if from <= to {
            (from..to).contains(&minute)
        } else {
            minute >= from || minute < to
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minutes(from)?, minutes(to)?);
        (from < DAY && to <= DAY && from != to).then_some(Self { from, to })
    }
}

impl UtcOffset {
    /// Returns the time of the week at a moment, in seconds since 1970.
    pub(crate) fn at(self, unix_seconds: u64) -> LocalTime {
        let seconds = i64::try_from(unix_seconds).unwrap_or(i64::MAX / 2);
        let minutes = seconds.div_euclid(60) + i64::from(self.minutes);
        let (days, minute) = (
            minutes.div_euclid(i64::from(DAY)),
            minutes.rem_euclid(i64::from(DAY)),
        );
        // The first day of 1970 was a Thursday.
        let day = usize::try_from((days + 3).rem_euclid(7)).unwrap_or_default();
        LocalTime {
            day: Day::ALL[day],
            minute: u16::try_from(minute).unwrap_or_default(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (sign, rest) = match text.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let minutes = minutes(rest).filter(|minutes| *minutes <= OFFSET_MAX)?;
        Some(Self {
            minutes: sign * i32::from(minutes),
        })
    }
}

/// Reads `HH:MM`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |digits: &str| {
        let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| is_two)
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60 && hours <= 24).then_some(60 * hours + minutes)
}

fn write_minutes(formatter: &mut fmt::Formatter<'_>, minutes: u16) -> fmt::Result {
    write!(formatter, "{:02}:{:02}", minutes / 60, minutes % 60)
}

impl fmt::Display for Hours {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_minutes(formatter, self.from)?;
        formatter.write_str("-")?;
        write_minutes(formatter, self.to)
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.minutes < 0 { "-" } else { "+" })?;
        let minutes = self.minutes.unsigned_abs();
        write_minutes(formatter, u16::try_from(minutes).unwrap_or_default())
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.day.name())?;
        write_minutes(formatter, self.minute)
    }
}

/// Reads a text with one of the types of this module.
fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> Option<T>,
    what: &str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is not {what}")))
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for UtcOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "a span of the day such as `08:00-17:30` or `22:00-06:00`";
        read(deserializer, Self::read, what)
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let what = "a distance from UTC such as `+01:00` or `-05:30`, at most 14 hours";
        read(deserializer, Self::read, what)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-30 05:50 UTC, a Monday.
    const MONDAY: u64 = 1_796_017_800;

    fn offset(text: &str) -> UtcOffset {
        UtcOffset::read(text).unwrap()
    }

    #[test]
    fn a_moment_has_a_day_and_a_time_in_each_zone() {
        for (text, expected) in [
            ("+00:00", "mon 05:50"),
            ("+01:00", "mon 06:50"),
            ("-06:00", "sun 23:50"),
            ("+14:00", "mon 19:50"),
        ] {
            assert_eq!(offset(text).at(MONDAY).to_string(), expected, "{text}");
            assert_eq!(offset(text).to_string(), text);
        }
        assert_eq!(UtcOffset::default().at(0).to_string(), "thu 00:00");
    }

    #[test]
    fn a_span_may_pass_midnight_and_its_end_does_not_belong_to_it() {
        let day = Hours::read("08:00-17:30").unwrap();
        let night = Hours::read("22:00-06:00").unwrap();
        let all = Hours::read("00:00-24:00").unwrap();
        for (minute, of_day, of_night) in [
            (0, false, true),
            (359, false, true),
            (360, false, false),
            (480, true, false),
            (1049, true, false),
            (1050, false, false),
            (1320, false, true),
        ] {
            let time = LocalTime {
                day: Day::Mon,
                minute,
            };
            assert_eq!(
                (day.contain(time), night.contain(time), all.contain(time)),
                (of_day, of_night, true)
            );
        }
    }

    #[test]
    fn what_is_no_span_or_distance_is_refused() {
        for text in [
            "",
            "8:00-17:00",
            "08:00",
            "08:60-09:00",
            "24:00-01:00",
            "08:00-08:00",
            "25:00-26:00",
        ] {
            assert_eq!(Hours::read(text), None, "{text}");
        }
        for text in ["", "01:00", "+1:00", "+15:00", "é01:00"] {
            assert_eq!(UtcOffset::read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_week_later_is_the_same_time_of_the_week(seconds in 0_u64..4_000_000_000, minutes in -840_i32..840) {
            let zone = UtcOffset { minutes };
            prop_assert_eq!(zone.at(seconds), zone.at(seconds + 7 * 86_400));
            prop_assert_ne!(zone.at(seconds).day, zone.at(seconds + 86_400).day);
        }
    }
}
