//! Backends that refuse aloud: the edge is known to one call, and asking costs exactly one refusal.
//!
//! A refusal comes back at once, so a call at the limit that is still out after `1.5 r + 20 ms` (`r`: the
//! smoothed time that a refusal takes) was let in. The limit moves by one and waits for that before it
//! moves again: `probe: L + 1; let in: keep and go on; refused: back`. One refusal is charged to the budget,
//! which earns `exploration` per success, and one per minute but at most `exploration` per success besides; the
//! wait between probes triples from 0.5 s to 8 s while they fail.
//!
//! A refusal at a level that was held is a surprise: `L = served`, and each further one before a call at
//! the limit is let in cuts by 0.8, 0.6, 0.5: one refusal may be chance, four are a capacity that went away.

use std::time::Duration;

use super::absence::Absence;
use super::{Adaptive, Mode, Sample, Why};
use crate::num::seconds;
use crate::verdict::VerdictKind;
use crate::{Timestamp, Verdict};

/// A backend that refused within this time refuses aloud.
const LOUD: Duration = Duration::from_mins(5);
/// Time in which a backend that serves is lent one refusal.
const CREDIT: f64 = 60.0;
/// Most refusals saved up in the budget; as many may be owed.
pub(super) const BUDGET_CAP: f64 = 3.0;
/// Shortest and longest wait between probes, in seconds; the shortest is one usual latency if that is more.
const GAP: (f64, f64) = (0.5, 8.0);
/// Growth of that wait while probes fail.
const GROWTH: f64 = 3.0;
/// Probes after a surprise that need no budget: what went away often comes back.
const FREE: u32 = 3;
/// Slowdown at the edge, against what a call takes when little is in flight, that is looked into: `ln 1.8`.
const SLOW: f64 = 0.6;
/// A run that grows this much above its start is a new climb, to be proved by latency too.
const CLIMB: f64 = 1.5;

/// What is known of a backend's refusals.
#[derive(Debug)]
pub(super) struct Edge {
    last_refusal: Option<Timestamp>,
    /// Smoothed time that a refusal takes, in seconds.
    refusal_time: f64,
    /// When a call was first sent at the limit since it last moved.
    pressed: Option<Timestamp>,
    /// Refusals in a row at levels that were held.
    surprises: u32,
    /// Refusals in a row with one call in flight.
    starved: u32,
    /// Smoothed latency of what is served, in seconds.
    usual: f64,
    pub(super) budget: f64,
    paid: Timestamp,
    gap: f64,
    next_probe: Timestamp,
    free: u32,
    /// The probe under way is charged to the budget.
    pays: bool,
    /// Where the run of probes under way began.
    run_from: f64,
    /// The edge has not been compared with a level below it.
    untested: bool,
    /// When a capacity that went away came back before.
    absence: Absence,
    /// Less is served at the edge than below it: refusals are not the limit to look for.
    pub(super) shy: bool,
}

impl Edge {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last_refusal: None,
            refusal_time: 0.1,
            pressed: None,
            surprises: 0,
            starved: 0,
            usual: 0.0,
            budget: 0.0,
            paid: now,
            gap: GAP.0,
            next_probe: now,
            free: 0,
            pays: false,
            run_from: 1.0,
            untested: false,
            absence: Absence::new(now),
            shy: false,
        }
    }

    /// Returns the pace of a backend that refuses even one call at a time: `10 / 2^(k - 2)` per second after
    /// `k >= 3` refusals, at least one in three seconds.
    pub(super) fn pace(&self) -> Option<f64> {
        let doublings = self.starved.checked_sub(2).filter(|k| *k > 0)?;
        Some((10.0 / f64::from(doublings.min(5)).exp2()).max(0.3))
    }

    /// Forgets that a call was sent at the limit, because the limit moved.
    pub(super) fn moved(&mut self) {
        self.pressed = None;
    }

    pub(super) fn loud(&self, now: Timestamp) -> bool {
        self.last_refusal.is_some_and(|at| now.since(at) < LOUD)
    }

    /// Learns from what was served.
    pub(super) fn earn(&mut self, exploration: f64, latency: Duration, now: Timestamp) {
        self.starved = 0;
        self.usual += 0.1 * (latency.as_secs_f64() - self.usual);
        // A slow backend does not live on credit: at most as much is lent as is earned.
        let waited = (now.since(self.paid).as_secs_f64() / CREDIT).min(exploration);
        self.paid = now;
        self.budget = (self.budget + exploration + waited).min(BUDGET_CAP);
    }

    /// Returns the smoothed latency of what is served.
    pub(super) fn usual(&self) -> Duration {
        seconds(self.usual)
    }

    fn shortest_gap(&self) -> f64 {
        self.usual.clamp(GAP.0, GAP.1)
    }

    fn charge(&mut self) {
        self.budget = (self.budget - 1.0).max(-BUDGET_CAP);
    }

    /// Says whether an experiment that may be refused can be paid.
    pub(super) fn affords(&self, now: Timestamp) -> bool {
        self.budget >= 0.0 || !self.loud(now)
    }

    /// Says whether a call at the limit has been out for longer than a refusal takes.
    fn let_in(&self, now: Timestamp) -> bool {
        let patience = seconds((1.5 * self.refusal_time + 0.02).min(5.0));
        self.pressed.is_some_and(|at| now.since(at) > patience)
    }

    fn may_probe(&self, now: Timestamp) -> bool {
        let paid = now >= self.next_probe && (self.budget >= 0.0 || self.free > 0);
        !self.untested && (paid || self.absence.is_due(now))
    }
}

