//! The messages of the pool and its answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{AttemptId, Kind, Timestamp};

/// The number of an admitted call; later calls have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CallId(pub u64);

/// A call that is offered to the pool.
#[derive(Clone, Debug)]
pub struct OfferedCall<T> {
    /// The data to send.
    pub payload: T,
    /// The time at which the caller stops waiting.
    pub deadline: Timestamp,
    /// Bytes that it occupies while it waits.
    pub bytes: u64,
    /// The highest cost in tokens, of prompt and output; zero if unknown.
    pub tokens: u32,
    /// The part of `tokens` that is only an upper bound of the output; the usual length of outputs is learned. Zero if
    /// `tokens` is the true cost.
    pub output_tokens_max: u32,
    /// The tenant of the call.
    pub tenant: u64,
    /// The priority; 0 is served first.
    pub priority: u8,
    /// The tenant's share relative to others of the same priority; 1 for all means equal shares. Values below 0.001
    /// count as 0.001.
    pub weight: f64,
    /// `true` if the call is refused instead of waiting for a cold backend.
    pub refuse_when_cold: bool,
    /// `true` if it may be sent a second time while the first attempt runs, because it changes nothing at the backend.
    pub hedge: bool,
    /// The kind of call with which its time can be compared.
    pub kind: Kind,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The queue contains as many calls as it may.
    QueueFull,
    /// The queue contains as many bytes as it may.
    QueueBytes,
    /// The predicted wait is longer than the caller's deadline.
    WaitTooLong,
    /// The deadline passed while the call waited.
    QueueTimeout,
    /// The backend is loading and will not be ready in time.
    Cold,
    /// The backend fails, and only probes are sent.
    Broken,
    /// The backend requested a pause that ends after the deadline.
    Backoff,
    /// The backend's quota is used up.
    Quota,
    /// This process is stopping.
    Draining,
}

/// A refusal, with the information for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The reason.
    pub reason: RefusalReason,
    /// The time after which a new call is expected to be admitted.
    pub retry_after: Option<Duration>,
    /// The time until the backend is expected to be ready; `None` if it is ready or the time is unknown.
    pub ready_in: Option<Duration>,
}

/// One attempt to send now.
#[derive(Debug)]
pub struct Dispatch<T> {
    /// The data to send.
    pub payload: T,
    /// The call.
    pub call: CallId,
    /// This attempt.
    pub attempt: AttemptId,
    /// The number of the attempt: 1 for the first one that counts.
    pub number: u32,
    /// `true` if it is sent under a single-flight grant.
    pub probe: bool,
    /// Time that it may take: the attempt timeout or the time left, whichever is less.
    pub timeout: Duration,
    /// The time at which the caller stops waiting.
    pub deadline: Timestamp,
    /// Attempts in flight, including this one.
    pub in_flight: u32,
    /// Time since the call was offered.
    pub waited: Duration,
    /// Cost in tokens that is reserved for it.
    pub tokens: u32,
    /// The kind of call with which its time can be compared.
    pub kind: Kind,
}

/// A second attempt of a call whose first one is late.
#[derive(Debug)]
pub struct Hedge {
    /// The attempt that it doubles. The first of the two that answers counts, and the other one must be cancelled.
    pub doubles: AttemptId,
    /// The attempt to send, with the payload of the doubled one.
    pub dispatch: Dispatch<()>,
}

impl<T> Dispatch<T> {
    /// Returns the same attempt with a different payload.
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

/// The reason why a failed call is not retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exhaustion {
    /// It has used all its attempts.
    Attempts,
    /// The lane has used its retry budget.
    Budget,
    /// Too little time is left.
    Deadline,
    /// The backend refuses calls, and waiting is useless.
    Refused(RefusalReason),
}

/// What happens to a call after an attempt.
#[derive(Debug)]
pub enum AfterAttempt<T> {
    /// It is final, with the outcome of the attempt.
    Done(T),
    /// It was refused without work, and is at the head of the queue again, at once or after a hold.
    Held(CallId),
    /// It is retried at `at`.
    Retry {
        /// The call.
        call: CallId,
        /// The time of the retry.
        at: Timestamp,
    },
    /// It failed and is not retried.
    Exhausted(T, Exhaustion),
    /// Nothing: the call's other attempt decides or has decided.
    Doubled,
}

/// The queued calls of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PriorityReport {
    /// The priority; 0 is served first.
    pub priority: u8,
    /// Its calls.
    pub queued: usize,
    /// The number of tenants to which they belong.
    pub tenants: usize,
}

/// The pool's part of `/state`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolReport {
    /// Calls waiting.
    pub queued: usize,
    /// Those that may be sent now, by priority; the others wait for a certain time.
    pub priorities: Vec<PriorityReport>,
    /// Bytes of the calls waiting.
    pub queued_bytes: u64,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls waiting for their next attempt after a failure.
    pub retrying: usize,
    /// Calls held after a refusal; each keeps a slot.
    pub held: usize,
    /// Available retries.
    pub retry_budget: f64,
    /// Time after which an attempt is late enough for a hedge; `None` if hedging is off or too little is known.
    pub hedge_after: Option<Duration>,
    /// Hedges sent.
    pub hedges_sent: u64,
    /// Hedges that answered before the attempt they doubled.
    pub hedges_won: u64,
    /// Wait predicted for a call offered now.
    pub predicted_wait: Option<Duration>,
    /// `true` if new calls are refused because the lane is drained.
    pub closed: bool,
}
