//! The adaptive law: paired experiments on the latency elasticity (the study's §4.3, `docs/control.md`).
//!
//! Owns the verified level, the experiment under way and the budget that experiments may lose. It exists
//! because signals differ in trust: a refusal clamps to what was being served, at once; latency, timeouts
//! and faults never cut by themselves, they only decide experiments. By Little's law the goodput
//! elasticity is `1 - e` with `e = dln(latency)/dln(in flight)`, so one threshold fits hard slots, hidden
//! queues and batch servers. It must never move on a fault that another level would have had as well.

use std::time::Duration;

use super::{Limit, Sample, Signal};
use crate::verdict::VerdictKind;
use crate::{ControllerSettings, Timestamp, Verdict};

mod elasticity;
mod experiment;
mod hold;
mod phase_window;
mod refusal;

use elasticity::History;
use phase_window::{Phased, Summary};

/// A backend that refused within this time refuses aloud: its queue is bounded.
const LOUD: Duration = Duration::from_mins(5);
/// A limit not half used for this long is unproved (RFC 7661).
const VALIDITY: Duration = Duration::from_mins(1);
/// Time in which a backend that serves earns one refusal, however few calls it answers: else one with long
/// calls would never be tried again.
const CREDIT: Duration = Duration::from_mins(1);
/// Most refusals that may be owed to, or saved up in, the budget.
const BUDGET_CAP: f64 = 2.0;

/// What is being tried.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// Serving at the verified level; windows are compared with the reference.
    Hold,
    /// Climbing to, then measuring, a higher level.
    Up { target: f64 },
    /// Measuring a lower level; an anomaly started it when `anomaly`.
    Down { target: f64, anomaly: bool },
}

/// The law's state.
#[derive(Debug)]
pub(crate) struct Adaptive {
    /// Elasticity at which growth stops: the part of the asymptotic throughput that is taken.
    theta: f64,
    /// Refusals per success that upward experiments may cost.
    exploration: f64,
    backoff_ratio: f64,
    initial: f64,
    max: f64,
    /// In force now.
    limit: f64,
    /// Last verified level.
    level: f64,
    mode: Mode,
    /// Relative size of the next step up.
    step: f64,
    /// Still in the first, fast growth; it ends at the first refusal or rejected step.
    ramping: bool,
    /// Where an earlier life was, which the fast growth may reach unproved.
    memory: Option<f64>,
    window: Phased,
    reference: Option<Summary>,
    /// Lowest reference latency since the last rebase, for the absolute guard.
    best: f64,
    history: History,
    /// Calls sent before the last cut say nothing new.
    epoch: Timestamp,
    last_refusal: Option<Timestamp>,
    budget: f64,
    /// When the budget last grew.
    paid: Timestamp,
    holds_left: u32,
    holds_planned: u32,
    experiments: u32,
    /// The number of experiments at which one goes down, and how many lie between two such.
    down_after: u32,
    down_every: u32,
    used: f64,
    used_since: Timestamp,
}