impl Adaptive {
    /// Notes a call that was sent.
    pub(super) fn press(&mut self, in_flight: u32, now: Timestamp) {
        if f64::from(in_flight) >= self.limit {
            self.edge.pressed.get_or_insert(now);
        }
    }

    /// Moves on when a call at the limit was let in.
    pub(super) fn let_in(&mut self, binding: bool, now: Timestamp) -> Option<Verdict> {
        if !binding || !self.edge.let_in(now) {
            return None;
        }
        match self.mode {
            Mode::Edge => {
                self.edge.surprises = 0;
                if !self.edge.may_probe(now) || self.level >= self.max {
                    return None;
                }
                self.edge.pays = self.edge.free == 0 && now >= self.edge.next_probe;
                self.edge.free = self.edge.free.saturating_sub(1);
                self.edge.run_from = self.level;
                self.mode = Mode::Probe;
                self.set_limit(self.level + 1.0);
                None
            }
            Mode::Probe => {
                self.level = self.limit;
                self.edge.gap = self.edge.shortest_gap();
                let from = self.edge.run_from;
                if self.level > CLIMB * from + 2.0 {
                    self.edge.absence.rises(now);
                    let verdict = self.verdict_from(VerdictKind::Up, from, "let in, climb");
                    self.start_ramp();
                    return Some(verdict);
                }
                // The longer the run, the longer the strides: a run of n calls costs at most n / 8 refusals.
                let stride = ((self.level - from) / 8.0).floor().max(1.0);
                self.set_limit((self.level + stride).min(self.max));
                None
            }
            Mode::Ramp if self.edge.loud(now) => {
                self.climb();
                None
            }
            _ => None,
        }
    }

    pub(super) fn refused(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let took = sample.latency.as_secs_f64();
        self.edge.refusal_time += 0.2 * (took - self.edge.refusal_time);
        let pays = match self.mode {
            Mode::Edge | Mode::Hold | Mode::Down { .. } => false,
            Mode::Probe => self.edge.pays,
            Mode::Up { .. } | Mode::Ramp => !self.warming,
        };
        if pays {
            self.edge.charge();
        }
        if sample.sent < self.epoch {
            return None;
        }
        self.edge.last_refusal = Some(now);
        self.edge.starved += u32::from(sample.in_flight <= 1);
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
        let same = matches!(self.mode, Mode::Probe) && found;
        if held {
            self.edge.absence.falls(self.level, now);
        } else if self.mode == Mode::Probe {
            self.edge.absence.asked(now);
        }
        let (next, why) = if found {
            self.edge_found(served)
        } else {
            self.surprised(served, held)
        };
        self.level = next.clamp(1.0, self.max);
        self.warming = false;
        self.edge.next_probe = now.after(seconds(self.edge.gap));
        if self.edge.shy {
            self.reference = None;
            self.hold();
        } else if same {
            // The windows at the edge go on.
            self.mode = Mode::Edge;
            self.set_limit(self.level);
        } else {
            self.enter(Mode::Edge);
        }
        Some(Verdict {
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
            self.edge.free = 1;
            self.edge.gap = self.edge.shortest_gap();
            self.reference = None;
            return (served, "edge found");
        }
        self.edge.gap = (GROWTH * self.edge.gap).min(GAP.1);
        self.step = 0.25;
        (self.level.max(served.min(self.limit)), "edge found")
    }

    fn surprised(&mut self, served: f64, held: bool) -> (f64, &'static str) {
        self.edge.surprises += 1;
        self.edge.free = if self.edge.surprises > 1 { FREE } else { 1 };
        self.edge.gap = self.edge.shortest_gap();
        self.edge.shy = false;
        self.reference = None;
        let ratio = match self.edge.surprises {
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
            if self.slower_than_best(seen.y) > SLOW + 2.0 * seen.error {
                self.start_down(0.7, Why::Edge);
            }
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
            self.edge.free = self.edge.free.max(1);
            self.edge.next_probe = now;
            return None;
        }
        self.reference = Some(base.joined(seen));
        None
    }
}
