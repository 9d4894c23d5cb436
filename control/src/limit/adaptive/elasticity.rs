//! The latency elasticity between two levels, and other knowledge about it.
//!
//! `e = (Y_hi - Y_lo) / (X_hi - X_lo)`, `se_e = hypot(se_hi, se_lo) / (X_hi - X_lo)`. In the ramp it is
//! combined with a prior, by inverse variance.

use super::phase_window::{CENSORED, Summary};

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

/// Estimates the elasticity between two phases. Returns `None` if they are at the same level.
pub(super) fn elasticity(low: &Summary, high: &Summary) -> Option<Estimate> {
    let apart = high.x - low.x;
    if apart < 0.03 || low.y > 0.5 * CENSORED {
        return None;
    }
    Some(Estimate {
        value: (high.y - low.y) / apart,
        error: high.error.hypot(low.error) / apart,
    })
}
