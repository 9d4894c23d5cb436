//! The metrics of the cache of answers.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use kebne_answer_cache::Health;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    answer_cache::ModelCounts,
    metrics::{
        Level,
        labels::{ByModel, CacheCost, CacheDifference, CacheReason, CacheResult},
        names, real, register,
    },
};

/// What is known of the cache when the metrics are written.
#[derive(Clone, Debug, Default)]
pub struct CacheReadings {
    /// The counts by model.
    pub models: BTreeMap<Arc<str>, ModelCounts>,
    /// The state of the store.
    pub health: Health,
    /// Calls that can be shared.
    pub flights: usize,
    /// The currency of all costs.
    pub currency: Arc<str>,
}

/// Registers all metrics of the cache.
pub(super) fn register_all(registry: &mut Registry, readings: &CacheReadings) {
    calls(registry, readings);
    let explorations = Family::<CacheResult, Counter>::default();
    let ruled_out = Family::<CacheDifference, Counter>::default();
    for (model, counts) in &readings.models {
        for (result, count) in &counts.explorations {
            let (model, result) = (Arc::clone(model), *result);
            let labels = CacheResult { model, result };
            explorations.get_or_create(&labels).inc_by(*count);
        }
        for (difference, count) in &counts.ruled_out {
            let (model, difference) = (Arc::clone(model), *difference);
            let labels = CacheDifference { model, difference };
            ruled_out.get_or_create(&labels).inc_by(*count);
        }
    }
    register(registry, &names::CACHE_EXPLORATIONS, explorations);
    register(registry, &names::CACHE_RULED_OUT, ruled_out);
    let totals = readings.health.totals;
    for (metric, value) in [
        (&names::CACHE_ENTRIES, real(totals.entries)),
        (&names::CACHE_BYTES, real(totals.bytes)),
        (&names::CACHE_FLIGHTS, real(readings.flights)),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
    for (metric, value) in [
        (&names::CACHE_EVICTIONS, totals.evicted),
        (&names::CACHE_FAILURES, readings.health.failures),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        register(registry, metric, counter);
    }
}

/// Registers what happened to calls, and what they saved.
fn calls(registry: &mut Registry, readings: &CacheReadings) {
    let calls = Family::<CacheResult, Counter>::default();
    let bypasses = Family::<CacheReason, Counter>::default();
    let tokens = Family::<ByModel, Counter>::default();
    let cost = Family::<CacheCost, Counter<f64, AtomicU64>>::default();
    for (model, counts) in &readings.models {
        for (result, count) in &counts.calls {
            let (model, result) = (Arc::clone(model), *result);
            calls
                .get_or_create(&CacheResult { model, result })
                .inc_by(*count);
        }
        for (reason, count) in &counts.bypasses {
            let (model, reason) = (Arc::clone(model), *reason);
            let labels = CacheReason { model, reason };
            bypasses.get_or_create(&labels).inc_by(*count);
        }
        let by_model = ByModel {
            model: Arc::clone(model),
        };
        tokens.get_or_create(&by_model).inc_by(counts.saved_tokens);
        let by_cost = CacheCost {
            model: Arc::clone(model),
            currency: Arc::clone(&readings.currency),
        };
        cost.get_or_create(&by_cost)
            .inc_by(counts.saved_cost.units());
    }
    register(registry, &names::CACHE_CALLS, calls);
    register(registry, &names::CACHE_BYPASSES, bypasses);
    register(registry, &names::CACHE_SAVED_TOKENS, tokens);
    register(registry, &names::CACHE_SAVED_COST, cost);
}
