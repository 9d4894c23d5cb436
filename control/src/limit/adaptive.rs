//! The adaptive law: paired experiments on the latency elasticity (`docs/control.md`).
//!
//! Owns the verified level, the experiment under way and the budget that experiments may lose. It exists
//! because signals differ in trust: a refusal clamps to what was being served, at once; latency, timeouts
//! and faults never cut by themselves, they only decide experiments. By Little's law the goodput
//! elasticity is `1 - e` with `e = dln(latency)/dln(in flight)`, so one threshold fits hard slots, hidden
//! queues and batch servers. It must never move on a fault that another level would have had as well.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Limit, Sample, Signal};
use crate::verdict::VerdictKind;
use crate::{ControllerSettings, Timestamp, Verdict};

mod edge;
mod elasticity;
mod experiment;
mod hold;
mod ladder;
mod phase_window;
mod ramp;

use edge::Edge;
use elasticity::History;
use ladder::Ladder;
use phase_window::{Phased, Summary};

/// Most error of a latency that may be the best known: the lowest of noisy ones is too low.
const BEST_ERROR: f64 = 1.0;

/// Most early failures that wait to be counted; more than any window holds.
const EARLY_MAX: usize = 512;

/// What is being tried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Growing fast; rung after rung is proved.
    Ramp,
    /// Serving at the verified level; windows are compared with the reference.
    Hold,
    /// Climbing to, then measuring, a higher level.
    Up { target: f64 },
    /// Measuring a lower level.
    Down { target: f64, why: Why },
    /// Serving right below the level at which the backend refuses.
    Edge,
    /// Asking for one call more than was ever let in.
    Probe,
}

/// What a lower level is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// To see whether anything is lost: it is done now and then.
    Routine,
    /// The backend became slower or lossier.
    Anomaly,
    /// Less may be served at the edge than below it.
    Edge,
}

/// The law's state.
#[derive(Debug)]
pub(crate) struct Adaptive {
    /// Elasticity at which growth stops: the part of the asymptotic throughput that is taken.
    theta: f64,
    /// Refusals per success that upward experiments may cost.
    exploration: f64,
    initial: f64,
    max: f64,
    /// In force now; a whole number.
    limit: f64,
    /// Last verified level; a whole number.
    level: f64,
    mode: Mode,
    /// Relative size of the next step up.
    step: f64,
    /// Still in the first growth after a start.
    warming: bool,
    /// Successes since calls last waited.
    unbound: f64,
    /// Where an earlier life was, most of which the ramp may reach unproved.
    memory: Option<f64>,
    /// Highest level that the ramp proved since the last start.
    proved_most: f64,
    ladder: Ladder,
    edge: Edge,
    window: Phased,
    reference: Option<Summary>,
    /// Lowest reference latency since the last rebase and its error, for the absolute guard.
    best: Option<(f64, f64)>,
    history: History,
    /// Failures that came sooner than answers do, and are not counted yet.
    early: VecDeque<Sample>,
    /// Calls sent before the last cut say nothing new.
    epoch: Timestamp,
    /// Calls sent before this waited behind those of a level that was left.
    settled: Timestamp,
    /// No experiment before this.
    rest_until: Timestamp,
    /// Seconds of the last rest; doubled by each experiment that led nowhere.
    rest: f64,
    experiments: u32,
    /// The number of experiments at which one goes down, and how many lie between two such.
    down_after: u32,
    down_every: u32,
}

