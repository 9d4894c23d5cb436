//! Jobs: how many there are in each state, and what became of them.

use kebne_jobs::{Count, State, Totals};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    metrics::{
        Level,
        labels::{ByEvent, ByStatus},
        names, real, register,
    },
    unix_time,
};

/// What is known of jobs.
#[derive(Clone, Debug, Default)]
pub struct JobReadings {
    /// What the store holds; `None` if it could not be counted last.
    pub totals: Option<Totals>,
    /// What became of jobs since the start.
    pub counts: Vec<(Count, u64)>,
}

/// Registers the metrics of jobs.
pub(super) fn register_all(registry: &mut Registry, readings: &JobReadings) {
    let events = Family::<ByEvent, Counter>::default();
    for (count, value) in &readings.counts {
        let event = count.label();
        events.get_or_create(&ByEvent { event }).inc_by(*value);
    }
    register(registry, &names::JOB_EVENTS, events);
    let up = Level::default();
    up.set(f64::from(u8::from(readings.totals.is_some())));
    register(registry, &names::JOB_STORE_UP, up);
    let Some(totals) = &readings.totals else {
        return;
    };
    let jobs = Family::<ByStatus, Level>::default();
    for state in State::ALL {
        let status = state.name();
        let count = totals.jobs.get(status).copied().unwrap_or(0);
        jobs.get_or_create(&ByStatus { status }).set(real(count));
    }
    register(registry, &names::JOBS, jobs);
    let oldest = totals.oldest_queued;
    let waits = oldest.map_or(0, |since| unix_time::millis().saturating_sub(since));
    for (metric, value) in [
        (&names::JOB_BYTES, real(totals.bytes)),
        (&names::JOB_NOTICES, real(totals.notices)),
        (&names::JOB_WAIT, real(waits) / 1000.0),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
}
