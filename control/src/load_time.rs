//! How long this backend takes to load: what was seen, as quantiles, and when to ask again.
//!
//! Learned warm-ups survive restarts. A backend's own estimate is trusted once; when it does not
//! shrink it is a constant, and history or polling takes over.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::{real, seconds};

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

    /// Returns the wait from now to the next probe, `elapsed` into the warm-up.
    ///
    /// `history and el < 0.9 H: 0.97 H - el; trusted estimate: est + 0.1; else clamp(0.25 el, 2, 8)`.
    pub fn next_probe(&self, elapsed: Duration, trusted: Option<Duration>) -> Duration {
        let elapsed = elapsed.as_secs_f64();
        if let Some(history) = self.average.filter(|h| elapsed < 0.9 * h) {
            return seconds(0.97 * history - elapsed);
        }
        match trusted {
            Some(estimate) => estimate.saturating_add(Duration::from_millis(100)),
            None => seconds((0.25 * elapsed).clamp(2.0, 8.0)),
        }
    }

    /// Returns the average warm-up.
    pub fn expected(&self) -> Option<Duration> {
        self.average.map(seconds)
    }
}
