//! The numbers that the rules see: plain values, taken by the program about once a second.

use std::{sync::Arc, time::Duration};

/// The numbers of a service at one moment. Counters count from the start and never fall.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The time since the program started, on a clock that never goes back.
    pub at: Duration,
    /// The time of day, in seconds since 1970, for people and for habits of the day.
    pub unix_seconds: u64,
    /// The lanes, in any order.
    pub lanes: Vec<LaneSample>,
    /// The models whose calls the lanes make, in any order; empty if calls have no models.
    pub models: Vec<ModelSample>,
    /// The living actors.
    pub actors: Vec<ActorSample>,
    /// The keys whose calls run.
    pub keys: Vec<KeySample>,
    /// The reason why the store does not answer; `None` while it does.
    pub store_outage: Option<String>,
    /// The budgets.
    pub budgets: Vec<BudgetSample>,
    /// The currency of costs.
    pub currency: Arc<str>,
    /// The reason why the store of keys and budgets does not work; `None` while it does.
    pub account_outage: Option<String>,
    /// The stores of prompts, collections and kept answers that do not work.
    pub stores: Vec<StoreOutage>,
    /// The end of the time of the service's certificate, in seconds since 1970; `None` if it has none.
    pub certificate_expires_at: Option<u64>,
    /// Lines of the log that were dropped.
    pub log_lines_dropped: u64,
    /// The servers that this process starts and stops.
    pub servers: Vec<ServerSample>,
    /// Calls that were admitted and failed, by model, lane and reason.
    pub failed: Vec<FailedCalls>,
}

/// A store that does not work.
#[derive(Clone, Debug, Default)]
pub struct StoreOutage {
    /// What it holds.
    pub name: Arc<str>,
    /// Why it does not work.
    pub reason: String,
}

/// Calls of one model that were admitted by one lane and failed there for one reason.
#[derive(Clone, Debug, Default)]
pub struct FailedCalls {
    /// The model.
    pub model: Arc<str>,
    /// The lane.
    pub lane: Arc<str>,
    /// The reason code.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

/// A server that this process starts and stops.
#[derive(Clone, Debug, Default)]
pub struct ServerSample {
    /// The name.
    pub name: Arc<str>,
    /// `true` if its last start failed, or its last sleep hook.
    pub is_failing: bool,
    /// `true` if it serves now.
    pub serves: bool,
    /// `true` if it was its sleep hook.
    pub is_awake: bool,
    /// The failures in a row.
    pub failures: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
}

/// What a lane does, as far as the rules distinguish it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nobody calls.
    #[default]
    Idle,
    /// One call finds out whether the backend serves.
    Probing,
    /// The backend loads.
    Cold,
    /// Calls are served.
    Serving,
    /// The breaker is open.
    Broken,
    /// The backend asked for a pause.
    Paused,
    /// The quota of the backend is used up.
    OutOfQuota,
    /// The lane's actors did not answer.
    Silent,
}

/// A time of the last calls of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// As if all calls were of one kind: calls of different kinds take different times under the same load.
    pub comparable: Duration,
    /// As it was.
    pub last: Duration,
}

/// The numbers of one lane.
#[derive(Clone, Debug, Default)]
pub struct LaneSample {
    /// The lane's name.
    pub name: Arc<str>,
    /// What the lane does.
    pub phase: Phase,
    /// The reason why the lane is closed; `None` while it is open.
    pub closed: Option<Arc<str>>,
    /// Calls that reached the lane.
    pub calls: u64,
    /// Calls that were answered.
    pub succeeded: u64,
    /// Calls that were admitted and failed: errors, timeouts, panics.
    pub failed: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// The refused calls by reason code.
    pub refusals: Vec<(&'static str, u64)>,
    /// Calls that the lane holds now, waiting or running.
    pub held: u64,
    /// Attempts that the backend refused because the gateway's settings are wrong, such as its key.
    pub misconfigured: u64,
    /// `true` if the last attempt that failed found no server at all.
    pub unreachable: bool,
    /// Why the health checks of the backend cannot reach its server; `None` if they do, or if there are none.
    pub check_failure: Option<Arc<str>>,
    /// The last failed attempt in words, without secrets.
    pub last_failure: Option<Arc<str>>,
    /// The time since the last failed attempt.
    pub last_failure_age: Option<Duration>,
    /// The time from sending a streamed call to the first part of its answer; `None` before it is known.
    pub first_token: Option<Times>,
    /// The time from sending a call to the end of its answer; `None` before it is known.
    pub whole: Option<Times>,
    /// The time until the backend is asked again, while it is not sent all calls.
    pub next_attempt_in: Option<Duration>,
    /// The 95th percentile of the load times seen so far.
    pub load_time_p95: Option<Duration>,
    /// The last time to come back that a refused caller was given since the sample before.
    pub promised: Option<Duration>,
    /// Calls that succeeded and whose tokens the backend reported.
    pub metered: u64,
    /// The tokens of those calls.
    pub tokens: u64,
    /// Calls whose cost is known.
    pub priced: u64,
    /// The cost of those calls, in billionths of the currency.
    pub cost_nano: u64,
    /// The models that the lane serves.
    pub models: usize,
    /// `true` if each model of the lane has another lane that serves.
    pub has_alternative: bool,
}

/// The numbers of one model: its calls as their callers saw them, whichever lane made them.
#[derive(Clone, Debug, Default)]
pub struct ModelSample {
    /// The model's name.
    pub name: Arc<str>,
    /// The lane that alone serves the model and serves no other one. Its alerts are those of the model, which has none.
    pub only_lane: Option<Arc<str>>,
    /// Calls that were answered.
    pub succeeded: u64,
    /// Calls that were admitted and failed: errors, timeouts, panics.
    pub failed: u64,
}

/// The numbers of one key.
#[derive(Clone, Debug, Default)]
pub struct KeySample {
    /// The name of the key, never the key.
    pub name: Arc<str>,
    /// Its calls that wait or run.
    pub running: u64,
}

/// One budget.
#[derive(Clone, Debug, Default)]
pub struct BudgetSample {
    /// The name of the account.
    pub account: Arc<str>,
    /// `day` or `month`.
    pub period: &'static str,
    /// The part that is used or reserved, in thousandths.
    pub used_permille: u64,
}

/// The numbers of one actor.
#[derive(Clone, Debug, Default)]
pub struct ActorSample {
    /// The actor's path.
    pub path: Arc<str>,
    /// Messages that wait.
    pub mailbox: usize,
    /// Messages that it has handled.
    pub handled: u64,
    /// Restarts after a failure.
    pub restarts: u32,
    /// The last failure in words, without secrets.
    pub last_failure: Option<Arc<str>>,
}
