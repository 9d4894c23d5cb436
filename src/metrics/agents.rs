//! Agents: their runs in each state, and what became of them.

use kebne_agents::{Tally, Totals};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::metrics::{
    Level,
    labels::{ByEvent, ByStatus},
    names, real, register,
};

/// What is known of agents.
#[derive(Clone, Debug, Default)]
pub struct AgentReadings {
    /// The runs that the store holds; `None` if they could not be counted last.
    pub totals: Option<Totals>,
    /// What was counted since the start.
    pub tally: Tally,
}

/// Registers the metrics of agents.
pub(super) fn register_all(registry: &mut Registry, readings: &AgentReadings) {
    let events = Family::<ByEvent, Counter>::default();
    let tally = &readings.tally;
    let ended = tally.ended.iter();
    let calls = tally.calls.iter().map(|(outcome, count)| {
        let event = match *outcome {
            "done" => "call_done",
            "failed" => "call_failed",
            "denied" => "call_denied",
            _ => "call_unknown",
        };
        (event, *count)
    });
    let counted = [
        ("started", tally.started),
        ("step", tally.steps),
        ("decided", tally.decisions),
    ];
    let counted = counted
        .into_iter()
        .chain(ended.map(|(ending, count)| (ending.name(), *count)))
        .chain(calls);
    for (event, count) in counted {
        events.get_or_create(&ByEvent { event }).inc_by(count);
    }
    register(registry, &names::AGENT_EVENTS, events);
    let up = Level::default();
    up.set(f64::from(u8::from(readings.totals.is_some())));
    register(registry, &names::AGENT_STORE_UP, up);
    let Some(totals) = &readings.totals else {
        return;
    };
    let runs = Family::<ByStatus, Level>::default();
    for (status, count) in [
        ("running", totals.running),
        ("waiting", totals.waiting),
        ("ended", totals.ended),
    ] {
        runs.get_or_create(&ByStatus { status }).set(real(count));
    }
    register(registry, &names::AGENT_RUNS, runs);
}
