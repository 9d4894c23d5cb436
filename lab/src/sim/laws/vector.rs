//! Vector's adaptive request concurrency.
//!
//! Once per mean latency: `L += 1` if the limit was reached, there was no back-pressure and the latency is at most its
//! mean; `L = floor(0.9 L)` if there was back-pressure or the latency is at least the mean plus 2.5 deviations. Mean
//! and deviation are exponential, with weight 0.4.

use std::time::Duration;

use super::{Limit, Sample, Signal};
use crate::sim::number::real;
use kebne_control::{ControllerSettings, Timestamp, Verdict};

/// Its default `ewma_alpha`.
const WEIGHT: f64 = 0.4;
/// Its default `rtt_deviation_scale`.
const DEVIATIONS: f64 = 2.5;
/// Its default `decrease_ratio`.
const DECREASE: f64 = 0.9;

/// The law of Vector.
#[derive(Debug)]
pub(crate) struct Vector {
    limit: f64,
    max: f64,
    past: Option<(f64, f64)>,
    sum: f64,
    count: usize,
    reached: bool,
    pushed_back: bool,
    next: Timestamp,
}

impl Vector {
    /// Creates a law at the limit one, regardless of the settings, as Vector does.
    pub(crate) fn new(settings: &ControllerSettings) -> Self {
        Self {
            limit: 1.0,
            max: f64::from(settings.limit_max),
            past: None,
            sum: 0.0,
            count: 0,
            reached: false,
            pushed_back: false,
            next: Timestamp::ZERO,
        }
    }

    fn update(&mut self, now: Timestamp) {
        let current = (self.count > 0).then(|| self.sum / real(self.count));
        let (mean, variance) = match (self.past, current) {
            (Some(past), _) => past,
            (None, Some(current)) => (current, 0.0),
            (None, None) => return,
        };
        let slow = current.is_some_and(|rtt| rtt >= mean + DEVIATIONS * variance.sqrt());
        // In Vector's order: a constant latency is both at its mean and not below its bound.
        let calm = current.is_some_and(|rtt| rtt <= mean) && !self.pushed_back;
        if self.reached && calm {
            self.limit = (self.limit + 1.0).min(self.max);
        } else if self.pushed_back || (slow && !calm) {
            self.limit = (DECREASE * self.limit).floor().max(1.0);
        }
        let past = match current {
            Some(rtt) => {
                let off = rtt - mean;
                let variance = (1.0 - WEIGHT) * (variance + WEIGHT * off * off);
                (mean + WEIGHT * off, variance)
            }
            None => (mean, variance),
        };
        self.past = Some(past);
        self.sum = 0.0;
        self.count = 0;
        self.reached = false;
        self.pushed_back = false;
        self.next = now.after(Duration::try_from_secs_f64(past.0).unwrap_or_default());
    }
}

impl Limit for Vector {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        if sample.signal == Signal::Served {
            self.sum += sample.latency.as_secs_f64();
            self.count += 1;
        } else {
            self.pushed_back = true;
        }
        self.reached |= f64::from(sample.in_flight) >= self.limit;
        if now >= self.next {
            self.update(now);
        }
        None
    }
}
