//! The metrics, in the text format of `OpenMetrics`, which Prometheus reads.
//!
//! Calls are counted from their records when they end. The numbers of lanes, actors and budgets are read when the
//! metrics are written. All names are in `names`.

mod calls;
mod labels;
mod lanes;
mod names;
mod promises;
mod servers;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use kebne_accounts::AccountHealth;
use kebne_monitor::{Alert, Rule};
use kebne_quota::AccountView;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Metric, Registry},
};

use crate::{
    cost::Prices,
    gateway::{Gateway, GatewaySnapshot},
    logging,
    record::CallRecord,
    reload::ReloadStatus,
};

use calls::Calls;
use labels::{ByBudget, ByKind, ByReload, ByRule};
pub(crate) use names::reference;

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
    /// How often the settings were read again.
    pub reloads: ReloadStatus,
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
        let restarts = Family::<ByKind, Counter>::default();
        for (&kind, &count) in &snapshot.restarts {
            restarts.get_or_create(&ByKind { kind }).inc_by(count);
        }
        register(&mut registry, &names::ACTOR_RESTARTS, restarts);
        alerts(&mut registry, readings.alerts.as_deref());
        service(&mut registry, snapshot, readings);
        reloads(&mut registry, &readings.reloads);
        budgets(&mut registry, &readings.accounts);
        tls(&mut registry, readings.tls);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
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
    for (metric, value) in [
        (&names::BODY_BYTES, real(readings.bodies.0)),
        (&names::BODY_BYTES_MAX, real(readings.bodies.1)),
        (&names::ANSWER_BYTES, real(readings.answers.0)),
        (&names::ANSWER_BYTES_MAX, real(readings.answers.1)),
        (&names::STORE_UP, f64::from(u8::from(readings.is_store_up))),
        (
            &names::ACCOUNT_STORE_UP,
            f64::from(u8::from(readings.account_store.reason.is_none())),
        ),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
    for (metric, value) in [
        (&names::STORE_FAILURES, readings.store_failures),
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
mod tests;
