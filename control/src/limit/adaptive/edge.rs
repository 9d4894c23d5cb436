//! Rejecting backends: the edge is known exactly, and a probe of it costs one refusal, which delays no caller.
//!
//! A refusal returns at once, so a call at the limit that is still running after `1.5 r + 20 ms` (`r`: the smoothed
//! time of a refusal) was accepted. While callers wait and the edge holds, one probe is sent per usual latency (0.2 to
//! 1 s), in the middle between two calls, at `L + s` calls. If it is accepted, the next one follows at once with `s`
//! doubled; if it is refused, the limit returns to what was served, and `s = 1`. Refusals are charged to a budget that
//! earns `exploration` per success.
//!
//! A refusal at a level that was held is unexpected: `L = served`. Each further one before a call at the limit is
//! accepted reduces the level by the factors 0.8, 0.6, 0.5, because one refusal may be random, but four show a loss of
//! capacity.
//!
//! A refusal with nothing else in flight, where several calls at once were served before, is not a limit on
//! concurrency: the backend is *shut* for this lane, because of a penalty or an empty quota. The level is kept. Calls
//! are sent one at a time, in the increasing intervals of the pool's hold, until one is accepted; then the level is
//! restored.

use std::time::Duration;

use super::{Adaptive, Mode, Sample, Summary, Why};
use crate::num::seconds;
use crate::verdict::VerdictKind;
use crate::{Part, Timestamp, Verdict, Without};

mod fall;

/// The time after a refusal for which a backend counts as rejecting.
const REJECTING: Duration = Duration::from_mins(5);
/// The largest number of refusals saved in the budget, and the largest debt.
pub(super) const BUDGET_CAP: f64 = 10.0;
/// Refusals per second that the budget also earns, so that a slow lane can probe.
const EARN_PER_SECOND: f64 = 0.1;
/// Shortest and longest time between two probes, in seconds; in between, it is one usual latency.
const GAP: (f64, f64) = (0.2, 1.0);
/// Slowdown at the edge, relative to a call with few in flight, that starts a test: `ln 1.8`.
const SLOW: f64 = 0.6;
/// Shortest and longest time between two such tests.
const TEST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));
/// A series of probes that grows by this factor above its start is a new ramp, which must also be proved by latency.
const CLIMB: f64 = 1.5;
/// The length of a period for which the number of calls served at once is remembered; up to two periods.
const SPELL: Duration = Duration::from_secs(10);
/// The number of calls served at once above which the refusal of a single call means a shut backend.
const SHUT_FROM: f64 = 3.0;
/// Waits between the calls that probe a shut backend, in seconds; the last one is repeated.
const ASK: [f64; 4] = [0.15, 0.3, 0.6, 1.0];
/// The number of falls of the level within this time that indicates an empty quota instead of a limit on concurrency.
const FALLS: usize = 4;
const FALLS_WITHIN: Duration = Duration::from_secs(15);

/// The state of a backend's refusals.
#[derive(Debug)]
pub(super) struct Edge {
    without: Without,
    last_refusal: Option<Timestamp>,
    /// Smoothed time of a refusal, in seconds.
    refusal_time: f64,
    /// The time at which a call was first sent at the limit since the limit last changed.
    pressed: Option<Timestamp>,
    /// The time at which a call was last sent or ended, which makes room for the next one.
    last_sent: Timestamp,
    /// Unexpected refusals in a row, and the level and the time of the first of them.
    unexpected: u32,
    fell_from: f64,
    fell_at: Timestamp,
    /// Nothing is accepted at any level: the time of the next probe, and the number of refused probes.
    shut: Option<(Timestamp, usize)>,
    /// The highest level since the last fall to half of it, and the times of the last such falls, oldest first.
    top: f64,
    falls: [Timestamp; FALLS],
    /// Smoothed latency of served calls, in seconds.
    usual: Option<f64>,
    /// The largest number of calls in flight with a served one, in this period and in the last one.
    served_most: (f64, f64),
    spell_ends: Timestamp,
    pub(super) budget: f64,
    paid: Timestamp,
    next_probe: Timestamp,
    stride: f64,
    /// The level at which the current series of probes began.
    run_from: f64,
    /// `true` if the edge has not been compared with a level below it.
    untested: bool,
    test_wait: Duration,
    test_after: Timestamp,
    /// `true` if less is served at the edge than below it, so that refusals do not mark the best level.
    pub(super) disabled: bool,
    /// The beginning and end of a penalty that is over; returned once.
    pub(super) penalty: Option<(Timestamp, Timestamp)>,
}

