//! The metrics, in Prometheus' text format.
//!
//! The counters of lanes are read from their snapshots when the metrics are written; only events of the HTTP surface
//! are counted here.

use std::{fmt, sync::atomic::AtomicU64};

use kebne_control::LaneState;
use kebne_lane::{Ending, LaneSnapshot};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{gateway::GatewaySnapshot, logging, record::CallRecord};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    model: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    model: String,
    ending: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByModel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLane {
    lane: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPriority {
    lane: String,
    priority: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEnding {
    lane: String,
    ending: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    lane: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFailure {
    lane: String,
    class: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    lane: String,
    state: &'static str,
}

type Level = Gauge<f64, AtomicU64>;

/// Reads one number of a lane.
type Read = fn(&LaneSnapshot) -> f64;

/// The counters of the HTTP surface.
#[derive(Clone)]
pub struct Metrics {
    answered: Family<Answered, Counter>,
    ended: Family<Ended, Counter>,
    body_bytes: Level,
    answer_bytes: Level,
    store_up: Level,
    store_failures: Counter,
    /// Time until the answer began.
    seconds: Family<ByModel, Histogram>,
}

/// Buckets in seconds, from an answer of the gateway itself to a cold start of minutes.
const BUCKETS: [f64; 14] = [
    0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 120.0, 600.0,
];

impl Metrics {
    /// Creates counters that start at zero.
    pub fn new() -> Self {
        Self {
            answered: Family::default(),
            ended: Family::default(),
            body_bytes: Level::default(),
            answer_bytes: Level::default(),
            store_up: Level::default(),
            store_failures: Counter::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }

    /// Counts an ended call. An unknown model has an empty name, so that callers cannot create labels.
    pub fn call_ended(&self, record: &CallRecord) {
        let model = &record.model;
        let labels = Ended {
            model: model.clone(),
            ending: record.ending.label(),
        };
        self.ended.get_or_create(&labels).inc();
        let (Some(status), Some(begun)) = (record.status, record.begun) else {
            return;
        };
        let model = model.clone();
        let after = begun.saturating_duration_since(record.opened);
        let labels = ByModel {
            model: model.clone(),
        };
        self.seconds
            .get_or_create(&labels)
            .observe(after.as_secs_f64());
        self.answered
            .get_or_create(&Answered { model, status })
            .inc();
    }

    /// Sets the bytes that request bodies and answers take now of their budgets.
    pub fn set_buffered(&self, bodies: usize, answers: usize) {
        self.body_bytes.set(real(bodies));
        self.answer_bytes.set(real(answers));
    }

    /// Sets whether the session store answers, and the questions that it has failed to answer since the start.
    pub fn set_store(&self, is_up: bool, failures: u64) {
        self.store_up.set(f64::from(u8::from(is_up)));
        let counted = self.store_failures.get();
        self.store_failures.inc_by(failures.saturating_sub(counted));
    }

    /// Writes all metrics.
    ///
    /// # Errors
    /// Fails if the text cannot be written.
    pub fn text(&self, snapshot: &GatewaySnapshot) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("kebne");
        let help = "Answers by model and status";
        registry.register("answers", help, self.answered.clone());
        let help = "Requests to models by model and ending, each counted once";
        registry.register("requests", help, self.ended.clone());
        let help = "Bytes that the bodies of requests take";
        registry.register("body_bytes", help, self.body_bytes.clone());
        let help = "Bytes that large answers and large events of streams take";
        registry.register("answer_bytes", help, self.answer_bytes.clone());
        let dropped: Counter = Counter::default();
        dropped.inc_by(logging::lines_dropped());
        let help = "Lines of the log that were dropped because nobody read them in time";
        registry.register("log_lines_dropped", help, dropped);
        let help = "1 if the session store answered its last question, else 0";
        registry.register("session_store_up", help, self.store_up.clone());
        let help = "Questions that the session store did not answer, since the start";
        registry.register("session_store_failures", help, self.store_failures.clone());
        let help = "Time until an answer began, in seconds";
        registry.register("answer_seconds", help, self.seconds.clone());
        lanes(&mut registry, &snapshot.lanes);
        let restarts = Level::default();
        let restarted = snapshot
            .actors
            .iter()
            .map(|actor| f64::from(actor.restarts));
        restarts.set(restarted.sum());
        registry.register(
            "alive_actor_restarts",
            "Restarts so far of the actors alive now; falls when one of them stops",
            restarts,
        );
        let dead = Counter::<u64>::default();
        dead.inc_by(snapshot.dead_letters);
        registry.register("dead_letters", "Messages that were not handled", dead);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Registers the gauges.
fn levels(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let levels: [(&str, &str, Read); 12] = [
        (
            "closed",
            "1 while the lane is closed: its restarts were used up, or an operator closed it",
            |lane| f64::from(u8::from(lane.closed.is_some())),
        ),
        ("limit", "Calls that may be in flight", |lane| {
            f64::from(lane.controller.grant.concurrency)
        }),
        ("in_flight", "Attempts in flight", |lane| {
            f64::from(lane.pool.in_flight)
        }),
        ("queue", "Calls that wait", |lane| real(lane.pool.queued)),
        ("queue_bytes", "Bytes of the calls that wait", |lane| {
            real(lane.pool.queued_bytes)
        }),
        ("calls_live", "Calls that the lane holds", |lane| {
            real(lane.live)
        }),
        ("held", "Calls held after a refusal", |lane| {
            real(lane.pool.held)
        }),
        (
            "attempt_timeout_seconds",
            "Time that one attempt may take now, in seconds",
            |lane| lane.controller.grant.attempt_timeout.as_secs_f64(),
        ),
        (
            "retry_ratio",
            "Retries per success that are allowed now",
            |lane| lane.controller.grant.retry_ratio,
        ),
        ("workers", "Workers alive", |lane| real(lane.workers)),
        ("retry_budget", "Retries available", |lane| {
            lane.pool.retry_budget
        }),
        (
            "rate",
            "Requests per second allowed; 0 without a rate",
            |lane| {
                lane.controller
                    .grant
                    .requests
                    .map_or(0.0, |bucket| bucket.rate)
            },
        ),
    ];
    for (name, help, read) in levels {
        let family = Family::<ByLane, Level>::default();
        for lane in lanes {
            family.get_or_create(&by_lane(lane)).set(read(lane));
        }
        registry.register(name, help, family);
    }
}

/// Registers how attempts failed.
fn failures(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let failures = Family::<ByFailure, Counter>::default();
    for lane in lanes {
        for failure in &lane.failures {
            let labels = ByFailure {
                lane: lane.name.to_string(),
                class: failure.class,
                reason: failure.reason,
            };
            failures.get_or_create(&labels).inc_by(failure.count);
        }
    }
    let help = "Attempts that failed, by class and reason; the reason is empty where the class says enough";
    registry.register("failed_attempts", help, failures);
}

fn lanes(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    levels(registry, lanes);
    failures(registry, lanes);
    let calls = Family::<ByEnding, Counter>::default();
    let prewarms = Family::<ByEnding, Counter>::default();
    let priorities = Family::<ByPriority, Level>::default();
    let restarts = Family::<ByLane, Counter>::default();
    let hedges = Family::<ByResult, Counter>::default();
    let states = Family::<ByState, Gauge>::default();
    for lane in lanes {
        for ending in Ending::ALL {
            let labels = ByEnding {
                lane: lane.name.to_string(),
                ending: ending.label(),
            };
            calls.get_or_create(&labels).inc_by(lane.endings.of(ending));
            prewarms
                .get_or_create(&labels)
                .inc_by(lane.prewarms.of(ending));
        }
        restarts
            .get_or_create(&by_lane(lane))
            .inc_by(u64::from(lane.worker_restarts));
        for priority in &lane.pool.priorities {
            let labels = ByPriority {
                lane: lane.name.to_string(),
                priority: priority.priority,
            };
            priorities.get_or_create(&labels).set(real(priority.queued));
        }
        for state in LaneState::ALL {
            let labels = ByState {
                lane: lane.name.to_string(),
                state: state.label(),
            };
            let here = i64::from(state == lane.state);
            states.get_or_create(&labels).set(here);
        }
        let pool = &lane.pool;
        for (result, count) in [("sent", pool.hedges_sent), ("won", pool.hedges_won)] {
            let lane = lane.name.to_string();
            let labels = ByResult { lane, result };
            hedges.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("calls", "Calls by lane and ending", calls);
    let help = "Calls that wait, by priority; absent while none wait";
    registry.register("queue_by_priority", help, priorities);
    let help = "Prewarm calls, by lane and ending";
    registry.register("prewarms", help, prewarms);
    registry.register(
        "worker_restarts",
        "Workers restarted after a failure",
        restarts,
    );
    registry.register(
        "hedges",
        "Hedges that were sent, and those that answered first",
        hedges,
    );
    let help = "State of the lane: 1 for the current state, 0 for the others";
    registry.register("state", help, states);
}

fn by_lane(lane: &LaneSnapshot) -> ByLane {
    ByLane {
        lane: lane.name.to_string(),
    }
}

/// Converts a number for a gauge; numbers above four billion are capped.
fn real(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::from(u32::MAX), f64::from)
}
