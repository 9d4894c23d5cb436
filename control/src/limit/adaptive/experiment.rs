//! The two experiments: whether more is served at a higher level, and whether anything is lost at a lower one.

use super::elasticity::Estimate;
use super::{Adaptive, Mode, Summary, Why};
use crate::num::real;
use crate::verdict::VerdictKind;
use crate::{Part, Timestamp, Verdict};

/// The largest step; a hidden queue twice as long takes long to drain.
const STEP_MOST: f64 = 0.5;
/// The smallest step; a smaller one cannot be distinguished from noise.
const STEP_LEAST: f64 = 0.12;
/// The elasticity above which less is served at a level than below it, with a margin for noise.
const COLLAPSE: f64 = 1.1;

impl Adaptive {
    /// Returns the factor of the lower level for a backend that is slower by `slower` (in logarithms): `exp(0.2 - d)`.
    pub(super) fn depth(&self, slower: f64) -> f64 {
        if self.without.keeps(Part::Depth) {
            (0.2 - slower).exp().clamp(0.5, 0.75)
        } else {
            0.7
        }
    }

    /// Starts a step up if the budget and the ceiling allow one.
    pub(super) fn start_up(&mut self) -> bool {
        let size = if self.level < 8.0 && self.without.keeps(Part::SmallSteps) {
            self.step.max(0.5)
        } else {
            self.step.max(STEP_LEAST)
        };
        let target = (self.level + 1.0)
            .max((self.level * (1.0 + size)).floor())
            .min(self.max);
        if target <= self.level {
            return false;
        }
        self.enter(Mode::Up { target });
        true
    }

    /// Starts a step down by `factor`.
    pub(super) fn start_down(&mut self, factor: f64, why: Why) -> bool {
        let target = (factor * self.level).floor().min(self.level - 1.0);
        if target < 1.0 {
            return false;
        }
        self.enter(Mode::Down { target, why });
        true
    }

    pub(super) fn look_up(&mut self, target: f64, now: Timestamp) -> Option<Verdict> {
        let base = self.reference?;
        let least = self.look();
        let needed = least.max(self.window.looked + self.window.looked.div_ceil(2));
        if self.window.len() < needed {
            return None;
        }
        let high = self.window.summary()?;
        self.window.looked = self.window.len();
        let most = (4.0 * real(least)).min(100.0);
        let late = real(self.window.len()) >= most;
        let apart = high.x - base.x >= 0.5 * (target / self.level).ln();
        let Some(e) = self.history.elasticity(&base, &high).filter(|_| apart) else {
            return late.then(|| self.reject(now, target, None, "reject, level not reached"));
        };
        let numbers = Some((e.value, e.error));
        if e.value - 0.7 * e.error > self.theta {
            return Some(self.reject(now, target, numbers, "reject"));
        }
        let sure = e.value + 0.7 * e.error < self.theta;
        if sure
            || (late && self.without.keeps(Part::Likely) && e.value - 0.5 * e.error < self.theta)
        {
            return Some(self.accept(target, high, e));
        }
        late.then(|| self.reject(now, target, numbers, "reject, unproved"))
    }

    fn accept(&mut self, target: f64, high: Summary, e: Estimate) -> Verdict {
        let verdict = self.verdict(VerdictKind::Up, target, Some((e.value, e.error)), "accept");
        self.level = target;
        self.reference = Some(high);
        self.improve_best(high.y, high.error);
        self.step = if self.without.keeps(Part::Growing) {
            (2.0 * self.step).min(STEP_MOST)
        } else {
            0.25
        };
        self.rest = 0.0;
        self.experiments += 1;
        if !self.without.keeps(Part::UpChain) || !self.start_up() {
            self.hold();
        }
        verdict
    }

    pub(super) fn reject(
        &mut self,
        now: Timestamp,
        target: f64,
        elasticity: Option<(f64, f64)>,
        why: &'static str,
    ) -> Verdict {
        let verdict = self.verdict(VerdictKind::Up, target, elasticity, why);
        self.step = if self.without.keeps(Part::Growing) {
            ((target / self.level).sqrt() - 1.0).clamp(STEP_LEAST, 0.5)
        } else {
            0.25
        };
        self.experiments += 1;
        self.rest(now);
        verdict
    }

    pub(super) fn look_down(&mut self, target: f64, why: Why, now: Timestamp) -> Option<Verdict> {
        let base = self.reference?;
        let least = self.look();
        if self.window.len() < least {
            return None;
        }
        let low = self.window.summary()?;
        let e = self.history.elasticity(&low, &base);
        let numbers = e.map(|e| (e.value, e.error));
        let needed = if why == Why::Edge {
            COLLAPSE
        } else {
            0.9 * self.theta
        };
        let faster = e.is_some_and(|e| e.value - 1.3 * e.error > needed);
        self.experiments += 1;
        let (least_between, most_between) = super::hold::DOWN_AFTER;
        self.down_every = if faster || !self.without.keeps(Part::Rarer) {
            least_between
        } else {
            (2 * self.down_every).min(most_between)
        };
        self.down_after = self.experiments + self.down_every;
        if faster {
            let verdict = self.verdict(VerdictKind::Down, target, numbers, "accept");
            self.level = target;
            self.reference = Some(low);
            self.improve_best(low.y, low.error);
            if self.without.keeps(Part::Growing) {
                self.step = STEP_LEAST;
            }
            self.edge.disabled |= why == Why::Edge;
            let factor = match why {
                Why::Routine => 0.8,
                Why::Anomaly => self.depth(self.slower_than_best(low.y)),
                Why::Edge => 0.7,
            };
            let next = if why == Why::Edge { Why::Routine } else { why };
            if !self.without.keeps(Part::DownChain) || !self.start_down(factor, next) {
                self.hold();
            }
            return Some(verdict);
        }
        let result = if why == Why::Anomaly && self.without.keeps(Part::Rebase) {
            // The backend became slower for another reason; the search starts again from its new latency.
            self.rebase();
            "undo and rebase"
        } else {
            "undo"
        };
        let verdict = self.verdict(VerdictKind::Down, target, numbers, result);
        if why == Why::Edge {
            self.enter(Mode::Edge);
            return Some(verdict);
        }
        self.rest(now);
        Some(verdict)
    }

    /// Discards the measurements of a backend that has changed.
    pub(super) fn rebase(&mut self) {
        self.reference = None;
        self.best = None;
        self.history.clear();
    }
}
