//! The worker pool's state machine: who waits, who goes next, who is refused, and why.
//!
//! Owns the waiting calls, their deadlines and bytes, the retry budget and the token buckets. A call
//! that the backend refused goes back to the head without using an attempt: hold, do not bounce. It
//! never decides how much the backend can carry; that comes in the [`Grant`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::num::{real, seconds};
use crate::{AttemptId, Chance, Grant, LaneState, Outcome, Permission, PoolSettings, Timestamp};

mod admission;
mod bucket;
mod drain;
mod queue;
use bucket::Bucket;
use queue::Queue;

/// Names one admitted call; later calls have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CallId(pub u64);

/// A call that asks to be let in.
#[derive(Clone, Debug)]
pub struct Offer<T> {
    /// What is to be sent.
    pub payload: T,
    /// When the caller stops waiting.
    pub deadline: Timestamp,
    /// Bytes it holds while it waits.
    pub bytes: u64,
    /// Expected cost in tokens; zero when unknown.
    pub tokens: u32,
    /// Whose call it is.
    pub tenant: u64,
    /// Band; zero goes first.
    pub priority: u8,
    /// The caller would rather be refused than wait for a cold backend.
    pub refuse_when_cold: bool,
}

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The queue holds as many calls as it may.
    QueueFull,
    /// The queue holds as many bytes as it may.
    QueueBytes,
    /// The predicted wait is longer than the caller's deadline.
    WaitTooLong,
    /// The deadline passed while the call waited.
    QueueTimeout,
    /// The backend is loading and will not be ready in time.
    Cold,
    /// The backend fails; only probes are sent.
    Broken,
    /// The backend asked for a pause that outlasts the deadline.
    Backoff,
    /// The backend's quota is used up.
    Quota,
    /// This process is stopping.
    Draining,
}

/// A refusal with what the caller needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The true reason.
    pub reason: RefusalReason,
    /// When a new try is expected to be let in.
    pub retry_after: Option<Duration>,
    /// When the backend is expected to be ready, while it is not.
    pub ready_in: Option<Duration>,
}

/// One attempt to send now.
#[derive(Debug)]
pub struct Dispatch<T> {
    /// What to send.
    pub payload: T,
    /// The call.
    pub call: CallId,
    /// This attempt.
    pub attempt: AttemptId,
    /// One for the first attempt that counts.
    pub number: u32,
    /// Sent under a single-flight grant.
    pub probe: bool,
    /// Time it may take: the attempt's timeout or the time left, whichever is less.
    pub timeout: Duration,
    /// When the caller stops waiting.
    pub deadline: Timestamp,
    /// In flight, this one included.
    pub in_flight: u32,
    /// Time since the call was offered.
    pub waited: Duration,
}

/// Why a failed call is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhaustion {
    /// It has used all its attempts.
    Attempts,
    /// The lane has used its retry budget.
    Budget,
    /// Too little time is left.
    Deadline,
    /// The backend refuses, and waiting is useless.
    Refused(RefusalReason),
}

/// What follows the end of an attempt.
#[derive(Debug)]
pub enum AfterAttempt<T> {
    /// Final, as the outcome says.
    Done(T),
    /// Refused without work: back at the head of the queue.
    Held(CallId),
    /// To be tried again at `at`.
    Retry {
        /// The call.
        call: CallId,
        /// When.
        at: Timestamp,
    },
    /// Failed, and not to be tried again.
    Exhausted(T, Exhaustion),
}

/// The pool as `/state` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolReport {
    /// Calls waiting.
    pub queued: usize,
    /// Bytes of the calls waiting.
    pub queued_bytes: u64,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls waiting for their next attempt after a failure.
    pub retrying: usize,
    /// Retries in hand.
    pub retry_budget: f64,
    /// Wait predicted for a call offered now.
    pub predicted_wait: Option<Duration>,
    /// Whether new calls are refused because the process stops.
    pub closed: bool,
}

#[derive(Debug)]
struct Call<T> {
    payload: T,
    meta: Meta,
}

/// What is known of a call besides its payload.
#[derive(Clone, Copy, Debug)]
struct Meta {
    id: CallId,
    arrived: Timestamp,
    deadline: Timestamp,
    bytes: u64,
    tokens: u32,
    tenant: u64,
    priority: u8,
    attempts: u32,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    meta: Meta,
    probe: bool,
}

