//! Times, shares and lists as people read them.

use std::{fmt::Display, time::Duration};

/// The names that a sentence lists; further ones are counted.
const LISTED: usize = 5;
const DAY: u64 = 24 * 60 * 60;

/// Writes a duration: tenths of seconds below ten, then seconds below two minutes, then minutes, then hours.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => {
            let tenths = duration.as_millis() / 100;
            match tenths % 10 {
                0 => format!("{seconds} s"),
                tenth => format!("{seconds}.{tenth} s"),
            }
        }
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        _ => format!("{} hours", seconds / 3600),
    }
}

/// Writes the time of a day that began `ago` before `now`, which is in seconds since 1970; with the date if that was another
/// day.
pub(crate) fn clock(now: u64, ago: Duration) -> String {
    let at = now.saturating_sub(ago.as_secs());
    if at / DAY == now / DAY {
        of_day(at)
    } else {
        moment(at)
    }
}

/// Writes a time in seconds since 1970, with its date.
pub(crate) fn moment(at: u64) -> String {
    let (year, month, day) = civil(at / DAY);
    format!("{} on {year}-{month:02}-{day:02}", of_day(at))
}

fn of_day(at: u64) -> String {
    let seconds = at % DAY;
    format!("{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
}

/// Returns the date of a day since 1970-01-01: the algorithm `civil_from_days` of Howard Hinnant's "chrono-Compatible
/// Low-Level Date Algorithms", for days after 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day)
}

/// Writes a part of a sum in percent, to the nearest one.
pub(crate) fn percent(part: u64, sum: u64) -> String {
    let sum = sum.max(1);
    format!("{} %", (part.saturating_mul(200) / sum).div_ceil(2))
}

/// Lists names in backticks.
pub(crate) fn listed<T: Display>(names: &[T]) -> String {
    let (shown, more) = names.split_at(names.len().min(LISTED));
    let shown: Vec<_> = shown.iter().map(|name| format!("`{name}`")).collect();
    match (shown.as_slice(), more.len()) {
        ([], _) => String::new(),
        ([one], 0) => one.clone(),
        ([first @ .., last], 0) => format!("{} and {last}", first.join(", ")),
        (all, 1) => format!("{} and 1 other", all.join(", ")),
        (all, more) => format!("{} and {more} others", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_another_day_have_their_date() {
        // 2026-03-01 00:10:30 UTC.
        let now = 1_772_323_830;
        assert_eq!(clock(now, Duration::from_secs(90)), "00:09 UTC");
        assert_eq!(
            clock(now, Duration::from_mins(30)),
            "23:40 UTC on 2026-02-28"
        );
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }

    #[test]
    fn durations_have_a_unit_and_no_more_digits_than_are_known() {
        let spoken = [0, 950, 1000, 1849, 119_999, 120_000, 8_000_000]
            .map(|millis| spoken(Duration::from_millis(millis)));
        assert_eq!(
            spoken,
            [
                "0 ms",
                "950 ms",
                "1 s",
                "1.8 s",
                "119 s",
                "2 minutes",
                "2 hours"
            ]
        );
    }

    #[test]
    fn parts_are_rounded_and_lists_are_bounded() {
        assert_eq!(
            [percent(1, 3), percent(2, 3), percent(1, 1)],
            ["33 %", "67 %", "100 %"]
        );
        assert_eq!(percent(0, 0), "0 %");
        assert_eq!(listed(&["a"]), "`a`");
        assert_eq!(listed(&["a", "b", "c"]), "`a`, `b` and `c`");
        let many = ["a", "b", "c", "d", "e", "f", "g"];
        assert_eq!(listed(&many), "`a`, `b`, `c`, `d`, `e` and 2 others");
        assert_eq!(listed(&many[..6]), "`a`, `b`, `c`, `d`, `e` and 1 other");
    }
}