impl Edge {
    pub(super) fn new(without: Without, now: Timestamp) -> Self {
        Self {
            without,
            last_refusal: None,
            refusal_time: 0.1,
            pressed: None,
            last_sent: now,
            unexpected: 0,
            fell_from: 1.0,
            fell_at: now,
            shut: None,
            top: 1.0,
            falls: [Timestamp::ZERO; FALLS],
            usual: None,
            served_most: (0.0, 0.0),
            spell_ends: now,
            budget: BUDGET_CAP,
            paid: now,
            next_probe: now,
            stride: 1.0,
            run_from: 1.0,
            untested: false,
            test_wait: Duration::ZERO,
            test_after: now,
            disabled: false,
            penalty: None,
        }
    }

    /// Discards the time at which a call was sent at the limit, because the limit changed.
    pub(super) fn moved(&mut self) {
        self.pressed = None;
    }

    pub(super) fn rejecting(&self, now: Timestamp) -> bool {
        self.last_refusal
            .is_some_and(|at| now.since(at) < REJECTING)
    }

    /// Handles a served call.
    pub(super) fn earn(&mut self, exploration: f64, sample: &Sample, now: Timestamp) {
        self.last_sent = now;
        let latency = sample.latency.as_secs_f64();
        let usual = self.usual.get_or_insert(latency);
        *usual += 0.1 * (latency - *usual);
        if now >= self.spell_ends {
            let last = if now.since(self.spell_ends) < SPELL {
                self.served_most.0
            } else {
                0.0
            };
            self.served_most = (0.0, last);
            self.spell_ends = now.after(SPELL);
        }
        self.served_most.0 = self.served_most.0.max(f64::from(sample.in_flight));
        let waited = now.since(self.paid).as_secs_f64().min(10.0) * EARN_PER_SECOND;
        self.paid = now;
        self.budget = (self.budget + exploration + waited).min(BUDGET_CAP);
    }

    /// Returns the smoothed latency of what is served.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.usual.map(seconds)
    }

    /// Notes the level after a refusal. Repeated falls to half of the accepted level do not come from a limit on
    /// concurrency.
    fn count_fall(&mut self, level: f64, now: Timestamp) {
        self.top = self.top.max(level);
        if !self.without.keeps(Part::Falls) || 2.0 * level > self.top {
            return;
        }
        self.top = level;
        self.falls.rotate_left(1);
        if let Some(last) = self.falls.last_mut() {
            *last = now;
        }
        let first = self.falls.first().copied();
        if first.is_some_and(|first| first > Timestamp::ZERO && now.since(first) < FALLS_WITHIN) {
            self.penalty = Some((now, now));
        }
    }

    /// Returns the largest number of calls in flight with one that was served recently.
    pub(super) fn served_most(&self) -> f64 {
        self.served_most.0.max(self.served_most.1)
    }

    /// Delays the next probe.
    pub(super) fn wait_for(&mut self, wait: Duration, now: Timestamp) {
        self.next_probe = self.next_probe.max(now.after(wait));
    }

    /// Returns the time at which a shut backend is probed again.
    pub(super) fn asks_at(&self) -> Option<Timestamp> {
        self.shut.map(|shut| shut.0)
    }

    /// Returns `true` if the budget can pay for an experiment that may be refused.
    pub(super) fn affords(&self, now: Timestamp) -> bool {
        self.budget >= 0.0 || !self.rejecting(now)
    }

    /// Returns the time at which a call at the limit has been running for longer than a refusal takes.
    fn let_in_at(&self) -> Option<Timestamp> {
        let answered = seconds((1.5 * self.refusal_time + 0.02).min(5.0));
        self.pressed.map(|at| at.after(answered))
    }

    /// Returns `true` if a call at the limit was accepted.
    fn let_in(&self, now: Timestamp) -> bool {
        self.let_in_at().is_some_and(|at| now >= at)
    }

    /// Returns the time at which one more call may be sent: in the middle between two calls as they are sent at this
    /// level, so that a quota of calls per second is not taken for a limit on the calls in flight.
    fn probe_at(&self, level: f64) -> Option<Timestamp> {
        let middle = if self.without.keeps(Part::Middle) {
            2.0
        } else {
            1e9
        };
        let apart = seconds(self.usual.unwrap_or(0.0) / (middle * level));
        let may = (!self.untested || !self.without.keeps(Part::Untested))
            && (self.budget >= 0.0 || !self.without.keeps(Part::Budget));
        may.then(|| self.next_probe.max(self.last_sent.after(apart)))
    }
}

