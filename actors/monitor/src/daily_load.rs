//! The load of a lane by time of day, to know a peak before it begins.
//!
//! A day has 96 quarters of an hour, in UTC. Each keeps the calls of earlier days as a mean in which each later day weighs
//! half. It must never report a peak from a single day.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::history::real;

const SLOT_SECONDS: u64 = 15 * 60;
const SLOTS: usize = 96;
/// Days that a quarter of an hour must have been seen.
const DAYS_MIN: u32 = 2;
/// The most plausible calls of a quarter of an hour.
const CALLS_MAX: f64 = 1e9;
/// Weight of the last day.
const WEIGHT: f64 = 0.5;
/// Calls that make a peak, and the factor by which they exceed the quarter before.
const CALLS_MIN: f64 = 10.0;
const FACTOR: f64 = 4.0;

/// A quarter of an hour that usually begins a peak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// When it begins, in seconds since 1970.
    pub begins: u64,
    /// The calls that it usually has.
    pub calls: f64,
}

/// The usual load of one lane over the day. It is serialized as its quarters of an hour, by number from midnight, each with
/// the mean of its calls and the number of its days; those that were never seen are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<usize, (f64, u32)>",
    into = "BTreeMap<usize, (f64, u32)>"
)]
pub struct DailyLoad {
    /// The mean of the calls and the number of days.
    slots: [(f64, u32); SLOTS],
    /// The current quarter since 1970, and the calls at its beginning; `None` before the first note. The first quarter
    /// is not whole, and not kept.
    current: Option<(u64, u64, bool)>,
}

impl Default for DailyLoad {
    fn default() -> Self {
        Self {
            slots: [(0.0, 0); SLOTS],
            current: None,
        }
    }
}

impl From<BTreeMap<usize, (f64, u32)>> for DailyLoad {
    /// Ignores what is not plausible.
    fn from(seen: BTreeMap<usize, (f64, u32)>) -> Self {
        let mut load = Self::default();
        for (quarter, (mean, days)) in seen {
            if let Some(slot) = load.slots.get_mut(quarter)
                && (0.0..=CALLS_MAX).contains(&mean)
            {
                *slot = (mean, days);
            }
        }
        load
    }
}

impl From<DailyLoad> for BTreeMap<usize, (f64, u32)> {
    fn from(load: DailyLoad) -> Self {
        let slots = load.slots.into_iter().enumerate();
        slots.filter(|(_, (_, days))| *days > 0).collect()
    }
}

impl DailyLoad {
    /// Returns what was learned, without the current quarter of an hour.
    pub(crate) fn learned(&self) -> Self {
        Self {
            slots: self.slots,
            current: None,
        }
    }

    /// Notes how many calls there have been so far, at a time in seconds since 1970.
    pub fn note(&mut self, unix_seconds: u64, calls: u64) {
        let quarter = unix_seconds / SLOT_SECONDS;
        let Some((current, before, is_whole)) = self.current else {
            self.current = Some((quarter, calls, false));
            return;
        };
        if quarter == current {
            return;
        }
        if is_whole && quarter == current + 1 {
            let counted = real(calls.saturating_sub(before));
            if let Some((mean, days)) = self.slots.get_mut(slot(current)) {
                *mean = if *days == 0 {
                    counted
                } else {
                    *mean + WEIGHT * (counted - *mean)
                };
                *days = days.saturating_add(1);
            }
        }
        // A clock that jumps makes both quarters incomplete.
        self.current = Some((quarter, calls, quarter == current + 1));
    }

    /// Returns the peak that usually begins within `lead` from now.
    pub fn peak_within(&self, unix_seconds: u64, lead: Duration) -> Option<Peak> {
        let now = unix_seconds / SLOT_SECONDS;
        let last = unix_seconds.saturating_add(lead.as_secs()) / SLOT_SECONDS;
        (now + 1..=last.min(now + SLOTS as u64)).find_map(|quarter| {
            let calls = self.usual(quarter)?;
            let before = self.usual(quarter.checked_sub(1)?)?;
            let is_peak = calls >= CALLS_MIN && calls >= FACTOR * before;
            is_peak.then_some(Peak {
                begins: quarter * SLOT_SECONDS,
                calls,
            })
        })
    }

    fn usual(&self, quarter: u64) -> Option<f64> {
        let (mean, days) = *self.slots.get(slot(quarter))?;
        (days >= DAYS_MIN).then_some(mean)
    }
}

fn slot(quarter: u64) -> usize {
    usize::try_from(quarter % SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;

    /// Notes whole days with a call a second from eight o'clock to ten, once a minute.
    fn days(load: &mut DailyLoad, days: std::ops::Range<u64>) {
        let mut calls = days.start * 7200;
        for minute in days.start * 1440..days.end * 1440 {
            load.note(minute * 60, calls);
            if (480..600).contains(&(minute % 1440)) {
                calls += 60;
            }
        }
    }

    #[test]
    fn a_peak_is_known_after_two_days_and_before_it_begins() {
        let mut load = DailyLoad::default();
        days(&mut load, 0..2);
        let seven = 2 * DAY + 7 * 3600;
        let half_past = Duration::from_mins(59);
        assert_eq!(
            load.peak_within(seven, half_past),
            None,
            "not within an hour"
        );
        days(&mut load, 2..3);
        let eight = 3 * DAY + 8 * 3600;
        let peak = load
            .peak_within(eight - 600, Duration::from_mins(11))
            .unwrap();
        assert_eq!(peak.begins, eight);
        assert!((850.0..=950.0).contains(&peak.calls), "{}", peak.calls);
        assert_eq!(
            load.peak_within(eight, Duration::from_hours(2)),
            None,
            "it has begun"
        );
    }

    #[test]
    fn one_day_and_an_even_load_have_no_peak() {
        let mut load = DailyLoad::default();
        days(&mut load, 0..1);
        assert_eq!(load.peak_within(DAY, Duration::from_hours(24)), None);
        let mut even = DailyLoad::default();
        for minute in 0..5 * 1440 {
            even.note(minute * 60, minute * 10);
        }
        assert_eq!(even.peak_within(5 * DAY, Duration::from_hours(24)), None);
    }

    #[test]
    fn a_clock_that_jumps_adds_no_day() {
        let mut load = DailyLoad::default();
        for round in 0..100 {
            load.note(round * DAY * 3, round * 1000);
        }
        assert!(load.slots.iter().all(|(_, days)| *days == 0));
    }
}