/// The state machine of one lane's pool.
#[derive(Debug)]
pub struct Pool<T> {
    settings: PoolSettings,
    grant: Grant,
    calls: BTreeMap<CallId, Call<T>>,
    queue: Queue,
    deadlines: BTreeSet<(Timestamp, CallId)>,
    delayed: BTreeSet<(Timestamp, CallId)>,
    running: BTreeMap<AttemptId, Running>,
    probes: u32,
    bytes: u64,
    next_id: u64,
    next_attempt: u64,
    retries: f64,
    requests: Bucket,
    tokens: Bucket,
    refused: Vec<(T, Refusal)>,
    closed: bool,
}

impl<T> Pool<T> {
    /// Starts empty.
    pub fn new(settings: &PoolSettings, grant: Grant, now: Timestamp) -> Self {
        Self {
            settings: settings.clone(),
            grant,
            calls: BTreeMap::new(),
            queue: Queue::new(settings.reserved_one_in),
            deadlines: BTreeSet::new(),
            delayed: BTreeSet::new(),
            running: BTreeMap::new(),
            probes: 0,
            bytes: 0,
            next_id: 0,
            next_attempt: 0,
            retries: settings.retry_start,
            requests: Bucket::new(grant.requests, now),
            tokens: Bucket::new(grant.tokens, now),
            refused: Vec::new(),
            closed: false,
        }
    }

    /// Takes the controller's new grant.
    pub fn set_grant(&mut self, grant: Grant, now: Timestamp) {
        self.requests.set(grant.requests, self.grant.requests, now);
        self.tokens.set(grant.tokens, self.grant.tokens, now);
        self.grant = grant;
    }

    /// Returns the grant in force.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// Takes one call out that may be sent now. Calls found at the brink on the way come out of
    /// [`Pool::expire`], so that is to be called after the last `next`.
    pub fn next(&mut self, now: Timestamp) -> Option<Dispatch<T>> {
        self.release_delayed(now);
        let probe = match self.grant.permission {
            Permission::Open if self.in_flight() >= self.grant.concurrency => return None,
            Permission::Open => false,
            Permission::SingleFlight { not_before } if now < not_before || self.probes > 0 => {
                return None;
            }
            Permission::SingleFlight { .. } => true,
            Permission::Paused { until } | Permission::Closed { until } if now < until => {
                return None;
            }
            // The pause is over, but the controller has not spoken yet: one call is safe.
            Permission::Paused { .. } | Permission::Closed { .. } if self.in_flight() > 0 => {
                return None;
            }
            Permission::Paused { .. } | Permission::Closed { .. } => false,
        };
        if !self.requests.holds(1.0, now) || !self.tokens.holds(1.0, now) {
            return None;
        }
        loop {
            let id = if probe {
                self.most_patient()?
            } else {
                self.queue.pop()?
            };
            let Some(call) = self.take(id) else { continue };
            if call.meta.deadline.since(now) < self.brink(&call.meta) {
                let refusal = self.refusal(RefusalReason::WaitTooLong, now);
                self.refused.push((call.payload, refusal));
                continue;
            }
            return Some(self.send(call, probe, now));
        }
    }

    /// Takes the waiting call with the most time left out of the queue: the oldest one would be gone
    /// before a loading backend could answer, and a lane probed by such calls never wakes.
    fn most_patient(&mut self) -> Option<CallId> {
        let mut latest = self.deadlines.iter().rev().map(|entry| entry.1);
        let id = latest.find(|id| self.queue.holds(*id))?;
        self.queue.remove(id);
        Some(id)
    }

    fn send(&mut self, call: Call<T>, probe: bool, now: Timestamp) -> Dispatch<T> {
        let mut meta = call.meta;
        meta.attempts += 1;
        let attempt = AttemptId(self.next_attempt);
        self.next_attempt += 1;
        self.probes += u32::from(probe);
        self.requests.spend(1.0, now);
        self.tokens.spend(f64::from(meta.tokens), now);
        self.running.insert(attempt, Running { meta, probe });
        Dispatch {
            payload: call.payload,
            call: meta.id,
            attempt,
            number: meta.attempts,
            probe,
            timeout: self.grant.attempt_timeout.min(meta.deadline.since(now)),
            deadline: meta.deadline,
            in_flight: self.in_flight(),
            waited: now.since(meta.arrived),
        }
    }