impl Adaptive {
    /// Notes a call that was sent.
    pub(super) fn press(&mut self, in_flight: u32, now: Timestamp) {
        self.edge.last_sent = now;
        if f64::from(in_flight) >= self.limit {
            self.edge.pressed.get_or_insert(now);
        }
    }

    /// Continues after a call at the limit was accepted.
    pub(super) fn let_in(&mut self, binding: bool, now: Timestamp) -> Option<Verdict> {
        if !self.edge.let_in(now) {
            return None;
        }
        if self.edge.shut.is_some() {
            return Some(self.opened(now));
        }
        if !binding {
            return None;
        }
        match self.mode {
            Mode::Edge => {
                self.edge.unexpected = 0;
                let due = self.edge.probe_at(self.level)?;
                if now < due || self.level >= self.max {
                    return None;
                }
                self.edge.run_from = self.level;
                self.edge.stride = 1.0;
                self.mode = Mode::Probe;
                self.set_limit(self.level + 1.0);
                None
            }
            Mode::Probe => {
                self.level = self.limit;
                self.edge.top = self.edge.top.max(self.level);
                let from = self.edge.run_from;
                if self.without.keeps(Part::Climb)
                    && self.level > CLIMB * from + 2.0
                    && self.level > CLIMB * self.proved_most
                {
                    let verdict = self.verdict_from(VerdictKind::Up, from, "let in, climb");
                    self.start_ramp();
                    return Some(verdict);
                }
                self.edge.stride *= if self.without.keeps(Part::Stride) {
                    2.0
                } else {
                    1.0
                };
                self.set_limit((self.level + self.edge.stride).min(self.max));
                None
            }
            Mode::Ramp if self.without.keeps(Part::RampLetIn) && self.edge.rejecting(now) => {
                self.climb();
                None
            }
            _ => None,
        }
    }

    /// Returns the time of the next step at the edge, if no other event comes first.
    pub(super) fn edge_due(&self) -> Option<Timestamp> {
        let let_in = self.edge.let_in_at()?;
        match self.mode {
            _ if self.edge.shut.is_some() => Some(let_in),
            Mode::Edge if self.level < self.max => {
                self.edge.probe_at(self.level).map(|due| let_in.max(due))
            }
            Mode::Probe => Some(let_in),
            _ => None,
        }
    }

    /// Compares the windows at the edge with the measurement below it, and with each other.
    pub(super) fn look_edge(&mut self, now: Timestamp) {
        let least = if self.edge.untested {
            // No probe is sent before this assessment, which takes a short time.
            self.look_of(6.0)
        } else {
            self.look()
        };
        if self.window.len() < least {
            return;
        }
        let Some(seen) = self.window.summary() else {
            return;
        };
        self.window.clear();
        let base = self.reference.filter(|_| !self.edge.untested);
        let is_first = base.is_none() && !self.edge.untested;
        self.edge.untested = false;
        self.reference = Some(base.map_or(seen, |base| base.joined(seen)));
        if !is_first {
            self.test_edge(&seen, now);
        }
    }

    /// Tests a level below the edge if calls are slow at the edge, with increasing intervals.
    fn test_edge(&mut self, seen: &Summary, now: Timestamp) {
        if !self.without.keeps(Part::EdgeTest)
            || self.slower_than_best(seen.y) <= SLOW + 2.0 * seen.error
            || now < self.edge.test_after
        {
            return;
        }
        if self.start_down(0.7, Why::Edge) {
            self.edge.test_wait = (if self.without.keeps(Part::TestWait) {
                2
            } else {
                1
            } * self.edge.test_wait)
                .clamp(TEST.0, TEST.1);
            self.edge.test_after = now.after(self.edge.test_wait);
        }
    }
}
