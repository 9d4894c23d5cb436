//! The latency elasticity between two levels, and other knowledge about it.
//!
//! `e = (Y_hi - Y_lo) / (X_hi - X_lo)`, `se_e = hypot(se_hi, se_lo) / (X_hi - X_lo)`. A noisy pair is combined, by
//! inverse variance, with the local slope of the recent samples, and in the ramp with a prior.

use std::collections::VecDeque;

use super::phase_window::{CENSORED, Summary, quantile};
use crate::num::real;

/// The number of samples kept for the local slope; more would include an earlier state of the backend.
const KEPT: usize = 240;
/// The smallest number of samples for a slope.
const LEAST: usize = 40;
/// A pair with a larger error is combined with other estimates.
const NOISY: f64 = 0.25;

/// An estimate with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) error: f64,
}

impl Estimate {
    /// Combines two estimates by inverse variance.
    pub(super) fn joined(self, other: Self) -> Self {
        let (a, b) = (self.error.powi(-2), other.error.powi(-2));
        Self {
            value: (a * self.value + b * other.value) / (a + b),
            error: (a + b).powf(-0.5),
        }
    }
}

/// The prior in the ramp, where overload is unlikely: `N(0.2, 0.4^2)`.
pub(super) const RAMP_PRIOR: Estimate = Estimate {
    value: 0.2,
    error: 0.4,
};

/// The recent samples of all modes.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(f64, f64)>);

impl History {
    pub(super) fn push(&mut self, x: f64, y: f64) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((x, y));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Fits a line through the samples between the two levels; outliers are limited to 2.5 MAD.
    fn slope(&self, low: f64, high: f64) -> Option<Estimate> {
        let near = |x: f64| x >= low - 0.1 && x <= high + 0.1;
        let points: Vec<(f64, f64)> = self.0.iter().copied().filter(|p| near(p.0)).collect();
        if points.len() < LEAST {
            return None;
        }
        let mut ys: Vec<f64> = points.iter().map(|p| p.1).collect();
        ys.sort_by(f64::total_cmp);
        let middle = quantile(&ys, 0.5)?;
        let mut away: Vec<f64> = ys.iter().map(|y| (y - middle).abs()).collect();
        away.sort_by(f64::total_cmp);
        let reach = (2.5 * 1.4826 * quantile(&away, 0.5)?).max(0.05);
        let pulled = |y: f64| y.clamp(middle - reach, middle + reach);
        let count = real(points.len());
        let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
        let mean_y = points.iter().map(|p| pulled(p.1)).sum::<f64>() / count;
        let (mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0);
        for (x, y) in points {
            let (dx, dy) = (x - mean_x, pulled(y) - mean_y);
            sxx += dx * dx;
            sxy += dx * dy;
            syy += dy * dy;
        }
        if sxx < 0.01 * count {
            return None;
        }
        let value = sxy / sxx;
        let residual = (syy - value * sxy).max(0.0) / (count - 2.0);
        let error = (residual / sxx).sqrt().max(0.02);
        Some(Estimate { value, error })
    }

    /// Estimates the elasticity between two phases. Returns `None` if they are at the same level.
    pub(super) fn elasticity(&self, low: &Summary, high: &Summary) -> Option<Estimate> {
        let apart = high.x - low.x;
        if apart < 0.03 || low.y > 0.5 * CENSORED {
            return None;
        }
        let pair = Estimate {
            value: (high.y - low.y) / apart,
            error: high.error.hypot(low.error) / apart,
        };
        if pair.error <= NOISY {
            return Some(pair);
        }
        let local = self.slope(low.x, high.x);
        Some(local.map_or(pair, |local| pair.joined(local)))
    }
}
