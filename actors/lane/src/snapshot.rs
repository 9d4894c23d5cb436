//! The state of a lane, for operators.

use std::{sync::Arc, time::Duration};

use kebne_control::{ControllerReport, LaneState, Permission, PoolReport, Timestamp, Verdict};
use serde::{Serialize, Serializer};

use crate::{
    endings::EndingCounts,
    status::{FailureCount, LastFailure},
};

/// The state of one lane at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct LaneSnapshot {
    /// The lane's name.
    pub name: Arc<str>,
    /// `true` if the lane's actors did not answer. Then `controller`, `pool`, `state_changes`, `verdicts` and the numbers of
    /// workers are those of their last answer; all others are current.
    pub stale: bool,
    /// Milliseconds since the actors answered.
    pub age_ms: u64,
    /// Whether the lane admits calls.
    pub service: Service,
    /// The reason why the lane is closed; `None` while it is open.
    pub closed: Option<Arc<str>>,
    /// The state of the lane; the last known one if the lane is closed.
    pub state: LaneState,
    /// The last changes of state, oldest first.
    pub state_changes: Vec<String>,
    /// The controller: limit, rate, load times.
    pub controller: ControllerReport,
    /// The last verdicts, oldest first.
    pub verdicts: Vec<PastVerdict>,
    /// Milliseconds until the backend is expected to serve; `None` if it serves, the time is unknown or the lane is closed.
    pub ready_in_ms: Option<u64>,
    /// Milliseconds until the next attempt may be sent, while single attempts or none are sent; `None` otherwise.
    pub next_attempt_in_ms: Option<u64>,
    /// The pool: queue, attempts in flight, retry budget.
    pub pool: PoolReport,
    /// Workers alive.
    pub workers: usize,
    /// Workers that wait for an attempt.
    pub workers_idle: usize,
    /// Workers restarted after a failure.
    pub worker_restarts: u32,
    /// Calls that the lane holds, waiting or running.
    pub live: usize,
    /// The last attempt that failed.
    pub last_failure: Option<LastFailure>,
    /// Failed attempts by class and reason.
    pub failures: Vec<FailureCount>,
    /// The calls and their endings.
    pub endings: EndingCounts,
    /// The wake calls that the lane made itself, and their endings.
    pub prewarms: EndingCounts,
}

/// The questions for a lane's reports that its actors have not handled: each one holds a clone of the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question(Arc<()>);

impl Question {
    /// Returns how many clones of the first are left.
    pub(crate) fn waiting(&self) -> usize {
        Arc::strong_count(&self.0).saturating_sub(1)
    }
}

/// Whether a lane admits calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// It does.
    #[default]
    Open,
    /// New calls are refused; some that were admitted are left.
    Draining,
    /// New calls are refused, and none is left.
    Drained,
    /// Calls are refused, and its actors are stopped.
    Closed,
}

impl Service {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Open, Self::Draining, Self::Drained, Self::Closed];

    /// Returns the label used in metrics and answers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Closed => "closed",
        }
    }
}

/// A verdict and its age. It is serialized as the verdict's text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PastVerdict {
    /// Its number among the verdicts of the lane, from 1.
    pub number: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Time between the verdict and the snapshot.
    pub age: Duration,
}

impl Serialize for PastVerdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.verdict)
    }
}

/// Returns the time of the next attempt while not every call may be sent; `None` if it is not known.
pub(crate) fn next_attempt(permission: Permission) -> Option<Timestamp> {
    match permission {
        Permission::Open
        | Permission::Closed {
            until: Timestamp::MAX,
        } => None,
        Permission::SingleFlight { not_before } => Some(not_before),
        Permission::Paused { until } | Permission::Closed { until } => Some(until),
    }
}

/// Returns the milliseconds from `now` to a time; 0 if it has passed.
pub(crate) fn until(time: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(time.since(now).as_millis()).unwrap_or(u64::MAX)
}