impl Adaptive {
    /// Starts small, in the fast growth.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        let initial = f64::from(settings.limit_initial);
        Self {
            theta: settings.theta,
            exploration: settings.exploration,
            initial,
            max: f64::from(settings.limit_max),
            limit: initial,
            level: initial,
            mode: Mode::Ramp,
            step: 1.0,
            warming: true,
            unbound: 0.0,
            memory: None,
            proved_most: initial,
            ladder: Ladder::new(initial, None),
            edge: Edge::new(now),
            window: Phased::default(),
            reference: None,
            best: None,
            history: History::default(),
            early: VecDeque::new(),
            epoch: now,
            settled: now,
            rest_until: now,
            rest: 0.0,
            experiments: 0,
            down_after: hold::DOWN_AFTER.0,
            down_every: hold::DOWN_AFTER.0,
        }
    }

    /// Samples that a look needs: `clamp(0.8 L, 6, 40)`, at least 16 unless the step is upward.
    fn look(&self) -> usize {
        let least = if matches!(self.mode, Mode::Up { .. }) {
            6.0
        } else {
            16.0
        };
        self.look_of(least)
    }

    fn look_of(&self, least: f64) -> usize {
        let count = (0.8 * self.limit).clamp(least, 40.0);
        usize::try_from(crate::num::calls(count)).unwrap_or(40)
    }

    /// Says whether a sample was taken near the level under test. A call that was sent on the way there waited
    /// in the queue of the level that was left.
    fn belongs(&self, sent_at: f64, middle: f64) -> bool {
        match self.mode {
            // What was sent before a cut still ends above the level.
            Mode::Hold => middle >= 0.7 * self.level && middle <= 1.1 * self.level + 1.0,
            Mode::Edge | Mode::Probe => middle >= 0.7 * self.level,
            Mode::Up { target } => middle.min(sent_at) >= (self.level * target).sqrt(),
            Mode::Down { target, .. } => middle.max(sent_at) <= (self.level * target).sqrt(),
            Mode::Ramp => false,
        }
    }

    fn observe(&mut self, sample: &Sample, timed: bool, now: Timestamp) -> Option<Verdict> {
        let middle =
            f64::midpoint(f64::from(sample.in_flight), f64::from(sample.in_flight_end)).max(1.0);
        let served = sample.signal == Signal::Served;
        if timed
            && served
            && let Some(y) = sample.log_latency
        {
            self.history.push(middle.ln(), y);
        }
        if self.mode == Mode::Ramp {
            let rung = self.ladder.push(middle, sample, timed);
            return self.look_ramp(rung, now);
        }
        if sample.sent >= self.epoch.max(self.settled)
            && self.belongs(f64::from(sample.in_flight), middle)
        {
            self.window.push(middle.ln(), sample, timed);
        }
        match self.mode {
            Mode::Hold => self.look_hold(sample, now),
            Mode::Up { target } => self.look_up(target, now),
            Mode::Down { target, why } => self.look_down(target, why, now),
            Mode::Edge | Mode::Probe => self.look_edge(now),
            Mode::Ramp => None,
        }
    }

    /// Returns `true` for a failure that came sooner than an answer to a call sent at the same time could: counted at
    /// once, the failures of a new level would all come before its answers.
    fn comes_early(&self, sample: &Sample) -> bool {
        let sooner = self.edge.usual().is_none_or(|usual| sample.latency < usual);
        let failed = sample.signal == Signal::Fault && !sample.acknowledged;
        failed && sooner && self.early.len() < EARLY_MAX
    }

    /// Counts the early failures whose answers would have come by now, up to the first that leads to a verdict.
    fn observe_early(&mut self, now: Timestamp) -> Option<Verdict> {
        let usual = self.edge.usual()?;
        while let Some(sample) = self
            .early
            .pop_front_if(|early| early.sent.after(usual) <= now)
        {
            let verdict = self.observe(&sample, true, now);
            if verdict.is_some() {
                return verdict;
            }
        }
        None
    }

    fn set_limit(&mut self, limit: f64) {
        self.limit = limit;
        self.edge.moved();
    }

    /// Enters a mode with an empty window.
    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.window.clear();
        let limit = match mode {
            Mode::Hold | Mode::Edge => self.level,
            // The climb is one per success; the look comes when the level is reached.
            Mode::Up { .. } | Mode::Ramp | Mode::Probe => self.limit.max(self.level),
            Mode::Down { target, .. } => target,
        };
        self.set_limit(limit);
    }

    /// Lowers the best latency known, unless the new one is too uncertain.
    fn improve_best(&mut self, y: f64, error: f64) {
        if error <= BEST_ERROR && self.best.is_none_or(|best| y < best.0) {
            self.best = Some((y, error));
        }
    }

    /// Returns how much slower (in logarithms) a latency is than the best known.
    fn slower_than_best(&self, y: f64) -> f64 {
        self.best.map_or(0.0, |best| y - best.0)
    }

    fn verdict(
        &self,
        kind: VerdictKind,
        to: f64,
        elasticity: Option<(f64, f64)>,
        result: &'static str,
    ) -> Verdict {
        Verdict {
            kind,
            from: self.level,
            to,
            elasticity,
            result,
        }
    }

    fn verdict_from(&self, kind: VerdictKind, from: f64, result: &'static str) -> Verdict {
        Verdict {
            kind,
            from,
            to: self.level,
            elasticity: None,
            result,
        }
    }

    /// Grows by one per success or first part while calls wait.
    fn grow(&mut self, sample: &Sample) {
        if !sample.binding {
            return;
        }
        match self.mode {
            Mode::Ramp if f64::from(sample.in_flight) * 2.0 >= self.limit => self.climb(),
            Mode::Up { target } if self.limit < target => {
                let next = (self.limit + 1.0).min(target);
                self.set_limit(next);
            }
            _ => {}
        }
    }
}

