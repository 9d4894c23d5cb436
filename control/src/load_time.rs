//! How long this backend takes to load: what was seen, as quantiles, and when to ask again.
//!
//! Learned warm-ups survive restarts. A backend's own estimate is trusted once; when it does not
//! shrink it is a constant, and history or polling takes over.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::{real, seconds};

/// Shortest and longest time between two probes of a backend that loads.
const ASK: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// How long after the promised time it is asked.
const PUNCTUAL: Duration = Duration::from_millis(100);

/// Warm-ups kept; enough for a p90, small enough to sort at each report.
const KEPT: usize = 32;

/// The load times of one backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadTimes {
    seen: VecDeque<Duration>,
    average: Option<f64>,
}

impl LoadTimes {
    /// Learns one whole warm-up.
    pub fn record(&mut self, took: Duration) {
        if self.seen.len() >= KEPT {
            self.seen.pop_front();
        }
        self.seen.push_back(took);
        let took = took.as_secs_f64();
        self.average = Some(self.average.map_or(took, |old| 0.7 * old + 0.3 * took));
    }

    /// Returns the quantile `q` in 0..=1 of what was seen.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut sorted: Vec<_> = self.seen.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let index = crate::num::calls(q.clamp(0.0, 1.0) * real(last) + 1.0) - 1;
        sorted.get(usize::try_from(index).unwrap_or(last)).copied()
    }

    /// Returns the wait from now to the next probe, `elapsed` into the warm-up: an eighth of the time that it takes as
    /// far as is known, from 0.5 to 2 s, or until the promised time where that is sooner. A loading answer costs nothing,
    /// and a promise is a prior.
    pub fn next_probe(elapsed: Duration, promised: Option<Duration>) -> Duration {
        let whole = elapsed.saturating_add(promised.unwrap_or_default());
        let usual = (whole / 8).clamp(ASK.0, ASK.1);
        promised.map_or(usual, |promised| {
            usual.min(promised.saturating_add(PUNCTUAL).max(ASK.0))
        })
    }

    /// Returns the average warm-up.
    pub fn expected(&self) -> Option<Duration> {
        self.average.map(seconds)
    }
}
