//! The state of a lane, for operators.

use std::sync::Arc;

use kebne_control::{ControllerReport, LaneState, PoolReport};
use serde::Serialize;

use crate::{
    endings::EndingCounts,
    status::{FailureCount, LastFailure},
};

/// The state of one lane at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct LaneSnapshot {
    /// The lane's name.
    pub name: Arc<str>,
    /// The reason why the lane is closed; `None` while it is open.
    pub closed: Option<Arc<str>>,
    /// The state of the lane; the last known one if the lane is closed.
    pub state: LaneState,
    /// The last changes of state, oldest first.
    pub state_changes: Vec<String>,
    /// The controller: limit, rate, load times.
    pub controller: ControllerReport,
    /// The last verdicts, oldest first.
    pub verdicts: Vec<String>,
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
