//! One sample: what the page shows at one moment. The numbers are those of `/state` at that moment.

use std::{sync::Arc, time::Duration};

use kebne_actors::ActorReport;
use kebne_context::{MemoryCounts, StoreHealth};
use kebne_lane::{
    EndingCounts, FailureCount, LaneSnapshot, LaneState, LastFailure, PastVerdict, Service,
};
use kebne_quota::Money;
use kebne_servers::ServerReport;
use serde::Serialize;

use crate::{
    live::{
        collections::CollectionsSample,
        counters::{CostSample, KeySample, Quantiles},
        history::Point,
        words,
    },
    routes::DecisionCount,
    settings::BackendKind,
};

/// The lines of the log of a server that the page shows.
const LINES_SHOWN: usize = 5;

/// What the page shows at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The version of the program.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// `true` if no new calls are admitted.
    pub draining: bool,
    /// The state of the whole service.
    pub overall: Overall,
    /// The lanes, in the order of the settings.
    pub lanes: Vec<LaneSample>,
    /// The models and the backends that serve them.
    pub models: Arc<[ModelSample]>,
    /// The servers that the gateway starts and stops.
    pub servers: Vec<ServerReport>,
    /// Every living actor.
    pub actors: Vec<ActorReport>,
    /// Messages that were not delivered.
    pub dead_letters: u64,
    /// The session store.
    pub sessions: SessionsSample,
    /// The work on the memory of sessions; `None` if no model is set for it.
    pub memory: Option<MemoryCounts>,
    /// The collections; `None` while there are none.
    pub collections: Option<CollectionsSample>,
    /// The API keys.
    pub keys: Vec<KeySample>,
    /// The decisions of routes.
    pub routes: Vec<DecisionCount>,
    /// The cost of all calls; `None` if no model has a price.
    pub cost: Option<CostSample>,
    /// The kept answers; `None` if no model has any.
    pub cache: Option<CacheSample>,
}

/// The kept answers at one moment, and what they have saved since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheSample {
    /// Calls of models whose answers are kept.
    pub calls: u64,
    /// Those of them that were answered without a backend.
    pub answered: u64,
    /// Tokens for which no backend was asked.
    pub saved_tokens: u64,
    /// Their cost, in units of the currency.
    pub saved_cost: Money,
    /// Kept answers.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// `true` if the store answered its last question.
    pub is_store_up: bool,
}

/// The state of the whole service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overall {
    /// How urgent it is.
    pub level: Level,
    /// The state in one sentence.
    pub sentence: String,
}

/// How urgent a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It serves.
    Good,
    /// Nothing is asked of it.
    Idle,
    /// It becomes ready.
    Busy,
    /// It is held up.
    Warn,
    /// It does not serve.
    Bad,
}

/// A model and its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelSample {
    /// The name.
    pub name: String,
    /// Its backends in order of preference.
    pub backends: Vec<String>,
}

/// A lane at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct LaneSample {
    /// The name of the backend.
    pub name: Arc<str>,
    /// The kind of the backend, as in the settings.
    pub kind: BackendKind,
    /// Milliseconds since the lane's actors answered, if they do not answer; the numbers are from then. `None` below 3 s.
    pub stale_ms: Option<u64>,
    /// The label of the state, as in `/state`.
    pub state: &'static str,
    /// The state in one or two words.
    pub label: &'static str,
    /// How urgent the state is.
    pub level: Level,
    /// Who waits and why.
    pub sentence: String,
    /// Whether the lane admits calls.
    pub service: Service,
    /// The reason why the lane is closed.
    pub closed: Option<Arc<str>>,
    /// `true` if no connection could be made at the last attempt that failed.
    pub unreachable: bool,
    /// `true` if the server refused the gateway's key or requests, and no call has succeeded since.
    pub misconfigured: bool,
    /// Why the health checks cannot reach the backend's server, while no call is served there.
    pub check_failure: Option<String>,
    /// Milliseconds until the backend is expected to serve.
    pub ready_in_ms: Option<u64>,
    /// Milliseconds until the next attempt, while not every call may be sent.
    pub next_attempt_in_ms: Option<u64>,
    /// Calls that may be in flight.
    pub limit: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls that wait.
    pub queued: usize,
    /// Those of them that wait for another attempt after a failure.
    pub retrying: usize,
    /// Calls held after a refusal.
    pub held: usize,
    /// Requests per second that may be sent; `None` without a known rate.
    pub rate: Option<f64>,
    /// Wait predicted for a call that comes now.
    pub predicted_wait_ms: Option<u64>,
    /// Retries available.
    pub retry_budget: f64,
    /// Share of attempts that fail for reasons other than load.
    pub fault_rate: f64,
    /// Median load time.
    pub load_time_p50_ms: Option<u64>,
    /// Ninetieth percentile of the load time.
    pub load_time_p90_ms: Option<u64>,
    /// Workers restarted after a failure.
    pub worker_restarts: u32,
    /// The calls and their endings since the start.
    pub endings: EndingCounts,
    /// Time to the first token of the calls of the last seconds, waiting included.
    pub first_token: Option<Quantiles>,
    /// The newest point of the history.
    pub point: Point,
    /// Failed attempts by class and reason.
    pub failures: Vec<FailureCount>,
    /// The last attempt that failed.
    pub last_failure: Option<LastFailure>,
    /// The last changes of state, oldest first.
    pub state_changes: Vec<String>,
    /// The last verdicts, newest first.
    pub verdicts: Vec<VerdictSample>,
}