    /// Settles an attempt that ended while its caller still waits. `committed`: bytes went out.
    pub fn ended(
        &mut self,
        attempt: AttemptId,
        payload: T,
        outcome: Outcome,
        committed: bool,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> AfterAttempt<T> {
        let Some(running) = self.end_running(attempt) else {
            return AfterAttempt::Done(payload);
        };
        let meta = running.meta;
        match outcome {
            Outcome::Success { .. } => {
                self.retries = (self.retries + self.grant.retry_ratio).min(self.settings.retry_cap);
                AfterAttempt::Done(payload)
            }
            Outcome::Client | Outcome::Cancelled => AfterAttempt::Done(payload),
            _ if committed => AfterAttempt::Done(payload),
            Outcome::Quota { .. } => {
                AfterAttempt::Exhausted(payload, Exhaustion::Refused(RefusalReason::Quota))
            }
            Outcome::Fault | Outcome::Timeout => self.retry(meta, payload, now, chance),
            Outcome::Cold { .. } | Outcome::Rate { .. } | Outcome::Limit => {
                self.put_back(meta, payload, now)
            }
        }
    }

    /// Settles an attempt whose caller is gone.
    pub fn released(&mut self, attempt: AttemptId, _now: Timestamp) {
        self.end_running(attempt);
    }

    fn end_running(&mut self, attempt: AttemptId) -> Option<Running> {
        let running = self.running.remove(&attempt)?;
        self.probes -= u32::from(running.probe);
        Some(running)
    }

    fn put_back(&mut self, mut meta: Meta, payload: T, now: Timestamp) -> AfterAttempt<T> {
        if meta.deadline <= now {
            return AfterAttempt::Exhausted(payload, Exhaustion::Refused(self.waiting_reason()));
        }
        meta.attempts -= 1;
        self.insert(Call { payload, meta }, None);
        AfterAttempt::Held(meta.id)
    }

    /// Full jitter: `0.05 + U(0, 0.2 * 2^k)` seconds after the k-th attempt.
    fn retry(
        &mut self,
        meta: Meta,
        payload: T,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> AfterAttempt<T> {
        if meta.attempts >= self.settings.attempts_max {
            return AfterAttempt::Exhausted(payload, Exhaustion::Attempts);
        }
        let exponent = f64::from(meta.attempts.min(16));
        let at = now.after(seconds(0.05 + chance.unit() * 0.2 * exponent.exp2()));
        if at.after(self.brink(&meta)) > meta.deadline {
            return AfterAttempt::Exhausted(payload, Exhaustion::Deadline);
        }
        if self.retries < 1.0 {
            return AfterAttempt::Exhausted(payload, Exhaustion::Budget);
        }
        self.retries -= 1.0;
        self.insert(Call { payload, meta }, Some(at));
        AfterAttempt::Retry { call: meta.id, at }
    }

    /// Takes a waiting call out, because its caller is gone.
    pub fn cancel(&mut self, call: CallId, _now: Timestamp) -> Option<T> {
        self.queue_remove(call);
        self.take(call).map(|call| call.payload)
    }

    /// Returns the calls that can no longer be served, each exactly once.
    pub fn expire(&mut self, now: Timestamp) -> Vec<(T, Refusal)> {
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.queue_remove(id);
            let refusal = self.refusal(self.waiting_reason(), now);
            match self.take(id) {
                Some(call) => self.refused.push((call.payload, refusal)),
                None => break,
            }
        }
        std::mem::take(&mut self.refused)
    }

    /// Refuses new calls from now on; what was admitted is still served.
    pub fn close(&mut self, _now: Timestamp) {
        self.closed = true;
    }

    /// Returns when something is due: an expiry, a retry, a refill, the end of a pause, a probe.
    pub fn next_wakeup(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.refused.is_empty() {
            return Some(now);
        }
        let expiry = self.deadlines.first().map(|entry| entry.0);
        let retry = self.delayed.first().map(|entry| entry.0);
        let waiting = !self.queue.is_empty();
        let gate = match self.grant.permission {
            Permission::SingleFlight { .. } if self.probes > 0 => None,
            Permission::SingleFlight { not_before } => Some(not_before),
            Permission::Paused { until } | Permission::Closed { until } => Some(until),
            Permission::Open if self.in_flight() >= self.grant.concurrency => None,
            Permission::Open => Some(
                self.requests
                    .ready(1.0, now)
                    .max(self.tokens.ready(1.0, now)),
            ),
        };
        let gate = gate.filter(|_| waiting).map(|at| at.max(now));
        expiry.into_iter().chain(retry).chain(gate).min()
    }

    /// Returns the attempts in flight.
    pub fn in_flight(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }

    /// Returns the calls waiting, those between attempts included.
    pub fn queued(&self) -> usize {
        self.calls.len()
    }

    /// Returns the pool as an operator sees it.
    pub fn report(&self, now: Timestamp) -> PoolReport {
        PoolReport {
            queued: self.calls.len(),
            queued_bytes: self.bytes,
            in_flight: self.in_flight(),
            retrying: self.delayed.len(),
            retry_budget: self.retries,
            predicted_wait: self.predicted_wait(now),
            closed: self.closed,
        }
    }
}

#[cfg(test)]
mod tests;
