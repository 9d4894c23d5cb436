//! The metrics of events.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    events::EventReport,
    function_events::FunctionEventReport,
    metrics::{Level, names, real, register},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByType {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFunction {
    function: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFunctionAndResult {
    function: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// Registers what was emitted; nothing if no events are.
pub(super) fn register_all(registry: &mut Registry, report: &EventReport) {
    if !report.enabled {
        return;
    }
    let emitted = Family::<ByType, Counter>::default();
    for (kind, count) in &report.emitted {
        emitted
            .get_or_create(&ByType { r#type: kind })
            .inc_by(*count);
    }
    register(registry, &names::EVENTS, emitted);
    let lost = Family::<ByReason, Counter>::default();
    let mut losses = vec![("queue", report.lost)];
    if let Some(bus) = &report.bus {
        losses.extend([
            ("outbox_full", bus.dropped),
            ("outbox_failed", bus.failed),
            ("refused", bus.relayed.refused),
        ]);
    }
    for (reason, count) in losses {
        lost.get_or_create(&ByReason { reason }).inc_by(count);
    }
    register(registry, &names::EVENTS_LOST, lost);
    let Some(bus) = &report.bus else {
        return;
    };
    let published = bus.relayed.published + bus.relayed.duplicates;
    for (metric, count) in [
        (&names::EVENTS_PUBLISHED, published),
        (&names::EVENT_BUS_FAILURES, bus.relayed.failures),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        register(registry, metric, counter);
    }
    let is_up = u8::from(bus.relayed.reason.is_none());
    for (metric, value) in [
        (&names::EVENTS_WAITING, real(bus.waiting)),
        (&names::EVENT_BUS_UP, f64::from(is_up)),
    ] {
        let level = Level::default();
        level.set(value);
        register(registry, metric, level);
    }
}

/// Registers what happened to the events of functions; nothing if none gets events.
pub(super) fn register_functions(registry: &mut Registry, reports: &[FunctionEventReport]) {
    if reports.is_empty() {
        return;
    }
    let results = Family::<ByFunctionAndResult, Counter>::default();
    let waiting = Family::<ByFunction, Level>::default();
    for report in reports {
        for (result, count) in [
            ("delivered", report.delivered),
            ("failed", report.failures),
            ("dead", report.dead),
            ("lost", report.dropped + report.failed),
        ] {
            let function = report.function.clone();
            let labels = ByFunctionAndResult { function, result };
            results.get_or_create(&labels).inc_by(count);
        }
        let function = report.function.clone();
        let level = waiting.get_or_create(&ByFunction { function }).clone();
        level.set(real(report.waiting));
    }
    register(registry, &names::FUNCTION_EVENTS, results);
    register(registry, &names::FUNCTION_EVENTS_WAITING, waiting);
}

/// Registers what was taken from a broker.
pub(super) fn register_consumed(registry: &mut Registry, consumed: &serde_json::Value) {
    if consumed.is_null() {
        return;
    }
    let family = Family::<ByResult, Counter>::default();
    for (result, key) in [
        ("taken", "taken"),
        ("answered", "answered"),
        ("duplicate", "duplicates"),
        ("dead_letter", "dead_letters"),
        ("put_off", "put_off"),
    ] {
        let count = consumed[key].as_u64().unwrap_or_default();
        family.get_or_create(&ByResult { result }).inc_by(count);
    }
    register(registry, &names::CONSUMED, family);
}
