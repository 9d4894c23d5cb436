//! What the pool is asked and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AttemptId, Kind, Timestamp};

/// Names one admitted call; later calls have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CallId(pub u64);

/// A call that asks to be let in.
#[derive(Clone, Debug)]
pub struct OfferedCall<T> {
    /// What is to be sent.
    pub payload: T,
    /// When the caller stops waiting.
    pub deadline: Timestamp,
    /// Bytes it holds while it waits.
    pub bytes: u64,
    /// Highest cost in tokens, prompt and output; zero when unknown.
    pub tokens: u32,
    /// The part of `tokens` that only bounds the output; what outputs really take is learned. Zero when `tokens` is
    /// the true cost.
    pub output_tokens_max: u32,
    /// The tenant of the call.
    pub tenant: u64,
    /// The priority; 0 is served first.
    pub priority: u8,
    /// The tenant's share relative to others of the same priority; 1 for all means equal shares. Values below 0.001
    /// count as 0.001.
    pub weight: f64,
    /// The caller would rather be refused than wait for a cold backend.
    pub refuse_when_cold: bool,
    /// May be sent a second time while the first attempt runs: it changes nothing at the backend.
    pub hedge: bool,
    /// What its time can be compared with.
    pub kind: Kind,
}

/// The reason of a refusal.
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
    /// The reason.
    pub reason: RefusalReason,
    /// The time after which a new call is expected to be admitted.
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
    /// Cost in tokens that is reserved for it.
    pub tokens: u32,
    /// What its time can be compared with.
    pub kind: Kind,
}

/// A second attempt of a call whose first one is late.
#[derive(Debug)]
pub struct Hedge {
    /// The attempt that it doubles. The first of the two that answers counts, and the other is to be cancelled.
    pub doubles: AttemptId,
    /// What to send: the payload of that attempt once more.
    pub dispatch: Dispatch<()>,
}

impl<T> Dispatch<T> {
    /// Returns the same attempt with another payload.
    pub fn with<U>(self, payload: U) -> Dispatch<U> {
        Dispatch {
            payload,
            call: self.call,
            attempt: self.attempt,
            number: self.number,
            probe: self.probe,
            timeout: self.timeout,
            deadline: self.deadline,
            in_flight: self.in_flight,
            waited: self.waited,
            tokens: self.tokens,
            kind: self.kind,
        }
    }
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
    /// Refused without work: back at the head of the queue, at once or after a hold.
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
    /// Nothing: the call's other attempt decides, or has decided.
    Doubled,
}

/// The queued calls of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PriorityReport {
    /// The priority; 0 is served first.
    pub priority: u8,
    /// Its calls.
    pub queued: usize,
    /// Tenants that they belong to.
    pub tenants: usize,
}

/// The pool as `/state` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolReport {
    /// Calls waiting.
    pub queued: usize,
    /// Those that may be sent now, by priority; the others wait for a point in time.
    pub priorities: Vec<PriorityReport>,
    /// Bytes of the calls waiting.
    pub queued_bytes: u64,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls waiting for their next attempt after a failure.
    pub retrying: usize,
    /// Calls held after a refusal; each keeps a slot.
    pub held: usize,
    /// Retries in hand.
    pub retry_budget: f64,
    /// Time after which an attempt is late enough to be hedged; none while hedging is off or not enough is known.
    pub hedge_after: Option<Duration>,
    /// Hedges sent.
    pub hedges_sent: u64,
    /// Hedges that answered before the attempt they doubled.
    pub hedges_won: u64,
    /// Wait predicted for a call offered now.
    pub predicted_wait: Option<Duration>,
    /// Whether new calls are refused because the process stops.
    pub closed: bool,
}
