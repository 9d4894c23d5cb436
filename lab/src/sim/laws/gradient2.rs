//! Netflix `Gradient2Limit`: the gradient of a long over a short average of the latency.
//!
//! `g = clamp(1.5 long / short, 0.5, 1); L = 0.8 L + 0.2 (g L + 4)`, once per window. `long` is the mean of about 600
//! windows, and shrinks by 5 % when it is above twice `short`. Drops are ignored, as in the library.

use super::window::Window;
use super::{Limit, Sample};
use kebne_control::{ControllerSettings, Timestamp, Verdict};

/// The number of samples before the long average becomes exponential.
const WARM_UP: f64 = 10.0;
/// The library's long window.
const LONG: f64 = 600.0;

/// The gradient law.
#[derive(Debug)]
pub(crate) struct Gradient2 {
    limit: f64,
    max: f64,
    long: f64,
    count: f64,
    window: Window,
}

impl Gradient2 {
    /// Creates a law at the initial limit.
    pub(crate) fn new(settings: &ControllerSettings) -> Self {
        Self {
            limit: f64::from(settings.limit_initial),
            max: f64::from(settings.limit_max),
            long: 0.0,
            count: 0.0,
            window: Window::default(),
        }
    }
}

impl Limit for Gradient2 {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let seen = self.window.add(sample, now)?;
        self.count += 1.0;
        let weight = if self.count <= WARM_UP {
            1.0 / self.count
        } else {
            2.0 / (LONG + 1.0)
        };
        self.long += weight * (seen.rtt - self.long);
        if self.long > 2.0 * seen.rtt {
            self.long *= 0.95;
        }
        if seen.in_flight < self.limit / 2.0 {
            return None;
        }
        let gradient = (1.5 * self.long / seen.rtt).clamp(0.5, 1.0);
        let next = 0.8 * self.limit + 0.2 * (gradient * self.limit + 4.0);
        self.limit = next.clamp(1.0, self.max);
        None
    }
}
