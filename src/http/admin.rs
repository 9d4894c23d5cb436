//! The endpoints for operators and load balancers (health, readiness, metrics, state), and the list of models.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Path},
};
use kebne_context::StoreHealth;
use kebne_lane::Prewarm;
use serde_json::json;

use crate::{
    gateway::GatewayError,
    http::request_id,
    settings::server::Scope,
    stages::caller,
    state::State,
    surface::{self, error::ApiError},
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

/// `GET /metrics`: the Prometheus text format.
pub(super) async fn metrics(http: HttpRequest, state: Data<State>) -> HttpResponse {
    let keys = &state.settings.keys;
    if let Err(error) = caller::with_scope(http.headers(), keys, Scope::ReadState) {
        return respond(&http, Err(error));
    }
    let snapshot = state.gateway.snapshot().await;
    state.metrics.set_body_bytes(state.bodies.held());
    let is_up = state.context.health() == StoreHealth::Available;
    let failures = state.context.store_failures();
    state.metrics.set_store(is_up, failures);
    match state.metrics.text(&snapshot) {
        Ok(text) => HttpResponse::Ok()
            .insert_header((
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ))
            .body(text),
        Err(_) => respond(
            &http,
            Err(ApiError::internal("the metrics cannot be written")),
        ),
    }
}

/// `GET /state`: the actor tree and the lanes.
pub(super) async fn show_state(http: HttpRequest, state: Data<State>) -> HttpResponse {
    let keys = &state.settings.keys;
    if let Err(error) = caller::with_scope(http.headers(), keys, Scope::ReadState) {
        return respond(&http, Err(error));
    }
    let snapshot = state.gateway.snapshot().await;
    HttpResponse::Ok().json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": state.is_draining(),
        "uptime_seconds": state.started.elapsed().as_secs(),
        "actors": snapshot.actors,
        "dead_letters": snapshot.dead_letters,
        "lanes": snapshot.lanes,
        "sessions": session_store(&state.context.health()),
    }))
}

fn session_store(health: &StoreHealth) -> serde_json::Value {
    match health {
        StoreHealth::Available => json!({"store": "available"}),
        StoreHealth::Unavailable {
            reason,
            lasts,
            failures,
        } => json!({
            "store": "unavailable",
            "reason": reason,
            "for_seconds": lasts.as_secs_f64(),
            "failures": failures,
        }),
    }
}

/// `POST /backends/{name}/prewarm`: wakes a backend before any caller asks. Answers 202 if a wake call is sent or in
/// progress, and 200 if the backend already serves. The result of the wake call is in `/state` and in the metrics.
pub(super) async fn prewarm(
    http: HttpRequest,
    name: Path<String>,
    state: Data<State>,
) -> HttpResponse {
    let keys = &state.settings.keys;
    let result = match caller::with_scope(http.headers(), keys, Scope::Admin) {
        Ok(_) => wake(&name, &state).await,
        Err(error) => Err(error),
    };
    respond(&http, result)
}

/// `POST /backends/{name}/close`: takes a backend out of service. Calls in flight continue.
pub(super) async fn close(
    http: HttpRequest,
    name: Path<String>,
    state: Data<State>,
) -> HttpResponse {
    let keys = &state.settings.keys;
    let result = match caller::with_scope(http.headers(), keys, Scope::Admin) {
        Ok(_) => state.gateway.close(&name).await.map(|_| "closed"),
        Err(error) => return respond(&http, Err(error)),
    };
    respond(&http, lane_answer(&name, result))
}

/// `POST /backends/{name}/reopen`: puts a backend back into service after its lane was closed, because its limit of
/// restarts was exceeded or because an operator closed it. The lane gets new actors and keeps what it learned.
pub(super) async fn reopen(
    http: HttpRequest,
    name: Path<String>,
    state: Data<State>,
) -> HttpResponse {
    let keys = &state.settings.keys;
    let result = match caller::with_scope(http.headers(), keys, Scope::Admin) {
        Ok(_) => state.gateway.reopen(&name).await.map(|_| "open"),
        Err(error) => return respond(&http, Err(error)),
    };
    respond(&http, lane_answer(&name, result))
}

fn lane_answer(
    name: &str,
    result: Result<&'static str, GatewayError>,
) -> Result<HttpResponse, ApiError> {
    let lane = result.map_err(|error| ApiError::from_gateway(&error))?;
    Ok(HttpResponse::Ok().json(json!({"backend": name, "lane": lane})))
}

async fn wake(name: &str, state: &State) -> Result<HttpResponse, ApiError> {
    let woken = state.gateway.prewarm(name).await;
    let (woken, lane) = woken.map_err(|error| ApiError::from_gateway(&error))?;
    let (mut response, result) = match woken {
        Prewarm::Sent => (HttpResponse::Accepted(), "sent"),
        Prewarm::Joined => (HttpResponse::Accepted(), "joined"),
        Prewarm::Awake => (HttpResponse::Ok(), "awake"),
    };
    let body = json!({"backend": name, "prewarm": result, "state": lane.label()});
    Ok(response.json(body))
}

/// `GET /v1/models`.
pub(super) async fn models(http: HttpRequest, state: Data<State>) -> HttpResponse {
    let listed = caller::of(http.headers(), &state.settings.keys).map(|caller| {
        let models = state.gateway.models().iter();
        let models = models.filter(|name| caller.may_call(name));
        let data: Vec<_> = models.map(|name| model_object(name)).collect();
        HttpResponse::Ok().json(json!({"object": "list", "data": data}))
    });
    respond(&http, listed)
}

/// `GET /v1/models/{id}`.
pub(super) async fn model(
    http: HttpRequest,
    name: Path<String>,
    state: Data<State>,
) -> HttpResponse {
    let found = caller::of(http.headers(), &state.settings.keys).and_then(|caller| {
        let model = state.gateway.canonical(&name);
        let model = model.ok_or_else(|| ApiError::unknown_model(&name))?;
        caller.require_model(model)?;
        Ok(HttpResponse::Ok().json(model_object(model)))
    });
    respond(&http, found)
}

/// Any other path.
pub(super) async fn no_such_path(http: HttpRequest) -> HttpResponse {
    let message = format!("there is no `{} {}`", http.method(), http.path());
    respond(&http, Err(ApiError::not_found(message)))
}

/// Returns the response, or the response of the error.
pub(super) fn respond(http: &HttpRequest, result: Result<HttpResponse, ApiError>) -> HttpResponse {
    result.unwrap_or_else(|error| {
        let id = request_id::of(http);
        if let Some(detail) = error.detail() {
            tracing::warn!(request = %id, reason = error.reason(), detail, "a request failed");
        }
        let surface = surface::of_path(http.path());
        error.response(surface, &id, fastrand::f64())
    })
}

fn model_object(name: &str) -> serde_json::Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "kebne"})
}
