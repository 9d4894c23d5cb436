//! A call through a lane: options, endings and errors.

use std::time::Duration;

use kebne_control::{Kind, Outcome, Refusal};
use serde::Serialize;

use crate::{backend::Failure, trail::Trail};

/// The options of a call.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the options are independent of each other"
)]
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// The time from now after which the caller no longer needs the answer.
    pub deadline: Duration,
    /// `true` if a streamed answer must end by the deadline too. If it is `false`, the deadline bounds the time to the
    /// first part only, and the stream lasts as long as its backend and its caller keep it.
    pub bounds_stream: bool,
    /// Bytes that the call holds while it waits; counted against the queue's limit of bytes.
    pub bytes: u64,
    /// The highest cost, in the unit of the backend's quota (tokens, rows, bytes); zero if unknown.
    pub cost: u32,
    /// The part of `cost` that is only an upper bound. The lane learns how much of it calls use, reserves that, and
    /// corrects the reservation when the answer has ended. Zero if `cost` is exact.
    pub cost_uncertain: u32,
    /// The tenant; the queue is fair between tenants.
    pub tenant: u64,
    /// The priority: 0 is served first.
    pub priority: u8,
    /// The share of the tenant relative to others of the same priority, by cost; 1 for all means equal shares. Values
    /// below 0.001 count as 0.001.
    pub weight: f64,
    /// The timeout to the first part of a streamed answer; `None` for whole answers.
    pub first_part_timeout: Option<Duration>,
    /// `true` to refuse the call instead of holding it while the backend is cold.
    pub refuse_when_cold: bool,
    /// `true` if a late attempt may be hedged (`hedge_ratio`), so that two attempts run at once.
    pub hedge: bool,
    /// The kind of the call. Only times of calls of the same kind are compared. Give different kinds to calls that
    /// differ in operation or size; otherwise the lane mistakes a change of the mix for a change of the backend.
    pub kind: Kind,
    /// The attempts that the lane repeats. Only the caller knows whether a repetition is safe.
    pub repeats: Repeats,
    /// `true` if an attempt may run inside the future of the call, which saves a task. For callers that poll the future
    /// whenever it is woken: between two polls the attempt stands still, and its time counts as the backend's. `false` by
    /// default.
    pub in_place: bool,
    /// Records how long the call waited and how its attempts went; `None` by default.
    pub trail: Option<Trail>,
}

/// The attempts of a call that the lane repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repeats {
    /// Only attempts that the backend refused. For calls that are made elsewhere after a failure.
    Refused,
    /// Attempts after which the backend has done nothing: it refused, or the failure is [`Failure::safe_to_repeat`].
    /// The default; correct for every call.
    #[default]
    Undone,
    /// Also failures and timeouts, after which the backend may have done its work. For idempotent calls, which can be
    /// repeated without further effects.
    Failures,
    /// Also panics. A request that made one attempt panic is likely to do so again.
    FailuresAndPanics,
}

/// What a caller takes back ([`crate::LaneHandle::call_or_withdraw`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// A call that waits. One that an attempt is made for stays.
    Waiting,
    /// Also a call that an attempt is made for, unless its answer has begun. The attempt is cancelled.
    Running,
}

impl CallOptions {
    /// Returns the options of a call with the given deadline, unknown cost and tenant 0 that is not idempotent.
    pub const fn within(deadline: Duration) -> Self {
        Self {
            deadline,
            bounds_stream: true,
            bytes: 0,
            cost: 0,
            cost_uncertain: 0,
            tenant: 0,
            priority: 0,
            weight: 1.0,
            first_part_timeout: None,
            refuse_when_cold: false,
            hedge: false,
            kind: Kind {
                class: 0,
                input: 0,
                output: 0,
            },
            repeats: Repeats::Undone,
            in_place: false,
            trail: None,
        }
    }

    /// Marks the call as idempotent: failed attempts are repeated. See [`Repeats::Failures`].
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.repeats = Repeats::Failures;
        self
    }

    /// Lets an attempt run inside the future of the call. See [`CallOptions::in_place`].
    #[must_use]
    pub fn in_place(mut self) -> Self {
        self.in_place = true;
        self
    }
}

