//! An explicit refusal: the limit clamps to what the backend was serving when it refused, once per epoch.
//!
//! `served = n - 1`; climbing with `served >= level`: the edge is found, `L = max(level, ceil(0.97 served))`;
//! otherwise capacity went away, `L = ceil(0.85 min(level, served))`, but not below half per epoch.

use super::{Adaptive, BUDGET_CAP, Mode, Sample};
use crate::verdict::VerdictKind;
use crate::{Timestamp, Verdict};

/// An edge this many times above the verified level is measured before it is believed.
const UNPROVED: f64 = 1.15;

impl Adaptive {
    pub(super) fn refused(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        self.last_refusal = Some(now);
        let climbing = matches!(self.mode, Mode::Up { .. });
        if climbing && !self.ramping {
            self.budget = (self.budget - 1.0).max(-BUDGET_CAP);
        }
        if sample.sent < self.epoch {
            return None;
        }
        let from = self.limit;
        let served = f64::from(sample.in_flight) - 1.0;
        if climbing && self.reference.is_some() && served > UNPROVED * self.level {
            return Some(self.verify_edge(from, served, now));
        }
        let (next, why) = if climbing && served >= self.level {
            (self.level.max((0.97 * served).ceil()), "edge found")
        } else {
            let cut = self.backoff_ratio * self.level.min(served);
            (cut.ceil().max(0.5 * self.level), "refused")
        };
        self.level = next.clamp(1.0, self.max);
        self.ramping = false;
        self.epoch = now;
        self.reference = None;
        self.experiments += u32::from(climbing);
        self.step = 0.5;
        self.hold(1);
        Some(Verdict {
            kind: VerdictKind::Clamp,
            from,
            to: self.level,
            elasticity: None,
            result: why,
        })
    }

    /// Stays at an edge far above what was proved, and measures it like any other step up: a backend that
    /// refuses aloud may be slower there than lower down.
    fn verify_edge(&mut self, from: f64, served: f64, now: Timestamp) -> Verdict {
        let edge = (0.97 * served).floor().clamp(1.0, self.max);
        self.ramping = false;
        self.epoch = now;
        self.experiments += 1;
        self.step = 0.5;
        self.limit = edge;
        self.enter(Mode::Up { target: edge });
        self.limit = edge;
        Verdict {
            kind: VerdictKind::Clamp,
            from,
            to: edge,
            elasticity: None,
            result: "edge found, to be proved",
        }
    }
}
