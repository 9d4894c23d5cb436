//! Rejecting backends: the edge is known to one call, and asking costs one refusal, which costs nobody anything.
//!
//! A refusal comes back at once, so a call at the limit that is still out after `1.5 r + 20 ms` (`r`: the smoothed time
//! that a refusal takes) was let in. While callers wait and the edge holds, it is asked for each usual latency (0.2 to
//! 1 s), in the middle between two calls: `L + s` calls; let in: go on at once with `s` doubled; refused: back to what was
//! served, `s = 1`. Refusals are charged to a budget that earns `exploration` per success.
//!
//! A refusal at a level that was held is unexpected: `L = served`, and each further one before a call at the limit is
//! let in cuts by 0.8, 0.6, 0.5: one refusal may be chance, four are a capacity that went away.
//!
//! A refusal with nothing else in flight, where several at once were served before, is no limit on concurrency: the
//! backend is *shut* for us, by a penalty or an empty quota. The level is kept; calls are sent one at a time, in the
//! growing intervals of the pool's hold, until one is let in, and then the level is restored.

use std::time::Duration;

use super::{Adaptive, Mode, Sample, Summary, Why};
use crate::num::seconds;
use crate::verdict::VerdictKind;
use crate::{Timestamp, Verdict};

/// A backend that refused within this time is a rejecting one.
const REJECTING: Duration = Duration::from_mins(5);
/// Most refusals saved up in the budget; as many may be owed.
pub(super) const BUDGET_CAP: f64 = 10.0;
/// Refusals per second that the budget earns besides, so that a slow lane is not blind.
const EARN_PER_SECOND: f64 = 0.1;
/// Shortest and longest time between two probes, in seconds; in between it is one usual latency.
const GAP: (f64, f64) = (0.2, 1.0);
/// Slowdown at the edge, against what a call takes when little is in flight, that is looked into: `ln 1.8`.
const SLOW: f64 = 0.6;
/// Shortest and longest time between two such looks.
const TEST: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));
/// A run that grows this much above its start is a new climb, to be proved by latency too.
const CLIMB: f64 = 1.5;
/// How long it is remembered how many were served at once: up to two spells.
const SPELL: Duration = Duration::from_secs(10);
/// Calls at once that were served before a refusal of one call alone is a shut backend.
const SHUT_FROM: f64 = 3.0;
/// Waits between the calls that ask a shut backend, in seconds; the last one goes on.
const ASK: [f64; 4] = [0.15, 0.3, 0.6, 1.0];
/// So many falls of the level within this time are no limit on concurrency, but an empty quota that fills.
const FALLS: usize = 4;
const FALLS_WITHIN: Duration = Duration::from_secs(15);

/// What is known of a backend's refusals.
#[derive(Debug)]
pub(super) struct Edge {
    last_refusal: Option<Timestamp>,
    /// Smoothed time that a refusal takes, in seconds.
    refusal_time: f64,
    /// When a call was first sent at the limit since it last moved.
    pressed: Option<Timestamp>,
    /// When a call was last sent, or ended, which makes room for the next one.
    last_sent: Timestamp,
    /// Unexpected refusals in a row, and the level and the time of the first of them.
    unexpected: u32,
    fell_from: f64,
    fell_at: Timestamp,
    /// Nothing is let in, whatever is in flight: when to ask again, and how often that was refused.
    shut: Option<(Timestamp, usize)>,
    /// Highest level since the last fall to half of one, and when the last such falls were, the oldest first.
    top: f64,
    falls: [Timestamp; FALLS],
    /// Smoothed latency of what is served, in seconds.
    usual: Option<f64>,
    /// Most calls in flight with one that was served, in this spell and in the last one.
    served_most: (f64, f64),
    spell_ends: Timestamp,
    pub(super) budget: f64,
    paid: Timestamp,
    next_probe: Timestamp,
    stride: f64,
    /// Where the run of probes under way began.
    run_from: f64,
    /// The edge has not been compared with a level below it.
    untested: bool,
    test_wait: Duration,
    test_after: Timestamp,
    /// Less is served at the edge than below it: refusals are not the limit to look for.
    pub(super) disabled: bool,
    /// A penalty that has ended, to be told once: its beginning and end.
    pub(super) penalty: Option<(Timestamp, Timestamp)>,
}

impl Edge {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
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

    /// Forgets that a call was sent at the limit, because the limit moved.
    pub(super) fn moved(&mut self) {
        self.pressed = None;
    }

    pub(super) fn rejecting(&self, now: Timestamp) -> bool {
        self.last_refusal
            .is_some_and(|at| now.since(at) < REJECTING)
    }

    /// Learns from what was served.
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

