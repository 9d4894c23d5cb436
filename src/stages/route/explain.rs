//! Explains the decision of a route on a call, without calling the model.

use actix_web::{HttpResponse, web::Data};
use kebne_routing::{Look, Verdict};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    settings::server::Scope,
    stages::{
        Arrival, Call, Stage,
        admit::Admit,
        authenticate::Known,
        route::choose::{self, Choose, Chosen},
        shape::Shape,
    },
    state::State,
    surface::error::ApiError,
};

/// `POST /v1/route`: runs the stages of a call up to the choice of its model, and returns why it was chosen. The call is not counted, and
/// nothing of it is kept.
pub(crate) async fn explain(state: &Data<State>, arrival: Arrival) -> HttpResponse {
    let (surface, id) = (arrival.surface, std::sync::Arc::clone(&arrival.id));
    let explained = explained(state, arrival).await;
    explained.unwrap_or_else(|error| error.response(surface, &id, fastrand::f64()))
}

async fn explained(state: &Data<State>, arrival: Arrival) -> Result<HttpResponse, ApiError> {
    let caller = state.callers.of_headers(arrival.headers())?;
    caller.require(Scope::Call)?;
    let call = Call::of(state, &arrival);
    let known = Known {
        call,
        caller,
        arrival,
    };
    let admitted = Admit::new(state).run(known).await?;
    let shaped = Shape::new(state).run(admitted).await?;
    let Some(route) = state.routes.of(&shaped.model) else {
        return no_route(state, &shaped.model);
    };
    choose::require_some(&route, &shaped)?;
    let chosen = Box::pin(Choose::new(state).decide(&route, &shaped, true)).await?;
    let is_allowed = choose::require(&route, &shaped, &chosen).is_ok()
        && may_run(state, &shaped.caller, &chosen.note.target);
    let settings = route.settings();
    let memory = chosen.memory_of(&shaped);
    let asks = settings.ask_model.as_ref();
    let asks = asks.filter(|_| chosen.finding.is_unclear());
    let answer = json!({
        "object": "route.decision",
        "route": chosen.note.route,
        "rule": chosen.note.rule,
        "target": {"kind": chosen.kind, "model": chosen.target},
        "model": chosen.note.target,
        "canary": chosen.is_canary,
        "stay": chosen.is_stay,
        "shadow": chosen.shadow.as_ref().map(|shadow| &shadow.model),
        "allowed": is_allowed,
        "rules": rules(&chosen),
        "intent": intent(&chosen, (settings.intent_threshold, settings.intent_margin)),
        "would_ask": asks,
        "session": memory,
        "took_ms": millis(chosen.took),
        "took_without_waiting_ms": millis(chosen.took.saturating_sub(chosen.waited)),
    });
    Ok(HttpResponse::Ok().json(answer))
}

/// Returns the answer for a model that is no route.
fn no_route(state: &State, name: &str) -> Result<HttpResponse, ApiError> {
    if state.gateway.canonical(name).is_none() {
        return Err(ApiError::unknown_model(name));
    }
    let message = format!("`{name}` is a model, not a route");
    Err(ApiError::bad_request(Some("model"), message))
}

/// Returns `true` if a key may call the model of an agent of the settings, so that it can run it; also for what is not an agent.
fn may_run(state: &State, caller: &Caller, agent: &str) -> bool {
    let Some(spec) = state.agent_specs.of(agent) else {
        return true;
    };
    if let Some(route) = state.routes.of(&spec.model) {
        let mut models = route.router().models();
        return caller.may_call(&spec.model) || models.any(|model| caller.may_call(model));
    }
    let model = state.gateway.canonical(&spec.model);
    model.is_none_or(|model| caller.may_call(&model))
}

fn rules(chosen: &Chosen) -> Vec<Value> {
    let looks = chosen.looks.iter().map(|(rule, look)| match look {
        Look::Unmet(unmet) => {
            json!({"rule": rule, "matches": false, "why_not": unmet.to_string()})
        }
        Look::Matches => json!({"rule": rule, "matches": true}),
        Look::Stays => json!({"rule": rule, "matches": true, "stay": true}),
    });
    looks.collect()
}

fn intent(chosen: &Chosen, (threshold, margin): (f64, f64)) -> Value {
    let finding = &chosen.finding;
    let nearest = finding.nearest.iter().map(|one| {
        let similarity = (f64::from(one.similarity) * 1000.0).round() / 1000.0;
        json!({"intent": one.intent, "similarity": similarity})
    });
    let found = Verdict::margin(&finding.nearest);
    json!({
        "outcome": finding.outcome.label(),
        "intent": finding.intent.name(),
        "similarities": nearest.collect::<Vec<_>>(),
        "threshold": threshold,
        "margin": found.map(|found| (found * 1000.0).round() / 1000.0),
        "margin_needed": margin,
        "problem": finding.problem,
    })
}

/// Returns milliseconds with three digits after the point.
fn millis(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
