//! The endpoints for operators and load balancers (health, readiness, metrics, state), and the list of models.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use kebne_accounts::AccountHealth;
use kebne_context::StoreHealth;
use kebne_monitor::GetAlerts;
use serde_json::json;

use crate::{
    function_events::FunctionEvents,
    http::{
        cache,
        visit::{Visit, respond},
    },
    metrics::{AgentReadings, JobReadings, Readings, RouteReadings},
    state::State,
    surface::error::ApiError,
};

/// `GET /healthz`: 200 while the process runs.
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: 200 while calls are accepted.
pub(super) async fn readyz(state: Data<State>) -> HttpResponse {
    let reason = if state.is_draining() || state.gateway.is_leaving() {
        "draining"
    } else if state.gateway.is_ready() {
        return HttpResponse::Ok().json(json!({"status": "ready"}));
    } else {
        "broken"
    };
    HttpResponse::ServiceUnavailable().json(json!({"status": reason}))
}

/// The time within which the monitor must answer; otherwise its alerts are missing in the metrics.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /metrics`: the Prometheus text format.
pub(super) async fn metrics(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let snapshot = state.gateway.snapshot().await;
    let settings = state.settings.get();
    let answers = state.gateway.answers().taken();
    let monitor = state.gateway.monitor();
    let alerts = monitor.ask(GetAlerts, MONITOR_TIMEOUT).await;
    let readings = Readings {
        alerts: alerts.ok().map(|alerts| alerts.active),
        bodies: (state.bodies.held(), settings.bodies_size_max.as_usize()),
        answers: (answers, settings.answers_size_max.as_usize()),
        is_store_up: state.context.health() == StoreHealth::Available,
        store_failures: state.context.store_failures(),
        cache: cache::readings(state),
        events: state.events.report(),
        function_events: state
            .function_events
            .get()
            .map(FunctionEvents::report)
            .unwrap_or_default(),
        consumed: state.consumed(),
        prompts: state.prompt_calls.all(),
        memory: (state.memory_counts(), state.recall.bytes()),
        routes: RouteReadings::from(state.routes.counts()),
        collections: state
            .live
            .collections()
            .map(|totals| (totals, state.collections.index_bytes())),
        jobs: JobReadings {
            totals: state.live.jobs(),
            counts: state.jobs.counts().all().collect(),
        },
        agents: AgentReadings {
            totals: state.live.agents(),
            tally: state.agents.counts().tally(),
        },
        mcp: state.mcp_readings(),
        tool_loops: state.tool_loops.all().collect(),
        inner_calls: state.gateway.inner_counts().all().collect(),
        inner_spent: (
            state.gateway.inner_counts().spent(),
            Arc::clone(state.gateway.prices().currency()),
        ),
        embedding: state.collections.progress(),
        reloads: state.reloader.status(),
        are_stores_up: [
            state.gateway.prompts().health().reason.is_none(),
            state.live.collections().is_some(),
            state.gateway.answer_cache().health().reason.is_none(),
        ],
        account_store: state.gateway.accounts().health(),
        tls: state
            .certificates
            .as_ref()
            .map(|tls| (tls.expires_at(), tls.handshakes_failed())),
        accounts: state.gateway.accounts().views(),
    };
    let text = state.metrics.text(&snapshot, &readings);
    let text = text.map_err(|_| ApiError::internal("the metrics cannot be written"))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, content_type))
        .body(text))
}

/// `GET /state`: the actor tree and the lanes.
pub(super) async fn show_state(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let snapshot = state.gateway.snapshot().await;
    Ok(HttpResponse::Ok().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": state.is_draining(),
        "uptime_seconds": state.started.elapsed().as_secs(),
        "actors": snapshot.actors,
        "actor_restarts": snapshot.restarts,
        "dead_letters": snapshot.dead_letters,
        "lanes": snapshot.lanes,
        "times": times(&visit),
        "fallbacks": snapshot.fallbacks,
        "health": snapshot.health,
        "servers": snapshot.servers,
        "shares": snapshot.shares,
        "sessions": session_store(&state.context.health(), state.live.sessions()),
        "memory": state.memory_counts(),
        "routes": json!({"decisions": state.routes.counts().decisions(), "waiting": state.routes.waiting()}),
        "collections": state.live.collections_sample(state.collections.index_bytes()),
        "jobs": jobs(&visit),
        "agents": agents(state),
        "embedding": state.collections.progress(),
        "settings": state.reloader.status(),
        "accounts": account_store(&state.gateway.accounts().health()),
        "cache": cache::shown(state),
        "events": state.events.report(),
        "function_events": state.function_events.get().map(FunctionEvents::report),
        "consume": state.consumed(),
        "mcp": state.mcp_servers(),
    })))
}

