//! The counters of one run: each offered call is counted under exactly one ending, each attempt by its outcome.

use std::collections::BTreeMap;

use kebne_control::{Outcome, Timestamp, Verdict};
use serde::Serialize;

use crate::sim::arrivals::Call;
use crate::sim::number::{real, whole};
use crate::sim::scenario::{Scenario, Value};

/// The length in seconds of the windows in which work is counted for the reaction time.
pub(crate) const WINDOW: f64 = 5.0;

/// The ending of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// Answered in time.
    Served,
    /// Refused before it was admitted.
    Refused,
    /// Admitted, and given up while waiting.
    Expired,
    /// Admitted, attempted and failed.
    Failed,
    /// Its caller left before it ended.
    Left,
}

/// Limit and capacity at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) time: f64,
    pub(crate) limit: f64,
    /// Requests per second that are allowed, if a rate is known.
    pub(crate) rate: Option<f64>,
    pub(crate) in_flight: u32,
    pub(crate) capacity: usize,
    pub(crate) queued: usize,
}

/// A line of the timeline.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    Verdict(Verdict),
    State(&'static str, &'static str),
    Refusal(&'static str),
}

/// The counters of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    value: Value,
    /// The time that callers give a call, in seconds.
    deadline: f64,
    pub(crate) ends: BTreeMap<usize, End>,
    pub(crate) twice: u32,
    pub(crate) latencies: Vec<f64>,
    pub(crate) attempts: BTreeMap<&'static str, u64>,
    pub(crate) work: f64,
    pub(crate) windows: Vec<f64>,
    pub(crate) tenants: Vec<f64>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) notes: Vec<(Timestamp, usize, Note)>,
    pub(crate) keeps_notes: bool,
    pub(crate) episodes: u32,
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Calls that were neither served nor refused before their deadline.
    pub(crate) lost: u64,
    /// Refusals, those of calls that waited included, and how many of them came after half of the deadline.
    pub(crate) refusals: u64,
    pub(crate) late: u64,
    /// Refused calls for which there was room before it was too late for them.
    pub(crate) regretted: u64,
    /// Until when room would have served a refused call.
    pending: Vec<f64>,
    pub(crate) left_over: usize,
    /// The number of refusals that the scenario injected at random.
    pub(crate) unlucky: u64,
    /// The number of dispatches that the grant did not allow, and of times at which calls waited though they could be sent
    /// and nothing was in flight. Each is a bug of the pool.
    pub(crate) violations: u32,
}

impl Ledger {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let length = scenario.duration + 2.0 * scenario.deadline;
        Self {
            value: scenario.value,
            deadline: scenario.deadline,
            ends: BTreeMap::new(),
            twice: 0,
            latencies: Vec::new(),
            attempts: BTreeMap::new(),
            work: 0.0,
            windows: vec![0.0; whole(length / WINDOW) + 1],
            tenants: vec![0.0; scenario.tenants.len()],
            moments: Vec::new(),
            notes: Vec::new(),
            keeps_notes: false,
            episodes: 0,
            reasons: BTreeMap::new(),
            lost: 0,
            refusals: 0,
            late: 0,
            regretted: 0,
            pending: Vec::new(),
            left_over: 0,
            unlucky: 0,
            violations: 0,
        }
    }

    /// Records the ending of a call. A second ending of the same call is counted as a bug.
    pub(crate) fn close(&mut self, id: usize, call: &Call, end: End, now: Timestamp) {
        if self.ends.insert(id, end).is_some() {
            self.twice += 1;
        }
        let time = now.as_secs_f64();
        if end != End::Served {
            self.unserved(call, end, time);
            return;
        }
        self.latencies.push(time - call.at);
        let value = match self.value {
            Value::Work => call.work,
            Value::Calls => 1.0,
            Value::Tokens => f64::from(call.cost),
            Value::Soon => (1.0 - (time - call.at) / self.deadline).max(0.0),
        };
        self.work += value;
        if let Some(window) = self.windows.get_mut(whole(time / WINDOW)) {
            *window += value;
        }
        if let Some(tenant) = self.tenants.get_mut(call.tenant) {
            *tenant += value;
        }
    }

    fn unserved(&mut self, call: &Call, end: End, time: f64) {
        let waited = time - call.at;
        let refused = matches!(end, End::Refused | End::Expired) && waited < self.deadline;
        if refused {
            self.refusals += 1;
            self.late += u64::from(waited > 0.5 * self.deadline);
            self.pending.retain(|until| *until > time);
            self.pending.push(call.at + self.deadline - call.work);
        } else if end != End::Left {
            self.lost += 1;
        }
    }

    /// Notes that a slot is free and nobody waits for it.
    pub(crate) fn has_room(&mut self, now: Timestamp) {
        let time = now.as_secs_f64();
        let regretted = self.pending.drain(..).filter(|until| *until > time).count();
        self.regretted += u64::try_from(regretted).unwrap_or(u64::MAX);
    }

    /// Counts the outcome of an attempt.
    pub(crate) fn attempt(&mut self, outcome: &Outcome) {
        *self.attempts.entry(outcome.label()).or_default() += 1;
    }

    /// Counts the reason why a call was not served.
    pub(crate) fn reason(&mut self, what: &str, reason: &impl std::fmt::Debug) {
        *self
            .reasons
            .entry(format!("{what} {reason:?}"))
            .or_default() += 1;
    }

    pub(crate) fn note(&mut self, now: Timestamp, gateway: usize, note: Note) {
        if self.keeps_notes {
            self.notes.push((now, gateway, note));
        }
    }

    pub(crate) fn ended(&self, end: End) -> f64 {
        real(self.ends.values().filter(|e| **e == end).count())
    }
}