    /// Notes where a refusal put the level. To half of what was let in, again and again, falls no limit on concurrency.
    fn count_fall(&mut self, level: f64, now: Timestamp) {
        self.top = self.top.max(level);
        if 2.0 * level > self.top {
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

    /// Returns the most calls in flight with one that was served lately.
    pub(super) fn served_most(&self) -> f64 {
        self.served_most.0.max(self.served_most.1)
    }

    /// Puts the next probe off.
    pub(super) fn wait_for(&mut self, wait: Duration, now: Timestamp) {
        self.next_probe = self.next_probe.max(now.after(wait));
    }

    /// Returns when a shut backend is asked again.
    pub(super) fn asks_at(&self) -> Option<Timestamp> {
        self.shut.map(|shut| shut.0)
    }

    /// Returns `true` if an experiment that may be refused can be paid.
    pub(super) fn affords(&self, now: Timestamp) -> bool {
        self.budget >= 0.0 || !self.rejecting(now)
    }

    /// Returns when a call at the limit has been out for longer than a refusal takes.
    fn let_in_at(&self) -> Option<Timestamp> {
        let answered = seconds((1.5 * self.refusal_time + 0.02).min(5.0));
        self.pressed.map(|at| at.after(answered))
    }

    /// Returns `true` if a call at the limit was let in.
    fn let_in(&self, now: Timestamp) -> bool {
        self.let_in_at().is_some_and(|at| now >= at)
    }

    /// Returns when one call more may be asked for: in the middle between two calls as they are sent at this level, so
    /// that a quota of calls per second is not taken for a limit on the calls in flight.
    fn probe_at(&self, level: f64) -> Option<Timestamp> {
        let apart = seconds(self.usual.unwrap_or(0.0) / (2.0 * level));
        let may = !self.untested && self.budget >= 0.0;
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

    /// Moves on when a call at the limit was let in.
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
                if self.level > CLIMB * from + 2.0 && self.level > CLIMB * self.proved_most {
                    let verdict = self.verdict_from(VerdictKind::Up, from, "let in, climb");
                    self.start_ramp();
                    return Some(verdict);
                }
                self.edge.stride *= 2.0;
                self.set_limit((self.level + self.edge.stride).min(self.max));
                None
            }
            Mode::Ramp if self.edge.rejecting(now) => {
                self.climb();
                None
            }
            _ => None,
        }
    }

    /// Returns when the next step at the edge is due, if nothing else happens before.
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

    /// Restores the level after the backend was shut.
    fn opened(&mut self, now: Timestamp) -> Verdict {
        let from = self.level;
        self.edge.shut = None;
        self.edge.unexpected = 0;
        self.level = self.edge.fell_from.clamp(1.0, self.max);
        self.edge.penalty = Some((self.edge.fell_at, now));
        self.enter(Mode::Edge);
        self.verdict_from(VerdictKind::Up, from, "open again, level restored")
    }

    pub(super) fn refused(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
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
        // A stride of more than one may have been let in in part.
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
            // The windows at the edge go on.
            self.mode = Mode::Edge;
            self.set_limit(self.level);
            // Those that were let in are still there.
            self.edge.pressed = Some(now);
        } else {
            self.enter(Mode::Edge);
        }
        // The edge is where it was: that is asked for each second, and no news.
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
        if in_flight <= 1 && self.edge.fell_from >= SHUT_FROM {
            let asked = self.edge.shut.map_or(0, |shut| shut.1 + 1);
            let wait = ASK.get(asked).or(ASK.last()).copied().unwrap_or(1.0);
            self.edge.shut = Some((now.after(seconds(wait)), asked));
            return (1.0, "shut");
        }
        let ratio = match self.edge.unexpected {
            0 | 1 => 1.0,
            2 => 0.8,
            3 => 0.6,
            _ => 0.5,
        };
        let why = if held { "refused" } else { "refused below" };
        ((ratio * self.level.min(served)).floor(), why)
    }

    /// Compares the windows at the edge: with what was measured below it, and with each other.
    pub(super) fn look_edge(&mut self, now: Timestamp) -> Option<Verdict> {
        let least = if self.edge.untested {
            // No probe before this look: it is short.
            self.look_of(6.0)
        } else {
            self.look()
        };
        if self.window.len() < least && self.window.attempts() < 2 * least {
            return None;
        }
        let seen = self.window.summary()?;
        self.window.clear();
        if self.edge.untested {
            self.edge.untested = false;
            self.reference = Some(seen);
            self.test_edge(&seen, now);
            return None;
        }
        let Some(base) = self.reference else {
            self.reference = Some(seen);
            return None;
        };
        let (gap, gap_error) = seen.loss_above(&base);
        if gap > 0.25 + 3.0 * gap_error {
            self.hold();
            return self.changed(&base, &seen);
        }
        if base.y - seen.y > 0.35 + 3.0 * base.error.hypot(seen.error) {
            // The standing queue is gone: there may be room.
            self.reference = Some(seen);
            self.edge.next_probe = now;
            return None;
        }
        self.reference = Some(base.joined(seen));
        self.test_edge(&seen, now);
        None
    }

    /// Tries a level below the edge where calls are slow at the edge; more and more rarely.
    fn test_edge(&mut self, seen: &Summary, now: Timestamp) {
        if self.slower_than_best(seen.y) <= SLOW + 2.0 * seen.error || now < self.edge.test_after {
            return;
        }
        if self.start_down(0.7, Why::Edge) {
            self.edge.test_wait = (2 * self.edge.test_wait).clamp(TEST.0, TEST.1);
            self.edge.test_after = now.after(self.edge.test_wait);
        }
    }
}
