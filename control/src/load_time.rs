//! The load times of a backend: the observed values, as quantiles, and the time of the next probe.
//!
//! Learned load times survive restarts. A backend's own estimate is used once; if it does not shrink it is a constant,
//! and the history or polling is used instead.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::real;

/// Shortest and longest time between two probes of a loading backend.
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// The time between the announced time and the probe.
const PUNCTUAL: Duration = Duration::from_millis(100);

/// The number of load times kept; enough for a 90th percentile, and small enough to sort at each report.
const KEPT: usize = 32;
/// The number of the newest load times whose median is expected. Two accidents among them do not count, and three loads of a
/// larger model are sufficient.
const NEWEST: usize = 5;
/// The factor of the median above which a load time is an accident, such as a slow disk or a download, and not a quantile.
const ACCIDENT: u32 = 4;

/// The load times of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadTimes {
    seen: VecDeque<Duration>,
}

impl LoadTimes {
    /// Adds one complete load time.
    pub fn record(&mut self, took: Duration) {
        if self.seen.len() >= KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(took);
    }

    /// Returns the quantile `q`, from 0 to 1, of the observed load times; at most four times their median.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut sorted: Vec<_> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        let most = at(&sorted, 0.5)?.saturating_mul(ACCIDENT);
        Some(at(&sorted, q)?.min(most))
    }

    /// Returns the wait until the next probe, `elapsed` after loading began: an eighth of the load time as
    /// far as it is known, from 0.5 to 2 s, or until the announced time if that is sooner. A loading answer costs nothing, and an announced time is
    /// only an estimate.
    pub fn next_probe(elapsed: Duration, promised: Option<Duration>) -> Duration {
        let whole = elapsed.saturating_add(promised.unwrap_or_default());
        let usual = (whole / 8).clamp(ASK.0, ASK.1);
        promised.map_or(usual, |promised| {
            usual.min(promised.saturating_add(PUNCTUAL).max(ASK.0))
        })
    }

    /// Returns `true` if these can have been recorded, with no load time longer than `longest`.
    pub fn are_plausible(&self, longest: Duration) -> bool {
        self.seen.len() <= KEPT && self.seen.iter().all(|took| *took <= longest)
    }

    /// Returns the load time to expect: the median of the newest.
    pub fn expected(&self) -> Option<Duration> {
        let mut newest: Vec<_> = self.seen.iter().rev().take(NEWEST).copied().collect();
        newest.sort_unstable();
        at(&newest, 0.5)
    }
}

/// Returns the quantile `q`, from 0 to 1, of sorted values.
fn at(sorted: &[Duration], q: f64) -> Option<Duration> {
    let last = sorted.len().checked_sub(1)?;
    let index = crate::num::calls(q.clamp(0.0, 1.0) * real(last) + 1.0) - 1;
    sorted.get(usize::try_from(index).unwrap_or(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[u64]) -> LoadTimes {
        let mut times = LoadTimes::default();
        for took in seconds {
            times.record(Duration::from_secs(*took));
        }
        times
    }

    #[test]
    fn an_accident_is_not_expected_again_and_a_larger_model_is() {
        let seconds = |took: Option<Duration>| took.unwrap().as_secs();
        let times = of(&[20, 21, 20, 2400, 22]);
        assert_eq!(seconds(times.expected()), 21);
        assert_eq!(seconds(times.quantile(0.5)), 21);
        assert_eq!(seconds(times.quantile(1.0)), 84);
        assert_eq!(seconds(of(&[20, 20, 20, 20, 60, 61, 62]).expected()), 60);
        assert_eq!(of(&[]).expected(), None);
        assert_eq!(of(&[]).quantile(0.9), None);
    }
}
