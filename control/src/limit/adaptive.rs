//! The adaptive law: paired experiments on the latency elasticity (`docs/control.md`).
//!
//! Owns the verified level, the experiment in progress and the budget for losses by experiments. Signals differ in
//! reliability: a refusal reduces the limit at once to what was being served; latency, timeouts and faults never
//! reduce it by themselves, but only decide experiments. By Little's law the goodput elasticity is `1 - e` with
//! `e = dln(latency)/dln(in flight)`, so one threshold fits hard slots, hidden queues and batch servers. It must never
//! react to a fault that another level would have had as well.

use std::time::Duration;

use super::{Limit, Sample, Signal};
use crate::verdict::VerdictKind;
use crate::{ControllerSettings, Part, Timestamp, Verdict, Without};

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

/// The largest error of a latency that may become the best one. The lowest of several noisy latencies is too low.
const BEST_ERROR: f64 = 1.0;

/// The time within which served calls count as one. What delayed one of them, such as a busy machine of the gateway's own, delayed
/// all, so a window of them would seem far more certain than it is.
const TOGETHER: Duration = Duration::from_millis(1);

/// The current activity.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Growing fast; one ramp step after the other is proved.
    Ramp,
    /// Serving at the verified level; windows are compared with the reference.
    Hold,
    /// Growing to a higher level, then measuring it.
    Up { target: f64 },
    /// Measuring a lower level.
    Down { target: f64, why: Why },
    /// Serving just below the level at which the backend refuses.
    Edge,
    /// Trying one call more than was ever accepted.
    Probe,
}

/// The reason why a lower level is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// To find whether less is enough; this is done from time to time.
    Routine,
    /// The backend became slower, or loses more.
    Anomaly,
    /// Fewer calls may be served at the edge than below it.
    Edge,
}

/// The law's state.
#[derive(Debug)]
pub(crate) struct Adaptive {
    /// The elasticity at which growth stops, which is the share of the asymptotic throughput that is used.
    theta: f64,
    without: Without,
    /// Refusals per success that experiments upward may cost.
    exploration: f64,
    initial: f64,
    max: f64,
    /// The limit in force; a whole number.
    limit: f64,
    /// The last verified level; a whole number.
    level: f64,
    mode: Mode,
    /// Relative size of the next step up.
    step: f64,
    /// `true` during the first growth after a start.
    warming: bool,
    /// Successes since calls last waited.
    unbound: f64,
    /// The level of an earlier controller, most of which the ramp may reach without proof.
    memory: Option<f64>,
    /// The highest level that the ramp has proved since the last start.
    proved_most: f64,
    ladder: Ladder,
    edge: Edge,
    window: Phased,
    reference: Option<Summary>,
    /// The lowest reference latency since the last rebase and its error, for the absolute bound.
    best: Option<(f64, f64)>,
    history: History,
    /// When a served call was last observed.
    observed: Timestamp,
    /// Calls sent before the last cut are outdated.
    epoch: Timestamp,
    /// Calls sent before this time waited behind those of an earlier level.
    settled: Timestamp,
    /// No experiment starts before this time.
    rest_until: Timestamp,
    /// The last rest in seconds; doubled by each experiment without success.
    rest: f64,
    experiments: u32,
    /// The number of experiments after which one goes down, and the number between two of these.
    down_after: u32,
    down_every: u32,
}

impl Adaptive {
    /// Creates a law that starts small, in the fast growth.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        let initial = f64::from(settings.limit_initial);
        Self {
            theta: settings.theta,
            without: settings.without,
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
            ladder: Ladder::new(initial, None, settings.without),
            edge: Edge::new(settings.without, now),
            window: Phased::default(),
            reference: None,
            best: None,
            history: History::default(),
            observed: Timestamp::ZERO,
            epoch: now,
            settled: now,
            rest_until: now,
            rest: 0.0,
            experiments: 0,
            down_after: hold::DOWN_AFTER.0,
            down_every: hold::DOWN_AFTER.0,
        }
    }

    /// Returns the number of samples that a decision needs: `clamp(0.8 L, 6, 40)`, at least 16 unless the step is
    /// upward.
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

    /// Returns `true` if a sample was taken near the level under test. A call that was sent during the change waited
    /// in the queue of the earlier level.
    fn belongs(&self, sent_at: f64, middle: f64) -> bool {
        match self.mode {
            // Calls sent before a cut still end above the level.
            Mode::Hold => middle >= 0.7 * self.level && middle <= 1.1 * self.level + 1.0,
            Mode::Edge | Mode::Probe => middle >= 0.7 * self.level,
            Mode::Up { target } => middle.min(sent_at) >= (self.level * target).sqrt(),
            Mode::Down { target, .. } => middle.max(sent_at) <= (self.level * target).sqrt(),
            Mode::Ramp => false,
        }
    }

    fn observe(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let middle =
            f64::midpoint(f64::from(sample.in_flight), f64::from(sample.in_flight_end)).max(1.0);
        let served = sample.signal == Signal::Served;
        if served && now.since(self.observed) < TOGETHER {
            if self.mode == Mode::Ramp {
                self.ladder.push_first(middle, sample);
            }
            return None;
        }
        if served {
            self.observed = now;
        }
        if served
            && self.without.keeps(Part::Slope)
            && let Some(y) = sample.log_latency
        {
            self.history.push(middle.ln(), y);
        }
        if self.mode == Mode::Ramp {
            let rung = self.ladder.push(middle, sample);
            return self.look_ramp(rung, now);
        }
        if sample.sent >= self.epoch.max(self.settled)
            && self.belongs(f64::from(sample.in_flight), middle)
        {
            self.window.push(middle.ln(), sample);
        }
        match self.mode {
            Mode::Hold => self.look_hold(sample, now),
            Mode::Up { target } => self.look_up(target, now),
            Mode::Down { target, why } => self.look_down(target, why, now),
            Mode::Edge | Mode::Probe => {
                self.look_edge(now);
                None
            }
            Mode::Ramp => None,
        }
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
            // The growth is one per success; the samples are assessed once the level is reached.
            Mode::Up { .. } | Mode::Ramp | Mode::Probe => self.limit.max(self.level),
            Mode::Down { target, .. } => target,
        };
        self.set_limit(limit);
    }

    /// Lowers the best known latency, unless the new one is too uncertain.
    fn improve_best(&mut self, y: f64, error: f64) {
        if error <= BEST_ERROR && self.best.is_none_or(|best| y < best.0) {
            self.best = Some((y, error));
        }
    }

    /// Returns the difference, in logarithms, between a latency and the best known one.
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
        self.observe(sample, now)
    }

    fn acknowledged(&mut self, sample: &Sample) {
        self.grow(sample);
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

    fn follow(&mut self, level: f64) {
        self.level = level.floor().clamp(1.0, self.max);
        self.reference = None;
        self.warming = false;
        self.hold();
    }

    fn proved(&self) -> f64 {
        self.level
    }

    fn trial_above(&self) -> Option<f64> {
        let tries_more = matches!(self.mode, Mode::Up { .. } | Mode::Ramp);
        (tries_more && self.without.keeps(Part::Trial)).then_some(self.level)
    }

    fn refused_with_a_clock(
        &mut self,
        sample: &Sample,
        asked: Duration,
        now: Timestamp,
    ) -> Option<Verdict> {
        // The same number was served at once a moment ago, so the number is not the reason of the refusal.
        if !self.without.keeps(Part::ClockNumber)
            || sample.in_flight < 2
            || f64::from(sample.in_flight) <= self.edge.served_most()
        {
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