/// Returns the runs that the store of agents holds, those that go on in this process, and what became of runs since the start.
fn agents(state: &State) -> serde_json::Value {
    let totals = state.live.agents().map(|totals| {
        json!({"running": totals.running, "waiting": totals.waiting, "ended": totals.ended})
    });
    let (counts, tally) = (state.agents.counts(), state.agents.counts().tally());
    let ended: BTreeMap<&str, u64> = tally
        .ended
        .iter()
        .map(|(ending, count)| (ending.name(), *count))
        .collect();
    json!({
        "store": totals, "running_here": counts.running(),
        "since_start": {"started": tally.started, "steps": tally.steps, "calls": tally.calls, "decisions": tally.decisions, "ended": ended},
    })
}

/// Returns what the store of jobs holds, and what became of jobs since the start; `null` before the first job.
fn jobs(visit: &Visit) -> serde_json::Value {
    let jobs = &visit.state.jobs;
    if !jobs.exist() {
        return serde_json::Value::Null;
    }
    let counts = jobs.counts().all();
    let counts: BTreeMap<&str, u64> = counts
        .map(|(count, value)| (count.label(), value))
        .collect();
    json!({"store": visit.state.live.jobs(), "since_start": counts})
}

/// Returns of each lane how long its last answers took from sending the call, in milliseconds: until they began, if they were
/// streamed, and as a whole.
fn times(visit: &Visit) -> BTreeMap<String, serde_json::Value> {
    let state = &visit.state;
    let names = state.gateway.lane_names().into_iter();
    let times = names.map(|name| {
        let [first_token, whole] = state
            .tally
            .times(&name)
            .map(|times| times.map(|times| milliseconds(times.last)));
        let times = json!({"first_token_ms": first_token, "whole_ms": whole});
        (name, times)
    });
    times.collect()
}

fn milliseconds(time: Duration) -> f64 {
    // Tenths, because an answer may take less than one.
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn account_store(health: &AccountHealth) -> serde_json::Value {
    let store = match health.reason {
        None => "available",
        Some(_) => "unavailable",
    };
    json!({"store": store, "reason": health.reason, "failures": health.failures, "shared": health.shared})
}

fn session_store(health: &StoreHealth, count: Option<u64>) -> serde_json::Value {
    match health {
        StoreHealth::Available => json!({"store": "available", "count": count}),
        StoreHealth::Unavailable {
            reason,
            lasts,
            failures,
        } => json!({
            "store": "unavailable",
            "reason": reason,
            "for_seconds": lasts.as_secs_f64(),
            "failures": failures,
            "count": count,
        }),
    }
}

/// `GET /v1/models`.
pub(super) async fn models(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let mut models = state.gateway.models();
    models.retain(|name| visit.caller.may_call(name) && !state.gateway.is_mcp(name));
    let mut routes = state.routes.names();
    routes.retain(|name| {
        let route = state.routes.of(name);
        route.is_some_and(|route| visit.may_use(&route))
    });
    let names = models.iter().chain(&routes);
    let data: Vec<_> = names.map(|name| model_object(name)).collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{id}`.
pub(super) async fn model(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let model = visit.require_model(&name)?;
    Ok(HttpResponse::Ok().json(model_object(&model)))
}

/// Any other path.
pub(super) async fn no_such_path(http: HttpRequest) -> HttpResponse {
    let message = format!("there is no `{} {}`", http.method(), http.path());
    respond(&http, Err(ApiError::not_found(message)))
}

fn model_object(name: &str) -> serde_json::Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "kebne"})
}
