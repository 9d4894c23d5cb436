//! One call through a lane: what the caller may say, how it can end, and why it was refused.

use std::time::Duration;

use kebne_control::{Kind, Outcome, Refusal};
use serde::Serialize;

use crate::backend::Failure;

/// What a caller asks of a call besides the request itself.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Time from now after which the caller no longer wants the answer.
    pub deadline: Duration,
    /// Bytes this call holds while it waits; charged to the queue's byte budget.
    pub bytes: u64,
    /// Highest cost, in the unit in which the backend counts its quota (tokens, rows, bytes); zero if unknown.
    pub cost: u32,
    /// The part of `cost` that is only an upper bound: the lane learns what calls really take of it, reserves that, and
    /// settles when the answer has ended. Zero if `cost` is the true cost.
    pub cost_uncertain: u32,
    /// The tenant, for fairness: calls of one tenant share its turn.
    pub tenant: u64,
    /// The band: zero is served first; higher bands wait.
    pub priority: u8,
    /// The tenant's share against others of its band, by cost; 1 for all means equal shares.
    pub weight: f64,
    /// Time to the first part of the answer, or `None` for answers that come whole.
    pub first_part_timeout: Option<Duration>,
    /// Refuse the call instead of holding it while the backend is cold.
    pub refuse_when_cold: bool,
    /// A late attempt may be doubled where the lane hedges (`hedge_ratio`): two attempts may run at once.
    pub hedge: bool,
    /// What the time of the call can be compared with: calls that differ by nature (in what is asked for, in the sizes
    /// of what goes and comes) are of different kinds, or the lane takes a change of the mix for a change of the backend.
    pub kind: Kind,
    /// The attempts that the lane repeats: whether a repeat is safe, only the caller knows.
    pub repeats: Repeats,
}

/// The attempts of a call that the lane repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repeats {
    /// Those after which the backend has done nothing: it refused, or the failure is [`Failure::safe_to_repeat`]. The
    /// default, which is right for every call.
    #[default]
    Undone,
    /// Failures and timeouts too, although the backend may have done its work. For idempotent calls, which have the same
    /// effect however often they are made.
    Failures,
    /// Panics too. The request that made one attempt panic is likely to do so again.
    FailuresAndPanics,
}

impl CallOptions {
    /// Returns the options of a call of unknown cost, of tenant 0, that is given up after `deadline` and that is not known
    /// to be idempotent.
    pub const fn within(deadline: Duration) -> Self {
        Self {
            deadline,
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
        }
    }

    /// Marks the call as idempotent, so that failed attempts are repeated. See [`Repeats::Failures`].
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.repeats = Repeats::Failures;
        self
    }
}

/// The one way in which a call ended. Every call that reached a lane ends in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Answered in full.
    Success,
    /// Failed after it was admitted: the backend failed and no retry was left, or a stream broke.
    Error,
    /// Admitted, and not answered in time.
    Timeout,
    /// Refused: never given to the backend, or refused by it until the deadline.
    Shed,
    /// The caller went away.
    Cancelled,
    /// Lost to a panic with no retry left.
    Panic,
    /// Cut off because the process stopped.
    Drained,
    /// The caller's own fault, said by the backend.
    Rejected,
}

impl Ending {
    /// Every ending, in the order of the discriminants.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Error,
        Self::Timeout,
        Self::Shed,
        Self::Cancelled,
        Self::Panic,
        Self::Drained,
        Self::Rejected,
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
        }
    }
}

pub use kebne_control::RefusalReason;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Refused before or instead of an attempt; the backend did no work for it.
    #[error("refused: {reason:?}")]
    Refused {
        /// The true reason.
        reason: RefusalReason,
        /// When a new try is expected to be let in (unclamped; the wire rule is the service's).
        retry_after: Option<Duration>,
        /// When the backend is expected to be ready, while it loads.
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
        /// Which clock ran out: `connect`, `first_token`, `idle` or `total`.
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
    /// Cut off because the lane was told to stop.
    #[error("cut off because the lane stops")]
    Drained,
    /// The lane is closed: the restarts of its actors are used up, or an operator closed it. See
    /// [`crate::LaneHandle::reopen`].
    #[error("the lane is closed")]
    Closed {
        /// Attempts made before the lane was closed.
        attempts: u32,
    },
    /// The lane is gone: its actors were stopped.
    #[error("the lane has stopped")]
    Stopped,
}

impl CallError {
    /// Returns the ending that this error is counted as.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Refused { .. } | Self::Closed { attempts: 0 } => Ending::Shed,
            Self::Failed { failure, .. } if failure.outcome == Outcome::Client => Ending::Rejected,
            Self::Failed { .. } | Self::Closed { .. } | Self::Stopped => Ending::Error,
            Self::Timeout { .. } => Ending::Timeout,
            Self::Panicked { .. } => Ending::Panic,
            Self::Drained => Ending::Drained,
        }
    }

    /// Returns `true` if the backend did nothing for the call, so that making it again is safe even if the call is not
    /// idempotent.
    pub fn is_safe_to_repeat(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Closed { attempts: 0 } => true,
            Self::Failed { failure, attempts } => *attempts <= 1 && failure.safe_to_repeat,
            _ => false,
        }
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
