//! The fast growth: after a start, and if the capacity turns out to be far above the known edge.

use super::ladder::{Judgement, Ladder};
use super::{Adaptive, Mode, Sample};
use crate::verdict::VerdictKind;
use crate::{Part, Timestamp, Verdict};

/// Share of a remembered level that needs no new proof.
const REMEMBERED: f64 = 0.7;

impl Adaptive {
    /// Starts a ramp from the level in force.
    pub(super) fn start_ramp(&mut self) {
        self.ladder = Ladder::new(self.level, self.reference, self.without);
        self.enter(Mode::Ramp);
    }

    /// Returns the highest level that the ramp may have now.
    fn ceiling(&self) -> f64 {
        let known = self
            .memory
            .filter(|_| self.without.keeps(Part::Remembered))
            .map_or(0.0, |memory| (REMEMBERED * memory).floor());
        let reach = self.ladder.reach().max(known);
        reach.floor().min(self.max)
    }

    /// Grows the ramp by one call.
    pub(super) fn climb(&mut self) {
        let next = (self.limit + 1.0).min(self.ceiling());
        if next > self.limit {
            self.set_limit(next);
        }
    }

    pub(super) fn look_ramp(&mut self, rung: usize, now: Timestamp) -> Option<Verdict> {
        let from = self.level;
        match self.ladder.judge(rung, &self.history, self.theta)? {
            Judgement::Proved { elasticity } => {
                self.level = self.ladder.top().min(self.limit).max(self.level);
                self.proved_most = self.proved_most.max(self.level);
                (self.level > from).then(|| Verdict {
                    elasticity,
                    ..self.verdict_from(VerdictKind::Up, from, "accept")
                })
            }
            Judgement::Changed => {
                self.level = self.limit;
                self.warming = false;
                self.step = 0.25;
                self.reference = None;
                self.hold();
                None
            }
            Judgement::Refuted {
                elasticity,
                knee,
                why,
            } => {
                self.level = (1.2 * knee).ceil().clamp(1.0, self.limit);
                let verdict = self.verdict(VerdictKind::Up, self.limit, elasticity, why);
                self.warming = false;
                self.learn_best();
                self.step = 0.25;
                self.reference = None;
                self.experiments += 1;
                self.rest(now);
                Some(verdict)
            }
        }
    }

    /// Sets the best latency to the measurement with few calls in flight, unless it comes from too few kinds of calls.
    pub(super) fn learn_best(&mut self) {
        if let Some(low) = self.ladder.foot_of_known_kinds() {
            self.improve_best(low.y, low.error);
        }
    }

    /// Counts how long calls have not waited. A limit that is not reached cannot be measured.
    pub(super) fn count_unbound(&mut self, sample: &Sample, _now: Timestamp) {
        if sample.binding {
            self.unbound = 0.0;
        } else {
            self.unbound += 1.0;
        }
        if self.without.keeps(Part::GiveBack) && self.unbound > 2.0 * self.limit + 20.0 {
            self.warming = false;
            self.unbound = 0.0;
            // The part that exceeded its proof and was not needed is given back.
            if self.mode == Mode::Ramp && self.limit > self.level {
                self.set_limit(self.level);
            }
            if self.mode == Mode::Ramp {
                self.ladder = Ladder::new(self.level, None, self.without);
            }
        }
    }
}
