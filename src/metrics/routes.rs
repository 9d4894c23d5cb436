//! The metrics of routes.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::{
    metrics::{names, register},
    routes::{Counts, DecisionCount, IntentCount, ShadowCount},
};

/// What routes have decided since the start.
#[derive(Clone, Debug, Default)]
pub struct RouteReadings {
    decisions: Vec<DecisionCount>,
    intents: Vec<IntentCount>,
    shadows: Vec<ShadowCount>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDecision {
    route: String,
    rule: String,
    target: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    route: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByShadow {
    route: String,
    model: String,
    ending: &'static str,
}

impl From<&Counts> for RouteReadings {
    fn from(counts: &Counts) -> Self {
        Self {
            decisions: counts.decisions(),
            intents: counts.intents(),
            shadows: counts.shadows(),
        }
    }
}

/// Registers what routes have decided.
pub(super) fn register_all(registry: &mut Registry, readings: &RouteReadings) {
    let decisions = Family::<ByDecision, Counter>::default();
    for one in readings.decisions.iter().cloned() {
        let labels = ByDecision {
            route: one.route,
            rule: one.rule,
            target: one.target,
        };
        decisions.get_or_create(&labels).inc_by(one.count);
    }
    register(registry, &names::ROUTE_DECISIONS, decisions);
    let intents = Family::<ByOutcome, Counter>::default();
    for one in readings.intents.iter().cloned() {
        let labels = ByOutcome {
            route: one.route,
            outcome: one.outcome.label(),
        };
        intents.get_or_create(&labels).inc_by(one.count);
    }
    register(registry, &names::ROUTE_INTENTS, intents);
    let (shadows, tokens) = (Family::<ByShadow, Counter>::default(), Family::default());
    let seconds = Family::<ByShadow, Counter<f64, AtomicU64>>::default();
    for one in readings.shadows.iter().cloned() {
        let labels = ByShadow {
            route: one.route,
            model: one.model,
            ending: one.ending,
        };
        shadows.get_or_create(&labels).inc_by(one.count);
        seconds
            .get_or_create(&labels)
            .inc_by(one.time.as_secs_f64());
        let tokens: &Family<ByShadow, Counter> = &tokens;
        tokens.get_or_create(&labels).inc_by(one.tokens);
    }
    register(registry, &names::ROUTE_SHADOWS, shadows);
    register(registry, &names::ROUTE_SHADOW_SECONDS, seconds);
    register(registry, &names::ROUTE_SHADOW_TOKENS, tokens);
}
