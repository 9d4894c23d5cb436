//! The two experiments: is more served at a higher level, and is anything lost at a lower one.

use super::elasticity::{Estimate, RAMP_PRIOR};
use super::{Adaptive, Mode, Summary};
use crate::num::real;
use crate::verdict::VerdictKind;
use crate::{Timestamp, Verdict};

/// Absolute guard: a level four times slower than the best is not tried further (the study, §4.8).
const GUARD: f64 = 1.386;

impl Adaptive {
    /// Starts a step up when the budget and the ceiling allow one.
    pub(super) fn start_up(&mut self, now: Timestamp) -> bool {
        if self.memory.is_some_and(|memory| self.level >= memory) {
            // What an earlier life had reached ends the fast growth, like TCP's threshold.
            self.ramping = false;
        }
        let size = if self.ramping {
            1.0
        } else if self.loud(now) || self.level < 8.0 {
            self.step.max(0.5)
        } else {
            self.step.clamp(0.12, 0.25)
        };
        let target = (self.level + 1.0)
            .max(self.level * (1.0 + size))
            .min(self.max);
        let affordable = self.ramping || self.budget >= 0.0;
        if target <= self.level || !affordable {
            return false;
        }
        self.enter(Mode::Up { target });
        true
    }

    /// Starts a step down by `factor`.
    pub(super) fn start_down(&mut self, factor: f64, anomaly: bool) -> bool {
        let target = (factor * self.level).min(self.level - 1.0);
        if target < 1.0 {
            return false;
        }
        self.enter(Mode::Down { target, anomaly });
        true
    }

    pub(super) fn look_up(&mut self, target: f64, now: Timestamp) -> Option<Verdict> {
        let base = self.reference?;
        if let Some(recent) = self.window.recent() {
            let error = base.error.hypot(0.35 * base.error);
            if recent > base.y + 0.9 + 4.0 * error {
                return Some(self.reject(target, None, "reject, slow already"));
            }
        }
        let least = self.look();
        let needed = least.max(self.window.looked + self.window.looked.div_ceil(2));
        let failing = self.window.attempts() >= 2 * least && self.window.looked == 0;
        if self.window.len() < needed && !failing {
            return None;
        }
        let Some(high) = self.window.summary() else {
            return Some(self.reject(target, None, "reject, nothing served"));
        };
        self.window.looked = self.window.len();
        let (gap, gap_error) = high.loss_above(&base);
        if gap > 0.06 + 1.5 * gap_error {
            return Some(self.reject(target, None, "reject, more lost"));
        }
        if high.y - self.best > GUARD + 2.0 * high.error {
            return Some(self.reject(target, None, "reject, four times the best"));
        }
        let Some(mut e) = self.history.elasticity(&base, &high) else {
            return (self.window.len() >= 4 * least)
                .then(|| self.reject(target, None, "reject, level not reached"));
        };
        if self.ramping {
            e = e.joined(RAMP_PRIOR);
        }
        let numbers = Some((e.value, e.error));
        if e.value - 0.7 * e.error > self.theta {
            return Some(self.reject(target, numbers, "reject"));
        }
        let most = if self.ramping {
            real(least) * 1.5
        } else {
            (4.0 * real(least)).min(100.0)
        };
        let sure = e.value + 0.7 * e.error < self.theta;
        let late = real(self.window.len()) >= most;
        if sure || (late && e.value - 0.5 * e.error < self.theta) {
            return Some(self.accept(target, high, e, now));
        }
        late.then(|| self.reject(target, numbers, "reject, unproved"))
    }

    fn accept(&mut self, target: f64, high: Summary, e: Estimate, now: Timestamp) -> Verdict {
        let verdict = self.verdict(VerdictKind::Up, target, Some((e.value, e.error)), "accept");
        self.level = target;
        self.reference = Some(high);
        self.best = self.best.min(high.y);
        self.step = (2.0 * self.step).min(1.0);
        self.holds_planned = 1;
        self.experiments += 1;
        if !self.start_up(now) {
            self.hold(1);
        }
        verdict
    }

    pub(super) fn reject(
        &mut self,
        target: f64,
        elasticity: Option<(f64, f64)>,
        why: &'static str,
    ) -> Verdict {
        let verdict = self.verdict(VerdictKind::Up, target, elasticity, why);
        self.ramping = false;
        self.step = ((target / self.level).sqrt() - 1.0).clamp(0.12, 0.5);
        self.experiments += 1;
        self.hold_longer();
        verdict
    }

    pub(super) fn look_down(&mut self, target: f64, anomaly: bool) -> Option<Verdict> {
        let base = self.reference?;
        let least = self.look();
        if self.window.len() < least && self.window.attempts() < 2 * least {
            return None;
        }
        let low = self.window.summary()?;
        let e = self.history.elasticity(&low, &base);
        let numbers = e.map(|e| (e.value, e.error));
        let (gap, gap_error) = base.loss_above(&low);
        let fewer_lost = gap > 0.06 + 1.5 * gap_error;
        let faster = e.is_some_and(|e| e.value - 1.3 * e.error > 0.9 * self.theta);
        self.experiments += 1;
        let (least_between, most_between) = super::hold::DOWN_AFTER;
        self.down_every = if faster || fewer_lost {
            least_between
        } else {
            (2 * self.down_every).min(most_between)
        };
        self.down_after = self.experiments + self.down_every;
        if faster || fewer_lost {
            let verdict = self.verdict(VerdictKind::Down, target, numbers, "accept");
            self.level = target;
            self.ramping = false;
            self.reference = Some(low);
            self.best = self.best.min(low.y);
            self.step = 0.12;
            let factor = if anomaly { 0.7 } else { 0.8 };
            if !self.start_down(factor, anomaly) {
                self.hold(1);
            }
            return Some(verdict);
        }
        let why = if anomaly {
            // Slower, but not because of us: the backend's new normal.
            self.rebase();
            "undo and rebase"
        } else {
            "undo"
        };
        let verdict = self.verdict(VerdictKind::Down, target, numbers, why);
        self.hold_longer();
        Some(verdict)
    }

    /// Forgets what was measured of a backend that has changed.
    pub(super) fn rebase(&mut self) {
        self.reference = None;
        self.best = f64::INFINITY;
        self.history.clear();
    }
}
