//! The load times of a backend: the observed values, as quantiles, and the time of the next probe.
//!
//! Learned load times survive restarts. A backend's own estimate is used once; if it does not shrink it is a constant,
//! and the history or polling is used instead.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::{real, seconds};

/// Shortest and longest time between two probes of a loading backend.
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// The time between the announced time and the probe.
const PUNCTUAL: Duration = Duration::from_millis(100);

/// The number of load times kept; enough for a 90th percentile, and small enough to sort at each report.
const KEPT: usize = 32;

/// The load times of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadTimes {
    seen: VecDeque<Duration>,
    average: Option<f64>,
}

impl LoadTimes {
    /// Adds one complete load time.
    pub fn record(&mut self, took: Duration) {
        if self.seen.len() >= KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(took);
        let took = took.as_secs_f64();
        self.average = Some(self.average.map_or(took, |old| 0.7 * old + 0.3 * took));
    }

    /// Returns the quantile `q`, from 0 to 1, of the observed load times.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut sorted: Vec<_> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let index = crate::num::calls(q.clamp(0.0, 1.0) * real(last) + 1.0) - 1;
        sorted.get(usize::try_from(index).unwrap_or(last)).copied()
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
        let average = 0.0..=longest.as_secs_f64();
        self.seen.len() <= KEPT
            && self.seen.iter().all(|took| *took <= longest)
            && self.average.is_none_or(|took| average.contains(&took))
    }

    /// Returns the average load time.
    pub fn expected(&self) -> Option<Duration> {
        self.average.map(seconds)
    }
}
