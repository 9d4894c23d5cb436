//! Slow start, then additive increase and multiplicative decrease: Netflix `AIMDLimit` with TCP's epochs.
//!
//! Below the threshold: `L += 1` per success while the limit binds. Above: `L += 1 / L`. At a refusal or a timeout: `L
//! = max(1, ratio * min(L, in flight))`, once per epoch, that is, only for calls sent after the last cut. Faults do
//! not cut, because they need not come from load.

use super::{Limit, Sample, Signal};
use kebne_control::{ControllerSettings, Timestamp, Verdict, VerdictKind};

/// Factor of the limit at a refusal.
const RATIO: f64 = 0.85;

/// The additive-increase law.
#[derive(Debug)]
pub(crate) struct Aimd {
    limit: f64,
    initial: f64,
    max: f64,
    ratio: f64,
    threshold: f64,
    last_cut: Timestamp,
}

impl Aimd {
    /// Creates a law at the initial limit without a threshold.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        let initial = f64::from(settings.limit_initial);
        let max = f64::from(settings.limit_max);
        Self {
            limit: initial,
            initial,
            max,
            ratio: RATIO,
            threshold: max,
            last_cut: now,
        }
    }
}

impl Limit for Aimd {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        match sample.signal {
            Signal::Served => {
                if sample.binding && f64::from(sample.in_flight) * 2.0 >= self.limit {
                    let step = if self.warming() {
                        1.0
                    } else {
                        1.0 / self.limit
                    };
                    self.limit = (self.limit + step).min(self.max);
                }
                None
            }
            Signal::Fault => None,
            Signal::Refused | Signal::Timeout => {
                if sample.sent < self.last_cut {
                    return None;
                }
                let from = self.limit;
                let served = f64::from(sample.in_flight).min(self.limit);
                self.limit = (self.ratio * served).max(1.0);
                self.threshold = self.limit;
                self.last_cut = now;
                Some(Verdict {
                    kind: VerdictKind::Clamp,
                    from,
                    to: self.limit,
                    elasticity: None,
                    result: "refused or late",
                })
            }
        }
    }

    fn restart(&mut self, memory: Option<f64>, now: Timestamp) {
        self.limit = self.initial;
        self.threshold = memory.unwrap_or(self.max).clamp(1.0, self.max);
        self.last_cut = now;
    }

    fn warming(&self) -> bool {
        self.limit < self.threshold
    }
}
