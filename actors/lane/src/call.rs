//! One call through a lane: what the caller may say, how it can end, and why it was refused.

use std::time::Duration;

use kebne_control::{Kind, Outcome, Refusal};
use serde::Serialize;

use crate::backend::Failure;

/// What a caller says of a call besides the request itself.
#[derive(Clone, Debug)]
pub struct CallOptions {
    /// Time from now after which the caller no longer wants the answer.
    pub deadline: Duration,
    /// Bytes this call holds while it waits; charged to the queue's byte budget.
    pub bytes: u64,
    /// Highest cost in tokens (prompt plus the bound of the output); zero when unknown.
    pub tokens: u32,
    /// The part of `tokens` that only bounds the output: the lane learns what outputs really take, reserves that, and
    /// settles when the answer has ended. Zero when `tokens` is the true cost.
    pub output_tokens_max: u32,
    /// Who calls, for fairness; calls of one tenant share its turn.
    pub tenant: u64,
    /// Zero is served first; higher bands wait.
    pub priority: u8,
    /// The tenant's share against others' of its band, by tokens; 1 for all is equal shares.
    pub weight: f64,
    /// Time to the first part of the answer, or `None` for answers that come whole.
    pub first_part_timeout: Option<Duration>,
    /// The caller would rather be refused than wait for a cold backend.
    pub refuse_when_cold: bool,
    /// The call changes nothing at the backend, so that a late attempt may be doubled where the lane hedges
    /// (`hedge_ratio`).
    pub hedge: bool,
    /// What the time of the call can be compared with: calls that differ by nature (in what is asked for, in the sizes
    /// of what goes and comes) are of different kinds, or the lane takes a change of the mix for a change of the backend.
    pub kind: Kind,
}

impl CallOptions {
    /// Makes the options of a call of unknown size, by nobody in particular, that is given up after `deadline`.
    pub const fn within(deadline: Duration) -> Self {
        Self {
            deadline,
            bytes: 0,
            tokens: 0,
            output_tokens_max: 0,
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
        }
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
    /// The lane is gone: its actor gave up and was not restarted.
    #[error("the lane has stopped")]
    Stopped,
}

impl CallError {
    /// Returns the ending that this error is counted as.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Refused { .. } => Ending::Shed,
            Self::Failed { failure, .. } if failure.outcome == Outcome::Client => Ending::Rejected,
            Self::Failed { .. } | Self::Stopped => Ending::Error,
            Self::Timeout { .. } => Ending::Timeout,
            Self::Panicked { .. } => Ending::Panic,
            Self::Drained => Ending::Drained,
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