impl Limit for Adaptive {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn uninformative(&mut self, sent: Timestamp) {
        self.ladder.uninformative(sent);
    }

    fn dispatched(&mut self, in_flight: u32, now: Timestamp) {
        if self.mode == Mode::Ramp {
            self.ladder.dispatched(now);
        }
        self.press(in_flight, now);
    }

    fn tick(&mut self, binding: bool, now: Timestamp) -> Option<Verdict> {
        self.let_in(binding, now)
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        if sample.signal == Signal::Refused {
            return self.refused(sample, now);
        }
        if sample.signal == Signal::Served {
            self.edge.earn(self.exploration, sample, now);
            self.count_unbound(sample, now);
            if !sample.acknowledged {
                self.grow(sample);
            }
        }
        if self.comes_early(sample) {
            self.early.push_back(*sample);
            return None;
        }
        let verdict = self.observe(sample, !sample.acknowledged, now);
        verdict.or_else(|| self.observe_early(now))
    }

    fn acknowledged(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        self.grow(sample);
        self.observe(sample, true, now)
    }

    fn restart(&mut self, memory: Option<f64>, now: Timestamp) {
        self.level = self.initial;
        self.limit = self.initial;
        self.step = 1.0;
        self.warming = true;
        self.unbound = 0.0;
        self.memory = memory.map(|level| level.min(self.max));
        self.reference = None;
        self.best = None;
        self.history.clear();
        self.early.clear();
        self.epoch = now;
        self.rest_until = now;
        self.rest = 0.0;
        self.start_ramp();
    }

    fn release(&mut self, level: f64, now: Timestamp) {
        self.level = level.floor().clamp(self.initial, self.max);
        self.reference = None;
        self.warming = false;
        self.epoch = now;
        self.hold();
    }

    fn proved(&self) -> f64 {
        self.level
    }

    fn trial_above(&self) -> Option<f64> {
        matches!(self.mode, Mode::Up { .. }).then_some(self.level)
    }

    fn refused_with_a_clock(
        &mut self,
        sample: &Sample,
        asked: Duration,
        now: Timestamp,
    ) -> Option<Verdict> {
        // As many were served at once a moment ago: it is not the number that is refused.
        if sample.in_flight < 2 || f64::from(sample.in_flight) <= self.edge.served_most() {
            return None;
        }
        let verdict = self.refused(sample, now);
        // The pause costs as much as a share of the time.
        self.edge
            .wait_for(asked.div_f64(self.exploration.max(0.001)), now);
        verdict
    }

    fn due(&self) -> Option<Timestamp> {
        self.edge_due()
    }

    fn asks_at(&self) -> Option<Timestamp> {
        self.edge.asks_at()
    }

    fn penalty(&mut self) -> Option<(Timestamp, Timestamp)> {
        self.edge.penalty.take()
    }

    fn warming(&self) -> bool {
        self.warming && self.limit < self.max
    }
}

#[cfg(test)]
mod tests;
