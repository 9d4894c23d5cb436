//! The metrics, in the text format of `OpenMetrics`, which Prometheus reads.
//!
//! Calls are counted from their records when they end. The numbers of lanes, actors and budgets are read when the
//! metrics are written. All names are in `names`.

mod accounts;
mod agents;
mod cache;
mod calls;
mod events;
mod jobs;
mod labels;
mod lanes;
mod mcp;
mod names;
mod promises;
mod prompts;
mod routes;
mod servers;
mod shares;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use kebne_accounts::AccountHealth;
use kebne_collections::EmbeddingProgress;
use kebne_collections::Totals;
use kebne_context::MemoryCounts;
use kebne_context::prompts::Chosen;
use kebne_monitor::{Alert, Rule};
use kebne_quota::AccountView;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

use crate::{
    cost::Prices,
    events::EventReport,
    function_events::FunctionEventReport,
    gateway::{
        Gateway, GatewaySnapshot,
        inner::{InnerCount, Purpose, SpentByKey},
    },
    logging,
    prompt_calls::VersionCalls,
    record::CallRecord,
    reload::ReloadStatus,
};

pub use agents::AgentReadings;
pub use cache::CacheReadings;
use calls::Calls;
pub use jobs::JobReadings;
use labels::{
    ByBudget, ByKind, ByPurpose, ByPurposeAndEnding, ByPurposeAndKey, ByReload, ByRule, ByStatus,
    InnerCost,
};
pub use mcp::McpReadings;
pub(crate) use names::reference;
pub use routes::RouteReadings;

type Level = Gauge<f64, AtomicU64>;

/// What is counted.
pub struct Metrics {
    calls: Calls,
}

/// Numbers of the service that are read when the metrics are written.
#[derive(Clone, Debug)]
pub struct Readings {
    /// The open alerts; `None` if the monitor does not answer.
    pub alerts: Option<Vec<Alert>>,
    /// Bytes that the bodies of requests take, and their budget.
    pub bodies: (usize, usize),
    /// Bytes that answers take, and their budget.
    pub answers: (usize, usize),
    /// `true` if the session store answered its last question.
    pub is_store_up: bool,
    /// Questions that the session store did not answer.
    pub store_failures: u64,
    /// The work on the memory of sessions, and the bytes of the indexes in which they are searched.
    pub memory: (MemoryCounts, usize),
    /// What routes have decided.
    pub routes: RouteReadings,
    /// What collections hold, and the bytes of their indexes; `None` if that is not known.
    pub collections: Option<(Totals, usize)>,
    /// The jobs.
    pub jobs: JobReadings,
    /// The agents.
    pub agents: AgentReadings,
    /// The MCP servers.
    pub mcp: Vec<McpReadings>,
    /// The calls for which the gateway has called tools, by how they have ended.
    pub tool_loops: Vec<(&'static str, u64)>,
    /// What the gateway itself has asked models.
    pub inner_calls: Vec<(Purpose, InnerCount)>,
    /// What that has used, and the currency of its cost.
    pub inner_spent: (SpentByKey, Arc<str>),
    /// How far the work on the vectors of chunks is.
    pub embedding: EmbeddingProgress,
    /// The cache of answers.
    pub cache: CacheReadings,
    /// The events.
    pub events: EventReport,
    /// The events of functions.
    pub function_events: Vec<FunctionEventReport>,
    /// What was taken from a broker; null if nothing is.
    pub consumed: serde_json::Value,
    /// The calls with prompts, by version.
    pub prompts: Vec<(Chosen, VersionCalls)>,
    /// How often the settings were read again.
    pub reloads: ReloadStatus,
    /// `true` for each of the stores of prompts, collections and kept answers that works.
    pub are_stores_up: [bool; 3],
    /// The state of the store of accounts.
    pub account_store: AccountHealth,
    /// When the certificate expires, in seconds since 1970, and the handshakes that failed; `None` without TLS.
    pub tls: Option<(u64, u64)>,
    /// The accounts with budgets, by their names.
    pub accounts: Vec<(Arc<str>, AccountView)>,
}

impl Metrics {
    /// Creates the metrics of a gateway; all counters are zero.
    pub fn new(gateway: &Gateway, prices: &Prices) -> Self {
        let (models, lanes) = (gateway.models(), gateway.lane_names());
        let (models, lanes) = (models.iter(), lanes.iter());
        let (models, lanes) = (models.map(String::as_str), lanes.map(String::as_str));
        Self {
            calls: Calls::new(models, lanes, prices),
        }
    }

    /// Follows a gateway whose models or prices have changed. Counters of models that are gone stay.
    pub fn change(&self, gateway: &Gateway, prices: &Prices) {
        let models = gateway.models();
        self.calls.change(models.iter().map(String::as_str), prices);
    }

    /// Removes the counters of lanes that are gone.
    pub fn lanes_gone<'a>(&self, lanes: impl Iterator<Item = &'a String>) {
        for lane in lanes {
            self.calls.lane_gone(lane);
        }
    }

