//! What operators see of a server.

use std::sync::Arc;

use serde::Serialize;

use crate::schedule::Phase;

/// What operators see of a server. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// The name.
    pub name: Arc<str>,
    /// `process`, or `hooks` for a server that another system runs.
    pub kind: &'static str,
    /// The phase.
    pub state: Phase,
    /// The time since the phase began.
    pub state_ms: u64,
    /// The id of the process, while it runs.
    pub pid: Option<u32>,
    /// The port of the process.
    pub port: Option<u16>,
    /// The device on which it takes room.
    pub device: Arc<str>,
    /// The memory that it takes, in bytes.
    pub memory: u64,
    /// The slots that it takes.
    pub slots: u32,
    /// The calls that it serves now.
    pub in_flight: u32,
    /// The calls that it has served or serves.
    pub calls: u64,
    /// The time for which calls have been waiting for it.
    pub waiting_ms: Option<u64>,
    /// The time after which it is expected to serve.
    pub ready_in_ms: Option<u64>,
    /// The loads that succeeded.
    pub loads: u64,
    /// The seconds of all these loads.
    pub load_seconds: f64,
    /// The stops that made room for another server.
    pub swaps: u64,
    /// The starts that failed, and the ends without a request.
    pub failures: u64,
    /// The failures since it last served for a minute.
    pub failures_in_row: u32,
    /// `true` if its last start failed, or its last sleep hook.
    pub is_failing: bool,
    /// `true` if its last sleep hook failed and it was not woken since, so that it may be awake without calls.
    pub is_awake: bool,
    /// The median of its load times.
    pub load_p50_ms: Option<u64>,
    /// The 90th percentile of its load times.
    pub load_p90_ms: Option<u64>,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// The last lines that it wrote.
    pub lines: Vec<String>,
}
