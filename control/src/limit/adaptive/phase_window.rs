//! The samples of one phase of an experiment, and the values that a verdict needs.
//!
//! `Y = p35(y)`, `se = 1.30 * 1.4826 * MAD(y) / sqrt(m)`, `X = mean(x)`. The 35th percentile is used
//! instead of the median because waiting shows most in short calls.

use crate::limit::{Sample, Signal};
use crate::num::real;

/// The largest number of samples of one phase; the longest verdict needs a hundred.
const KEPT: usize = 160;
/// The quantile of the latency, and its standard error for one sample with deviation one.
const LEVEL: f64 = 0.35;
const ERROR: f64 = 1.30;
/// The number of newest samples that are checked before a window is full.
const NEWEST: usize = 16;
/// Represents the latency of a call that was given up. It is above every latency, and not part of any mean.
pub(super) const CENSORED: f64 = 50.0;

/// The summary of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    /// Mean of the logarithm of the calls in flight.
    pub(super) x: f64,
    /// 35th percentile of the logarithm of the latency.
    pub(super) y: f64,
    /// Standard error of `y`.
    pub(super) error: f64,
    /// Deviation of one sample.
    pub(super) spread: f64,
}

/// The samples of the phase in progress.
#[derive(Debug, Default)]
pub(super) struct Phased {
    x: Vec<f64>,
    y: Vec<f64>,
    /// The number of samples at the last assessment without a result.
    pub(super) looked: usize,
}

impl Phased {
    pub(super) fn clear(&mut self) {
        self.x.clear();
        self.y.clear();
        self.looked = 0;
    }

    pub(super) fn push(&mut self, x: f64, sample: &Sample) {
        let Some(y) = Self::latency(sample) else {
            return;
        };
        if self.y.len() < KEPT {
            self.x.push(x);
            self.y.push(y);
        }
    }

    /// Returns the logarithm of the latency of a sample; `None` if it contains no information about it.
    pub(super) fn latency(sample: &Sample) -> Option<f64> {
        match sample.signal {
            Signal::Served => sample.log_latency,
            Signal::Timeout => Some(CENSORED),
            _ => None,
        }
    }

    /// Returns the number of samples with a latency.
    pub(super) fn len(&self) -> usize {
        self.y.len()
    }

    pub(super) fn summary(&self) -> Option<Summary> {
        self.summary_of_all(0)
    }

    /// Summarises a phase of which `missing` calls are still running; each of them takes longer than those that ended.
    pub(super) fn summary_of_all(&self, missing: usize) -> Option<Summary> {
        if self.y.is_empty() {
            return None;
        }
        let mut sorted = self.y.clone();
        sorted.extend(std::iter::repeat_n(CENSORED, missing));
        sorted.sort_by(f64::total_cmp);
        let y = quantile(&sorted, LEVEL)?;
        let middle = quantile(&sorted, 0.5)?;
        let mut away: Vec<f64> = sorted.iter().map(|y| (y - middle).abs()).collect();
        away.sort_by(f64::total_cmp);
        let spread = 1.4826 * quantile(&away, 0.5)?;
        let count = real(self.y.len());
        Some(Summary {
            x: self.x.iter().sum::<f64>() / count,
            y,
            // Equal values have no spread, but a few equal values are not certain.
            error: standard_error(spread, self.y.len()).max(0.01),
            spread,
        })
    }

    /// Returns how much slower the newest samples are than the reference, and the standard error of that.
    pub(super) fn suddenly(&self, base: &Summary) -> Option<(f64, f64)> {
        let from = self.y.len().checked_sub(NEWEST)?;
        let mut last = self.y.get(from..)?.to_vec();
        last.sort_by(f64::total_cmp);
        let own = standard_error(base.spread, NEWEST);
        let slower = quantile(&last, LEVEL)? - base.y;
        Some((slower, base.error.hypot(own)))
    }
}

/// Returns the standard error of the quantile of `count` samples with this deviation.
pub(super) fn standard_error(spread: f64, count: usize) -> f64 {
    ERROR * spread / real(count).sqrt()
}

/// Interpolates between the two nearest sorted values.
pub(super) fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * real(last);
    let below = usize::try_from(crate::num::calls(position + 1.0) - 1).ok()?;
    let low = *sorted.get(below)?;
    let high = *sorted.get((below + 1).min(last))?;
    Some(low + (position - real(below)) * (high - low))
}

impl Summary {
    /// Combines two windows of the same level, weighted by their certainty.
    pub(super) fn joined(self, newer: Self) -> Self {
        let (a, b) = (self.error.powi(-2), newer.error.powi(-2));
        // The older half of the evidence fades, so that slow drift is followed.
        let a = a.min(b);
        let share = b / (a + b);
        let mix = |old: f64, new: f64| old + share * (new - old);
        Self {
            x: mix(self.x, newer.x),
            y: mix(self.y, newer.y),
            error: (a + b).powf(-0.5),
            spread: mix(self.spread, newer.spread),
        }
    }
}
