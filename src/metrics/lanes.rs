//! The metrics of lanes, read from their snapshots when the metrics are written.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use kebne_control::LaneState;
use kebne_lane::{Ending, LaneSnapshot, Service};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::gateway::{FallbackCount, HealthReport};
use crate::metrics::{
    labels::{ByEnding, ByFailure, ByFallback, ByLane, ByPriority, ByResult, ByService, ByState},
    names::{self, Metric},
    real, register,
};

type Level = Gauge<f64, AtomicU64>;

/// Reads one number of a lane.
type Read = fn(&LaneSnapshot) -> f64;

/// The gauges with one number per lane.
const LEVELS: [(&Metric, Read); 13] = [
    (&names::REPORT_AGE, |lane| {
        Duration::from_millis(lane.age_ms).as_secs_f64()
    }),
    (&names::CLOSED, |lane| {
        f64::from(u8::from(lane.closed.is_some()))
    }),
    (&names::LIMIT, |lane| {
        f64::from(lane.controller.grant.concurrency)
    }),
    (&names::IN_FLIGHT, |lane| f64::from(lane.pool.in_flight)),
    (&names::QUEUE, |lane| real(lane.pool.queued)),
    (&names::QUEUE_BYTES, |lane| real(lane.pool.queued_bytes)),
    (&names::CALLS_LIVE, |lane| real(lane.live)),
    (&names::HELD, |lane| real(lane.pool.held)),
    (&names::ATTEMPT_TIMEOUT, |lane| {
        lane.controller.grant.attempt_timeout.as_secs_f64()
    }),
    (&names::RETRY_RATIO, |lane| {
        lane.controller.grant.retry_ratio
    }),
    (&names::WORKERS, |lane| real(lane.workers)),
    (&names::RETRY_BUDGET, |lane| lane.pool.retry_budget),
    (&names::RATE_LIMIT, |lane| {
        let requests = lane.controller.grant.requests.as_ref();
        requests.map_or(0.0, |bucket| bucket.rate)
    }),
];

/// Registers the metrics of lanes.
pub(super) fn register_all(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    levels(registry, lanes);
    failures(registry, lanes);
    endings(registry, lanes);
    queues(registry, lanes);
    states(registry, lanes);
    services(registry, lanes);
    let restarts = Family::<ByLane, Counter>::default();
    let hedges = Family::<ByResult, Counter>::default();
    for lane in lanes {
        let restarted = u64::from(lane.worker_restarts);
        restarts.get_or_create(&by_lane(lane)).inc_by(restarted);
        let pool = &lane.pool;
        for (result, count) in [("sent", pool.hedges_sent), ("won", pool.hedges_won)] {
            let lane = Arc::clone(&lane.name);
            let labels = ByResult { lane, result };
            hedges.get_or_create(&labels).inc_by(count);
        }
    }
    register(registry, &names::WORKER_RESTARTS, restarts);
    register(registry, &names::HEDGES, hedges);
}

fn levels(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    for (metric, read) in LEVELS {
        let family = Family::<ByLane, Level>::default();
        for lane in lanes {
            family.get_or_create(&by_lane(lane)).set(read(lane));
        }
        register(registry, metric, family);
    }
}

fn failures(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let failures = Family::<ByFailure, Counter>::default();
    for lane in lanes {
        for failure in &lane.failures {
            let labels = ByFailure {
                lane: Arc::clone(&lane.name),
                class: failure.class,
                reason: failure.reason,
            };
            failures.get_or_create(&labels).inc_by(failure.count);
        }
    }
    register(registry, &names::FAILED_ATTEMPTS, failures);
}

fn endings(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let calls = Family::<ByEnding, Counter>::default();
    let prewarms = Family::<ByEnding, Counter>::default();
    for lane in lanes {
        for ending in Ending::ALL {
            let labels = ByEnding {
                lane: Arc::clone(&lane.name),
                ending: ending.label(),
            };
            calls.get_or_create(&labels).inc_by(lane.endings.of(ending));
            let woken = lane.prewarms.of(ending);
            prewarms.get_or_create(&labels).inc_by(woken);
        }
    }
    register(registry, &names::CALLS, calls);
    register(registry, &names::PREWARMS, prewarms);
}

fn queues(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let priorities = Family::<ByPriority, Level>::default();
    for lane in lanes {
        for priority in &lane.pool.priorities {
            let labels = ByPriority {
                lane: Arc::clone(&lane.name),
                priority: priority.priority,
            };
            priorities.get_or_create(&labels).set(real(priority.queued));
        }
    }
    register(registry, &names::QUEUE_BY_PRIORITY, priorities);
}

fn states(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let states = Family::<ByState, Gauge>::default();
    for lane in lanes {
        for state in LaneState::ALL {
            let labels = ByState {
                lane: Arc::clone(&lane.name),
                state: state.label(),
            };
            let here = i64::from(state == lane.state);
            states.get_or_create(&labels).set(here);
        }
    }
    register(registry, &names::STATE, states);
}

fn services(registry: &mut Registry, lanes: &[LaneSnapshot]) {
    let services = Family::<ByService, Gauge>::default();
    for lane in lanes {
        for service in Service::ALL {
            let labels = ByService {
                lane: Arc::clone(&lane.name),
                service: service.label(),
            };
            let here = i64::from(service == lane.service);
            services.get_or_create(&labels).set(here);
        }
    }
    register(registry, &names::SERVICE, services);
}

/// Registers the calls that left a backend.
pub(super) fn register_fallbacks(registry: &mut Registry, counts: &[FallbackCount]) {
    let fallbacks = Family::<ByFallback, Counter>::default();
    for one in counts {
        let labels = ByFallback {
            model: Arc::clone(&one.model),
            lane: Arc::clone(&one.lane),
            kind: one.kind.label(),
        };
        fallbacks.get_or_create(&labels).inc_by(one.count);
    }
    register(registry, &names::FALLBACKS, fallbacks);
}

/// Registers the results of health checks.
pub(super) fn register_health(registry: &mut Registry, reports: &[HealthReport]) {
    let health = Family::<ByLane, Gauge>::default();
    for report in reports {
        if let Some(is_up) = report.up {
            let lane = report.lane.as_str().into();
            health.get_or_create(&ByLane { lane }).set(i64::from(is_up));
        }
    }
    register(registry, &names::HEALTH, health);
}

fn by_lane(lane: &LaneSnapshot) -> ByLane {
    ByLane {
        lane: Arc::clone(&lane.name),
    }
}