    /// Counts an ended call. An unknown model has an empty name, so that callers cannot create labels.
    pub fn call_ended(&self, record: &CallRecord) {
        self.calls.count(record);
    }

    /// Writes all metrics.
    ///
    /// # Errors
    /// Fails if the text cannot be written.
    pub fn text(
        &self,
        snapshot: &GatewaySnapshot,
        readings: &Readings,
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        self.calls.register(&mut registry);
        lanes::register_all(&mut registry, &snapshot.lanes);
        lanes::register_fallbacks(&mut registry, &snapshot.fallbacks);
        lanes::register_health(&mut registry, &snapshot.health);
        servers::register_all(&mut registry, &snapshot.servers);
        shares::register_all(&mut registry, &snapshot.shares);
        let restarts = Family::<ByKind, Counter>::default();
        for (&kind, &count) in &snapshot.restarts {
            restarts.get_or_create(&ByKind { kind }).inc_by(count);
        }
        register(&mut registry, &names::ACTOR_RESTARTS, restarts);
        inner_calls(&mut registry, &readings.inner_calls);
        inner_spent(&mut registry, &readings.inner_spent);
        embedding(&mut registry, &readings.embedding);
        cache::register_all(&mut registry, &readings.cache);
        prompts::register_all(&mut registry, &readings.prompts);
        routes::register_all(&mut registry, &readings.routes);
        events::register_all(&mut registry, &readings.events);
        events::register_functions(&mut registry, &readings.function_events);
        events::register_consumed(&mut registry, &readings.consumed);
        if let Some((totals, index_bytes)) = &readings.collections {
            collections(&mut registry, totals, *index_bytes);
        }
        jobs::register_all(&mut registry, &readings.jobs);
        agents::register_all(&mut registry, &readings.agents);
        mcp::register_all(&mut registry, &readings.mcp, &readings.tool_loops);
        alerts(&mut registry, readings.alerts.as_deref());
        service(&mut registry, snapshot, readings);
        reloads(&mut registry, &readings.reloads);
        budgets(&mut registry, &readings.accounts);
        accounts::register_all(&mut registry, readings.account_store.shared.as_ref());
        tls(&mut registry, readings.tls);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Registers what the gateway itself has asked models.
fn inner_calls(registry: &mut Registry, counts: &[(Purpose, InnerCount)]) {
    let endings = Family::<ByPurposeAndEnding, Counter>::default();
    let seconds = Family::<ByPurpose, Counter<f64, AtomicU64>>::default();
    for (purpose, count) in counts {
        let purpose = purpose.label();
        for (ending, count) in [("answered", count.answered), ("failed", count.failed)] {
            let labels = ByPurposeAndEnding { purpose, ending };
            endings.get_or_create(&labels).inc_by(count);
        }
        let labels = ByPurpose { purpose };
        seconds
            .get_or_create(&labels)
            .inc_by(count.time.as_secs_f64());
    }
    register(registry, &names::INNER_CALLS, endings);
    register(registry, &names::INNER_SECONDS, seconds);
}

/// Registers what the calls of the gateway itself have used.
fn inner_spent(registry: &mut Registry, (spent, currency): &(SpentByKey, Arc<str>)) {
    let tokens = Family::<ByPurposeAndKey, Counter>::default();
    let cost = Family::<InnerCost, Counter<f64, AtomicU64>>::default();
    for ((purpose, key), spent) in spent {
        let (purpose, key) = (purpose.label(), Arc::clone(key));
        let labels = ByPurposeAndKey {
            purpose,
            key: Arc::clone(&key),
        };
        tokens.get_or_create(&labels).inc_by(spent.tokens);
        let labels = InnerCost {
            purpose,
            key,
            currency: Arc::clone(currency),
        };
        cost.get_or_create(&labels).inc_by(spent.cost.units());
    }
    register(registry, &names::INNER_TOKENS, tokens);
    register(registry, &names::INNER_COST, cost);
}

/// Registers the work on the vectors of chunks.
fn embedding(registry: &mut Registry, progress: &EmbeddingProgress) {
    for (metric, value) in [
        (&names::CHUNKS_WAITING, real(progress.waiting)),
        (
            &names::EMBEDDER_UP,
            f64::from(u8::from(progress.away.is_none())),
        ),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
    let embedded = Counter::<u64>::default();
    embedded.inc_by(progress.embedded);
    register(registry, &names::CHUNKS_EMBEDDED, embedded);
}

/// Registers what collections hold.
fn collections(registry: &mut Registry, totals: &Totals, index_bytes: usize) {
    let files = Family::<ByStatus, Level>::default();
    for (status, count) in [
        ("in_progress", totals.files.in_progress),
        ("completed", totals.files.completed),
        ("failed", totals.files.failed),
        ("cancelled", totals.files.cancelled),
    ] {
        files.get_or_create(&ByStatus { status }).set(real(count));
    }
    register(registry, &names::COLLECTION_FILES, files);
    for (metric, value) in [
        (&names::COLLECTIONS, real(totals.collections)),
        (&names::COLLECTION_CHUNKS, real(totals.chunks)),
        (&names::COLLECTION_BYTES, real(totals.bytes)),
        (&names::INDEX_BYTES, real(index_bytes)),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
}

/// Registers the number of open alerts of each rule.
fn alerts(registry: &mut Registry, open: Option<&[Alert]>) {
    let family = Family::<ByRule, Gauge>::default();
    if let Some(open) = open {
        for rule in Rule::ALL {
            let labels = ByRule {
                rule: rule.name(),
                severity: rule.severity().name(),
            };
            let count = open.iter().filter(|alert| alert.rule == rule).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            family.get_or_create(&labels).set(count);
        }
    }
    register(registry, &names::ALERTS, family);
}

/// Registers the metrics of the service as a whole.
fn service(registry: &mut Registry, snapshot: &GatewaySnapshot, readings: &Readings) {
    let (memory, search_bytes) = readings.memory;
    let [prompts_up, collections_up, cache_up] = readings.are_stores_up;
    for (metric, value) in [
        (&names::MEMORY_WAITING, real(memory.waiting)),
        (&names::MEMORY_RUNNING, real(memory.running)),
        (&names::MEMORY_SEARCH_BYTES, real(search_bytes)),
        (&names::BODY_BYTES, real(readings.bodies.0)),
        (&names::BODY_BYTES_MAX, real(readings.bodies.1)),
        (&names::ANSWER_BYTES, real(readings.answers.0)),
        (&names::ANSWER_BYTES_MAX, real(readings.answers.1)),
        (&names::STORE_UP, f64::from(u8::from(readings.is_store_up))),
        (
            &names::ACCOUNT_STORE_UP,
            f64::from(u8::from(readings.account_store.reason.is_none())),
        ),
        (&names::PROMPT_STORE_UP, f64::from(u8::from(prompts_up))),
        (
            &names::COLLECTION_STORE_UP,
            f64::from(u8::from(collections_up)),
        ),
        (&names::CACHE_STORE_UP, f64::from(u8::from(cache_up))),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
    for (metric, value) in [
        (&names::STORE_FAILURES, readings.store_failures),
        (&names::MEMORY_SUMMARIES, memory.summaries),
        (&names::MEMORY_FACTS, memory.facts),
        (&names::MEMORY_FAILURES, memory.failures),
        (&names::MEMORY_DROPPED, memory.dropped),
        (
            &names::ACCOUNT_STORE_FAILURES,
            readings.account_store.failures,
        ),
        (&names::DEAD_LETTERS, snapshot.dead_letters),
        (&names::LOG_LINES_DROPPED, logging::lines_dropped()),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        register(registry, metric, counter);
    }
}

/// Registers how often the settings were read again, and with which result.
fn reloads(registry: &mut Registry, status: &ReloadStatus) {
    let counts = Family::<ByReload, Counter>::default();
    for (result, count) in [("applied", status.applied), ("refused", status.refused)] {
        counts.get_or_create(&ByReload { result }).inc_by(count);
    }
    register(registry, &names::RELOADS, counts);
    let is_applied = u8::from(status.error.is_none());
    for (metric, value) in [
        (&names::RELOAD_APPLIED, f64::from(is_applied)),
        (&names::SETTINGS_READ_AT, real(status.read_at)),
        (&names::NEEDS_RESTART, real(status.needs_restart.len())),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
}

/// Registers the used part of each budget; of several budgets of one account for the same time, the largest.
fn budgets(registry: &mut Registry, accounts: &[(Arc<str>, AccountView)]) {
    let family = Family::<ByBudget, Level>::default();
    for (account, view) in accounts {
        for budget in &view.budgets {
            let labels = ByBudget {
                account: Arc::clone(account),
                period: budget.budget.per.name(),
            };
            let used = real(budget.used_permille) / 1000.0;
            let level = family.get_or_create(&labels);
            level.set(used.max(level.get()));
        }
    }
    register(registry, &names::BUDGET_USED, family);
}

/// Registers the metrics of a service with TLS.
fn tls(registry: &mut Registry, readings: Option<(u64, u64)>) {
    let Some((expires_at, failed)) = readings else {
        return;
    };
    let level = Level::default();
    level.set(real(expires_at));
    register(registry, &names::CERTIFICATE_EXPIRES, level);
    let counter = Counter::<u64>::default();
    counter.inc_by(failed);
    register(registry, &names::HANDSHAKES_FAILED, counter);
}

/// Registers a metric under its name.
fn register(registry: &mut Registry, metric: &names::Metric, values: impl Metric) {
    registry.register(metric.name, metric.help, values);
}

/// Converts a number for a gauge; beyond 2^53 it is rounded.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge needs no more than 53 bits"
)]
fn real(count: impl TryInto<u64>) -> f64 {
    count.try_into().map_or(f64::INFINITY, |count| count as f64)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
