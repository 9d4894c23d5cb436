//! The events of an ended call, from its record.

use std::time::Duration;

use kebne_events::{CallCost, CallEnded, Data, GuardVerdict, RouteDecided};
use kebne_guard::Hit;

use crate::record::CallRecord;

/// The types of the events of a call, for those that are only counted.
const ROUTE_DECIDED: &str = "route.decided";
const GUARD_VERDICT: &str = "guard.verdict";
const CALL_ENDED: &str = "call.ended";
const CALL_COST: &str = "call.cost";

/// Returns the types of the events of a call, without the events.
pub(super) fn kinds(record: &CallRecord) -> impl Iterator<Item = &'static str> {
    let route = record.route.as_ref().map(|_| ROUTE_DECIDED);
    let verdicts = record.hits.iter().map(|_| GUARD_VERDICT);
    let cost = record.consumed.cost.map(|_| CALL_COST);
    route
        .into_iter()
        .chain(verdicts)
        .chain([CALL_ENDED])
        .chain(cost)
}

/// Returns the events of a call in the order in which they happened.
pub(super) fn events(record: &CallRecord, currency: &str) -> Vec<Data> {
    let mut events = Vec::with_capacity(2);
    events.extend(route(record));
    events.extend(record.hits.iter().map(|hit| verdict(record, hit)));
    events.push(Data::CallEnded(Box::new(ended(record))));
    events.extend(cost(record, currency));
    events
}

fn route(record: &CallRecord) -> Option<Data> {
    let note = record.route.as_ref()?;
    Some(Data::RouteDecided(RouteDecided {
        request: record.id.to_string(),
        route: note.route.clone(),
        rule: note.rule.clone(),
        model: note.target.clone(),
    }))
}

fn verdict(record: &CallRecord, hit: &Hit) -> Data {
    Data::GuardVerdict(GuardVerdict {
        request: record.id.to_string(),
        model: record.model.clone(),
        side: hit.side.name().to_owned(),
        guard: hit.guard.to_string(),
        rule: hit.rule.to_string(),
        action: hit.action.name().to_owned(),
    })
}

fn cost(record: &CallRecord, currency: &str) -> Option<Data> {
    let cost = record.consumed.cost?;
    Some(Data::CallCost(CallCost {
        request: record.id.to_string(),
        key: record.key.clone(),
        model: record.model.clone(),
        lane: record.lane().to_owned(),
        tokens: record.consumed.tokens,
        cost_nano: cost.nano(),
        currency: currency.to_owned(),
        estimated: record.consumed.is_estimated,
    }))
}

fn ended(record: &CallRecord) -> CallEnded {
    CallEnded {
        request: record.id.to_string(),
        key: record.key.clone(),
        surface: record.surface.to_owned(),
        operation: record.operation.to_owned(),
        model: record.model.clone(),
        lane: record.lane().to_owned(),
        streamed: record.is_streamed,
        ending: record.ending.label().to_owned(),
        reason: record.reason.to_owned(),
        status: record.status.map(u64::from),
        attempts: u64::try_from(record.attempts()).unwrap_or(u64::MAX),
        duration_ms: milliseconds(record.total()),
        queued_ms: milliseconds(record.trail.queued),
        cold_ms: milliseconds(record.trail.cold),
        first_token_ms: record.first_token().map(milliseconds),
        input_tokens: record.usage.input,
        cached_tokens: record.usage.cached,
        output_tokens: record.usage.output,
        cache: record.cache.map(|note| note.outcome.label().to_owned()),
    }
}

/// Returns a time in milliseconds, rounded to thousandths.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use kebne_lane::Ending;

    use super::*;
    use crate::{metrics::tests::record, record::RouteNote};

    #[test]
    fn events_that_are_only_counted_are_the_same_ones() {
        let plain = record(Ending::Success, None);
        let mut routed = plain.clone();
        routed.route = Some(RouteNote {
            route: "support".to_owned(),
            rule: "refund".to_owned(),
            target: "m".to_owned(),
        });
        routed.consumed.cost = None;
        routed.hits.clear();
        let mut guarded = plain.clone();
        guarded.hits.extend(plain.hits.clone());
        for record in [plain, routed, guarded] {
            let made = events(&record, "EUR");
            let made: Vec<&str> = made.iter().map(Data::kind).collect();
            assert_eq!(kinds(&record).collect::<Vec<_>>(), made);
        }
    }
}
