//! Reaction to a refusal: a step found the edge, a held level fell, or the backend is shut.

use super::super::{Adaptive, Mode, Sample};
use super::{ASK, BUDGET_CAP, GAP, SHUT_FROM};
use crate::num::seconds;
use crate::verdict::VerdictKind;
use crate::{Part, Timestamp, Verdict};

impl Adaptive {
    /// Restores the level after the backend was shut.
    pub(super) fn opened(&mut self, now: Timestamp) -> Verdict {
        let from = self.level;
        self.edge.shut = None;
        self.edge.unexpected = 0;
        self.level = self.edge.fell_from.clamp(1.0, self.max);
        self.edge.penalty = Some((self.edge.fell_at, now));
        self.enter(Mode::Edge);
        self.verdict_from(VerdictKind::Up, from, "open again, level restored")
    }

    pub(in crate::limit::adaptive) fn refused(
        &mut self,
        sample: &Sample,
        now: Timestamp,
    ) -> Option<Verdict> {
        let took = sample.latency.as_secs_f64();
        self.edge.refusal_time += 0.2 * (took - self.edge.refusal_time);
        if matches!(self.mode, Mode::Probe | Mode::Up { .. }) {
            self.edge.budget = (self.edge.budget - 1.0).max(-BUDGET_CAP);
        }
        if sample.sent < self.epoch {
            return None;
        }
        self.edge.last_refusal = Some(now);
        self.epoch = now;
        let served = (f64::from(sample.in_flight) - 1.0).max(1.0);
        let from = self.limit;
        let held = matches!(self.mode, Mode::Edge | Mode::Hold | Mode::Down { .. });
        // A step of more than one may have been accepted in part.
        let found = match self.mode {
            Mode::Ramp | Mode::Up { .. } => true,
            Mode::Probe => served >= self.level,
            Mode::Edge | Mode::Hold | Mode::Down { .. } => false,
        };
        let probing = matches!(self.mode, Mode::Probe) && found;
        let (next, why) = if found {
            self.edge_found(served)
        } else {
            self.fell(sample.in_flight, served, held, now)
        };
        let before = self.level;
        self.level = next.clamp(1.0, self.max);
        if sample.binding {
            self.edge.count_fall(self.level, now);
        }
        self.warming = false;
        self.edge.next_probe =
            now.after(seconds(self.edge.usual.unwrap_or(0.0).clamp(GAP.0, GAP.1)));
        if self.edge.disabled {
            self.reference = None;
            self.hold();
        } else if probing {
            // The windows at the edge are kept.
            self.mode = Mode::Edge;
            self.set_limit(self.level);
            // The accepted calls are still running.
            self.edge.pressed = Some(now);
        } else {
            self.enter(Mode::Edge);
        }
        // The edge has not moved. This is probed each second and needs no verdict.
        let moved = !probing || (self.level - before).abs() > f64::EPSILON;
        moved.then_some(Verdict {
            kind: VerdictKind::Clamp,
            from,
            to: self.level,
            elasticity: None,
            result: why,
        })
    }

    fn edge_found(&mut self, served: f64) -> (f64, &'static str) {
        if self.mode == Mode::Ramp {
            self.edge.untested = true;
            self.learn_best();
            self.reference = None;
            return (served, "edge found");
        }
        self.step = 0.25;
        (self.level.max(served.min(self.limit)), "edge found")
    }

    fn fell(
        &mut self,
        in_flight: u32,
        served: f64,
        held: bool,
        now: Timestamp,
    ) -> (f64, &'static str) {
        if self.edge.unexpected == 0 {
            self.edge.fell_from = self.level;
            self.edge.fell_at = now;
        }
        self.edge.unexpected += 1;
        self.edge.disabled = false;
        self.edge.untested = false;
        self.reference = None;
        if self.without.keeps(Part::Shut) && in_flight <= 1 && self.edge.fell_from >= SHUT_FROM {
            let asked = self.edge.shut.map_or(0, |shut| shut.1 + 1);
            let wait = ASK.get(asked).or(ASK.last()).copied().unwrap_or(1.0);
            self.edge.shut = Some((now.after(seconds(wait)), asked));
            return (1.0, "shut");
        }
        let most = if self.without.keeps(Part::Cuts) { 4 } else { 2 };
        let ratio = match self.edge.unexpected.min(most) {
            0 | 1 => 1.0,
            2 => 0.8,
            3 => 0.6,
            _ => 0.5,
        };
        let why = if held { "refused" } else { "refused below" };
        ((ratio * self.level.min(served)).floor(), why)
    }
}
