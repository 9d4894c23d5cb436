//! Serving at the verified level: each window is compared with the reference, and starts what comes next.

use super::{Adaptive, Mode, Sample, Summary};
use crate::{Timestamp, Verdict, verdict::VerdictKind};

/// Most windows between two experiments.
const HOLDS_MAX: u32 = 4;
/// After so many experiments one goes down, on a backend that does not refuse; twice as many after each that
/// found nothing, up to the second number.
pub(super) const DOWN_AFTER: (u32, u32) = (2, 12);

impl Adaptive {
    pub(super) fn hold(&mut self, windows: u32) {
        self.holds_left = windows;
        self.enter(Mode::Hold);
    }

    /// Holds, twice as long after each experiment that led nowhere.
    pub(super) fn hold_longer(&mut self) {
        self.hold(self.holds_planned);
        self.holds_planned = (2 * self.holds_planned).min(HOLDS_MAX);
    }

    pub(super) fn look_hold(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let least = self.look();
        if self.window.len() < least && self.window.attempts() < 2 * least {
            return None;
        }
        let seen = self.window.summary()?;
        self.window.clear();
        let Some(base) = self.reference else {
            self.reference = Some(seen);
            self.best = self.best.min(seen.y);
            self.holds_left = self.holds_left.saturating_sub(1);
            self.next_experiment(sample, now);
            return None;
        };
        if let Some(verdict) = self.changed(&base, &seen, now) {
            return Some(verdict);
        }
        let merged = base.joined(seen);
        self.reference = Some(merged);
        self.best = self.best.min(merged.y);
        self.holds_left = self.holds_left.saturating_sub(1);
        self.next_experiment(sample, now);
        None
    }

    /// Reacts to a backend that has become slower, lossier or faster by itself.
    fn changed(&mut self, base: &Summary, seen: &Summary, now: Timestamp) -> Option<Verdict> {
        let error = base.error.hypot(seen.error);
        let (gap, gap_error) = seen.loss_above(base);
        let slower = seen.y - base.y > 0.35 + 3.0 * error;
        if slower || gap > 0.12 + 3.0 * gap_error {
            let why = if slower { "slower" } else { "more lost" };
            self.reference = Some(*seen);
            let from = self.level;
            if self.start_down(0.7, true) {
                return Some(Verdict {
                    kind: VerdictKind::Anomaly,
                    from,
                    to: self.limit,
                    elasticity: None,
                    result: why,
                });
            }
            self.rebase();
            return None;
        }
        if base.y - seen.y > 0.35 + 3.0 * error {
            self.reference = Some(*seen);
            self.best = seen.y;
            self.step = self.step.max(0.5);
            self.start_up(now);
        }
        None
    }

    fn next_experiment(&mut self, sample: &Sample, now: Timestamp) {
        if self.holds_left > 0 {
            return;
        }
        let down_is_due = self.experiments >= self.down_after;
        if down_is_due && !self.ramping && !self.loud(now) && self.start_down(0.8, false) {
            return;
        }
        if sample.binding {
            self.start_up(now);
        }
    }
}
