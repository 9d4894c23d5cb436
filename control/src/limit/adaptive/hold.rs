//! Serving at the verified level: each window is compared with the reference, and starts the next experiment.

use super::{Adaptive, Mode, Sample, Summary, Why};
use crate::{Part, Timestamp, Verdict, verdict::VerdictKind};

/// Shortest and longest rest between two experiments, in seconds.
const REST: (f64, f64) = (1.0, 16.0);
/// Slowdown of the newest sixteen samples that is an anomaly before the window is full: `ln 1.8`.
const SUDDEN: f64 = 0.6;
/// On a backend that does not refuse, the number of experiments after which one goes down. It is doubled after each
/// one without success, up to the second number.
pub(super) const DOWN_AFTER: (u32, u32) = (2, 12);

impl Adaptive {
    pub(super) fn hold(&mut self) {
        self.enter(Mode::Hold);
    }

    /// Rests, twice as long after each experiment without success.
    pub(super) fn rest(&mut self, now: Timestamp) {
        let longer = if self.without.keeps(Part::Rests) {
            2.0
        } else {
            1.0
        };
        self.rest = (longer * self.rest).clamp(REST.0, REST.1);
        if self.without.keeps(Part::Settled) {
            self.settled = now.after(self.edge.usual().unwrap_or_default());
        }
        self.rest_until = now.after(crate::num::seconds(self.rest));
        self.hold();
    }

    pub(super) fn look_hold(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        if let Some(base) = self.reference
            && self.without.keeps(Part::Sudden)
            && self.suddenly_slow(&base)
            && let Some(seen) = self.window.summary()
        {
            // A slowdown by a factor of two is handled at once.
            self.window.clear();
            return self.anomaly(&base, &seen, "slower at once");
        }
        let least = self.look();
        if self.window.len() < least {
            return None;
        }
        let seen = self.window.summary()?;
        self.window.clear();
        let Some(base) = self.reference else {
            self.reference = Some(seen);
            self.improve_best(seen.y, seen.error);
            self.next_experiment(sample, now);
            return None;
        };
        if let Some(verdict) = self.changed(&base, &seen) {
            return Some(verdict);
        }
        let merged = base.joined(seen);
        self.reference = Some(merged);
        self.improve_best(merged.y, merged.error);
        self.next_experiment(sample, now);
        None
    }

    fn suddenly_slow(&self, base: &Summary) -> bool {
        let newest = self.window.suddenly(base);
        newest.is_some_and(|(slower, error)| slower > SUDDEN + 2.0 * error)
    }

    /// Reacts to a backend that has become slower or faster, or loses more, by itself.
    pub(super) fn changed(&mut self, base: &Summary, seen: &Summary) -> Option<Verdict> {
        let error = base.error.hypot(seen.error);
        if self.without.keeps(Part::Slower) && seen.y - base.y > 0.35 + 3.0 * error {
            return self.anomaly(base, seen, "slower");
        }
        if self.without.keeps(Part::Faster) && base.y - seen.y > 0.35 + 3.0 * error {
            self.reference = Some(*seen);
            self.best = Some((seen.y, seen.error));
            self.step = self.step.max(0.5);
            self.start_up();
        }
        None
    }

    /// Starts a step down because the backend has become slower, or loses more, by itself.
    fn anomaly(&mut self, base: &Summary, seen: &Summary, why: &'static str) -> Option<Verdict> {
        self.reference = Some(*seen);
        let from = self.level;
        if self.start_down(self.depth(seen.y - base.y), Why::Anomaly) {
            return Some(Verdict {
                kind: VerdictKind::Anomaly,
                from,
                to: self.limit,
                elasticity: None,
                result: why,
            });
        }
        self.rebase();
        None
    }

    fn next_experiment(&mut self, sample: &Sample, now: Timestamp) {
        if now < self.rest_until {
            return;
        }
        let down_is_due = self.without.keeps(Part::Routine) && self.experiments >= self.down_after;
        if down_is_due
            && (self.edge.disabled || !self.edge.rejecting(now))
            && self.start_down(0.8, Why::Routine)
        {
            return;
        }
        if !self.edge.disabled && self.edge.rejecting(now) {
            // The edge is known, so one more call is tried instead of an experiment.
            self.enter(Mode::Edge);
            return;
        }
        if sample.binding && self.edge.affords(now) {
            self.start_up();
        }
    }
}