/// The ending of a call. Every call that reached a lane has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Answered in full.
    Success,
    /// Failed after admission: the backend failed and no retry was left, or a stream broke.
    Error,
    /// Admitted but not answered in time.
    Timeout,
    /// Refused: not sent to the backend, or refused by it until the deadline.
    Shed,
    /// The caller left.
    Cancelled,
    /// Lost to a panic, with no retry left.
    Panic,
    /// Cut off because the process stopped.
    Drained,
    /// Rejected by the backend because of an error of the caller.
    Rejected,
    /// Taken back by its caller while it waited ([`crate::LaneHandle::call_or_withdraw`]), to be made elsewhere.
    Withdrawn,
}

impl Ending {
    /// Every ending, in the order of the discriminants.
    pub const ALL: [Self; 9] = [
        Self::Success,
        Self::Error,
        Self::Timeout,
        Self::Shed,
        Self::Cancelled,
        Self::Panic,
        Self::Drained,
        Self::Rejected,
        Self::Withdrawn,
    ];

    /// Returns the label used in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Shed => "shed",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
            Self::Drained => "drained",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
        }
    }
}

pub use kebne_control::RefusalReason;

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Refused before or instead of an attempt; the backend did no work for it.
    #[error("refused: {reason:?}")]
    Refused {
        /// The reason.
        reason: RefusalReason,
        /// The time after which a new call is expected to be admitted; not rounded or limited.
        retry_after: Option<Duration>,
        /// The time until the backend is expected to be ready, if it is loading.
        ready_in: Option<Duration>,
    },
    /// The backend failed and no retry was left.
    #[error("failed after {attempts} attempts: {failure}")]
    Failed {
        /// The last failure.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
    /// The backend did not answer in time.
    #[error("timed out after {attempts} attempts: {what}")]
    Timeout {
        /// The timeout that ran out: `connect`, `first_token`, `idle` or `total`.
        what: &'static str,
        /// Attempts made.
        attempts: u32,
    },
    /// An attempt panicked and no retry was left.
    #[error("lost to a panic after {attempts} attempts")]
    Panicked {
        /// Attempts made.
        attempts: u32,
    },
    /// Cut off because the lane stops.
    #[error("cut off because the lane stops")]
    Drained,
    /// The lane is closed: the restarts of its actors are used up, or an operator closed it. See
    /// [`crate::LaneHandle::reopen`].
    #[error("the lane is closed")]
    Closed {
        /// Attempts made before the lane was closed.
        attempts: u32,
    },
    /// The lane's actors were stopped.
    #[error("the lane has stopped")]
    Stopped,
    /// Taken back by its caller while it waited; the backend has done nothing for it.
    #[error("withdrawn while it waited")]
    Withdrawn,
}

impl CallError {
    /// Returns the ending that this error is counted as.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Refused { .. } | Self::Closed { attempts: 0 } => Ending::Shed,
            Self::Failed { failure, .. } => of_failure(failure),
            Self::Closed { .. } | Self::Stopped => Ending::Error,
            Self::Timeout { .. } => Ending::Timeout,
            Self::Panicked { .. } => Ending::Panic,
            Self::Drained => Ending::Drained,
            Self::Withdrawn => Ending::Withdrawn,
        }
    }

    /// Returns `true` if the backend has done nothing for the call. It is then safe to make the call again even if it
    /// is not idempotent.
    pub fn is_safe_to_repeat(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Closed { attempts: 0 } | Self::Withdrawn => true,
            Self::Failed { failure, attempts } => *attempts <= 1 && failure.safe_to_repeat,
            _ => false,
        }
    }
}

/// Returns the ending of a call that ends with this failure.
fn of_failure(failure: &Failure) -> Ending {
    match failure.outcome {
        _ if failure.is_shed => Ending::Shed,
        Outcome::Client => Ending::Rejected,
        Outcome::Timeout => Ending::Timeout,
        _ => Ending::Error,
    }
}

impl From<Refusal> for CallError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            reason: refusal.reason,
            retry_after: refusal.retry_after,
            ready_in: refusal.ready_in,
        }
    }
}