/// A verdict of the law.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictSample {
    /// Its number among the verdicts of the lane, from 1.
    pub number: u64,
    /// The verdict as in `/state`.
    pub text: String,
    /// The verdict as a sentence.
    pub sentence: String,
    /// Milliseconds since the verdict.
    pub age_ms: u64,
}

/// The session store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionsSample {
    /// `available` or `unavailable`.
    pub store: &'static str,
    /// The reason why it is unavailable.
    pub reason: Option<String>,
    /// Seconds for which it has been unavailable.
    pub for_seconds: Option<f64>,
    /// Questions that it has not answered since the start.
    pub failures: u64,
    /// The sessions that it holds; `None` if that is not known.
    pub count: Option<u64>,
}

impl LaneSample {
    pub(super) fn new(
        lane: &LaneSnapshot,
        kind: BackendKind,
        point: Point,
        misconfigured: bool,
        check_failure: Option<&str>,
    ) -> Self {
        let is_served = matches!(lane.state, LaneState::Ramp | LaneState::Steady);
        let check_failure = check_failure.filter(|_| !is_served);
        let (controller, pool) = (&lane.controller, &lane.pool);
        let grant = &controller.grant;
        let mut sample = Self {
            name: Arc::clone(&lane.name),
            kind,
            stale_ms: words::stale_ms(lane),
            state: lane.state.label(),
            label: words::label(lane, misconfigured, check_failure),
            level: words::level(lane, misconfigured, check_failure),
            sentence: String::new(),
            service: lane.service,
            closed: lane.closed.clone(),
            unreachable: words::is_unreachable(lane),
            misconfigured,
            check_failure: check_failure.map(str::to_owned),
            ready_in_ms: lane.ready_in_ms,
            next_attempt_in_ms: lane.next_attempt_in_ms,
            limit: grant.concurrency,
            in_flight: pool.in_flight,
            queued: pool.queued,
            retrying: pool.retrying,
            held: pool.held,
            rate: grant.requests.map(|bucket| bucket.rate),
            predicted_wait_ms: pool.predicted_wait.map(milliseconds),
            retry_budget: pool.retry_budget,
            fault_rate: controller.fault_rate,
            load_time_p50_ms: controller.load_time_p50.map(milliseconds),
            load_time_p90_ms: controller.load_time_p90.map(milliseconds),
            worker_restarts: lane.worker_restarts,
            endings: lane.endings,
            first_token: point.first_token,
            point,
            failures: lane.failures.clone(),
            last_failure: lane.last_failure.clone(),
            state_changes: lane.state_changes.clone(),
            verdicts: verdicts(&lane.verdicts),
        };
        sample.sentence = words::lane(&sample, lane.state, pool.closed);
        sample
    }
}

fn verdicts(verdicts: &[PastVerdict]) -> Vec<VerdictSample> {
    let newest = verdicts.iter().rev();
    newest
        .map(|past| VerdictSample {
            number: past.number,
            text: past.verdict.to_string(),
            sentence: past.verdict.sentence(),
            age_ms: milliseconds(past.age),
        })
        .collect()
}

impl SessionsSample {
    pub(super) fn new(health: &StoreHealth, failures: u64, count: Option<u64>) -> Self {
        let (store, reason, lasts) = match health {
            StoreHealth::Available => ("available", None, None),
            StoreHealth::Unavailable { reason, lasts, .. } => (
                "unavailable",
                Some(reason.clone()),
                Some(lasts.as_secs_f64()),
            ),
        };
        Self {
            store,
            reason,
            for_seconds: lasts,
            failures,
            count,
        }
    }
}

impl Overall {
    pub(super) fn new(
        lanes: &[LaneSample],
        expected: usize,
        draining: bool,
        store: &SessionsSample,
    ) -> Self {
        let (level, sentence) = words::overall(lanes, expected, draining, store);
        Self { level, sentence }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns what the page shows of servers: their last lines only.
pub(super) fn servers(reports: &[ServerReport]) -> Vec<ServerReport> {
    let mut servers = reports.to_vec();
    for server in &mut servers {
        let old = server.lines.len().saturating_sub(LINES_SHOWN);
        server.lines.drain(..old);
    }
    servers
}
