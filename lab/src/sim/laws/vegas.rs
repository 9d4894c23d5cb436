//! Netflix `VegasLimit`: estimates the queue from the latency above the smallest observed latency.
//!
//! `q = ceil(L (1 - noload / rtt)); k = max(1, log10 L)`; `q <= k: L += 6 k; q < 3 k: L += k; q > 6 k or a drop: L -=
//! k`, once per window. The no-load latency is measured again every `30 L` windows.

use super::window::Window;
use super::{Limit, Sample};
use kebne_control::{ControllerSettings, Timestamp, Verdict};

/// The library's probe multiplier.
const PROBE: f64 = 30.0;
/// The mean of its probe jitter, which is uniform in 0.5 to 1.
const JITTER: f64 = 0.75;

/// The Vegas law.
#[derive(Debug)]
pub(crate) struct Vegas {
    limit: f64,
    max: f64,
    no_load: f64,
    probe: f64,
    window: Window,
}

impl Vegas {
    /// Creates a law at the initial limit.
    pub(crate) fn new(settings: &ControllerSettings) -> Self {
        Self {
            limit: f64::from(settings.limit_initial),
            max: f64::from(settings.limit_max),
            no_load: 0.0,
            probe: 0.0,
            window: Window::default(),
        }
    }
}

impl Limit for Vegas {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let seen = self.window.add(sample, now)?;
        self.probe += 1.0;
        if JITTER * PROBE * self.limit <= self.probe {
            self.probe = 0.0;
            self.no_load = seen.rtt;
            return None;
        }
        if self.no_load <= 0.0 || seen.rtt < self.no_load {
            self.no_load = seen.rtt;
            return None;
        }
        let step = self.limit.log10().floor().max(1.0);
        let queue = (self.limit * (1.0 - self.no_load / seen.rtt)).ceil();
        let next = if seen.dropped {
            self.limit - step
        } else if seen.in_flight * 2.0 < self.limit {
            return None;
        } else if queue <= step {
            self.limit + 6.0 * step
        } else if queue < 3.0 * step {
            self.limit + step
        } else if queue > 6.0 * step {
            self.limit - step
        } else {
            return None;
        };
        self.limit = next.clamp(1.0, self.max);
        None
    }
}
