//! A lane as an operator sees it.

use std::sync::Arc;

use kebne_control::{ControllerReport, LaneState, PoolReport};
use serde::Serialize;

use crate::{
    endings::EndingCounts,
    status::{FailureCount, LastFailure},
};

/// One lane, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct LaneSnapshot {
    /// The lane's name.
    pub name: Arc<str>,
    /// The reason why the lane is closed, while it is: its actors are gone and calls are refused.
    pub closed: Option<Arc<str>>,
    /// The state of its backend; the last one that was known if the lane is closed.
    pub state: LaneState,
    /// The last changes of state, oldest first.
    pub state_changes: Vec<String>,
    /// Limit, rate, load times.
    pub controller: ControllerReport,
    /// The last decisions of the limit, oldest first.
    pub verdicts: Vec<String>,
    /// Queue, in flight, retry budget.
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
    /// How many calls came and how they ended.
    pub endings: EndingCounts,
    /// How many wake calls the lane made of its own, and how they ended.
    pub prewarms: EndingCounts,
}