impl Adaptive {
    /// Starts small, in the fast growth.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        let initial = f64::from(settings.limit_initial);
        Self {
            theta: settings.theta,
            exploration: settings.exploration,
            backoff_ratio: settings.backoff_ratio,
            initial,
            max: f64::from(settings.limit_max),
            limit: initial,
            level: initial,
            mode: Mode::Hold,
            step: 1.0,
            ramping: true,
            memory: None,
            window: Phased::default(),
            reference: None,
            best: f64::INFINITY,
            history: History::default(),
            epoch: now,
            last_refusal: None,
            budget: 0.0,
            paid: now,
            holds_left: 1,
            holds_planned: 1,
            experiments: 0,
            down_after: hold::DOWN_AFTER.0,
            down_every: hold::DOWN_AFTER.0,
            used: 0.0,
            used_since: now,
        }
    }

    fn loud(&self, now: Timestamp) -> bool {
        self.last_refusal.is_some_and(|at| now.since(at) < LOUD)
    }

    /// Samples that a look needs: `clamp(0.8 L, 6, 40)`, at least 16 unless the step is upward.
    fn look(&self) -> usize {
        let least = if self.ramping {
            4.0
        } else if matches!(self.mode, Mode::Up { .. }) {
            6.0
        } else {
            16.0
        };
        let count = (0.8 * self.limit).clamp(least, 40.0);
        usize::try_from(crate::num::calls(count)).unwrap_or(40)
    }

    /// Says whether a sample was taken near the level under test.
    fn belongs(&self, middle: f64) -> bool {
        match self.mode {
            Mode::Hold => middle >= 0.7 * self.level,
            Mode::Up { target } => middle >= (self.level * target).sqrt(),
            Mode::Down { target, .. } => middle <= (self.level * target).sqrt(),
        }
    }

    fn observe(&mut self, sample: &Sample, timed: bool) {
        let middle =
            f64::midpoint(f64::from(sample.in_flight), f64::from(sample.in_flight_end)).max(1.0);
        let served = sample.signal == Signal::Served;
        if timed && served {
            self.history.push(middle.ln(), sample.log_latency);
        }
        if sample.sent >= self.epoch && self.belongs(middle) {
            self.window.push(middle.ln(), sample, timed);
        }
    }

    /// Enters a mode with an empty window.
    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.window.clear();
        self.limit = match mode {
            Mode::Hold => self.level,
            // The climb is one per success; the look comes when the level is reached.
            Mode::Up { .. } => self.limit.max(self.level),
            Mode::Down { target, .. } => target,
        };
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

    /// Lets a limit that was not half used for a minute fall to twice the most that was.
    fn validate(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        self.used = self.used.max(f64::from(sample.in_flight));
        if now.since(self.used_since) < VALIDITY {
            return None;
        }
        let proved = (2.0 * self.used).max(self.initial);
        self.used = 0.0;
        self.used_since = now;
        if proved >= self.level {
            return None;
        }
        let verdict = self.verdict(VerdictKind::Decay, proved, None, "not half used");
        self.level = proved;
        self.reference = None;
        self.enter(Mode::Hold);
        Some(verdict)
    }

    /// Grows by one towards the target of a climb, or towards the remembered level.
    fn grow(&mut self, sample: &Sample, now: Timestamp) {
        if !sample.binding {
            return;
        }
        if let (true, Some(memory)) = (self.ramping, self.memory) {
            // Half of what was proved before needs no proof again; the rest is climbed by steps.
            if self.level < 0.5 * memory && self.mode == Mode::Hold {
                self.level = (self.level + 1.0).min(0.5 * memory);
                self.limit = self.level;
                self.window.clear();
            }
        }
        if let Mode::Up { target } = self.mode
            && self.limit < target
        {
            self.limit = (self.limit + 1.0).min(target);
        }
        debug_assert!(self.limit <= self.max, "below the ceiling at {now:?}");
    }

    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        match self.mode {
            Mode::Hold => self.look_hold(sample, now),
            Mode::Up { target } => self.look_up(target, now),
            Mode::Down { target, anomaly } => self.look_down(target, anomaly),
        }
    }
}

impl Limit for Adaptive {
    fn limit(&self) -> f64 {
        self.limit
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        if sample.signal == Signal::Refused {
            return self.refused(sample, now);
        }
        if sample.signal == Signal::Served {
            let waited = now.since(self.paid).as_secs_f64() / CREDIT.as_secs_f64();
            self.paid = now;
            self.budget = (self.budget + self.exploration + waited).min(BUDGET_CAP);
            if !sample.acknowledged {
                self.grow(sample, now);
            }
        }
        self.observe(sample, !sample.acknowledged);
        self.validate(sample, now)
            .or_else(|| self.decide(sample, now))
    }

    fn acknowledged(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        self.grow(sample, now);
        self.observe(sample, true);
        self.decide(sample, now)
    }

    fn restart(&mut self, memory: Option<f64>, now: Timestamp) {
        self.level = self.initial;
        self.step = 1.0;
        self.ramping = true;
        self.memory = memory.map(|level| level.min(self.max));
        self.reference = None;
        self.best = f64::INFINITY;
        self.epoch = now;
        self.holds_left = 1;
        self.holds_planned = 1;
        self.used = 0.0;
        self.used_since = now;
        self.enter(Mode::Hold);
    }

    fn release(&mut self, level: f64, now: Timestamp) {
        self.level = level.clamp(self.initial, self.max);
        self.reference = None;
        self.ramping = false;
        self.epoch = now;
        self.enter(Mode::Hold);
    }

    fn warming(&self) -> bool {
        self.ramping
    }
}

#[cfg(test)]
mod tests;
