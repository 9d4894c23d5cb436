//! The operations on backends: what they are doing, and taking them out of service and back.
//!
//! They are found under `/admin/v1/backends`. Those under `/backends` are the same with the answers of earlier versions.

use actix_web::HttpResponse;
use kebne_lane::{LaneSnapshot, Prewarm, Service};
use serde_json::{Value, json};

use crate::{
    decisions::{Action, Book},
    gateway::HealthReport,
    http::visit::Visit,
    surface::error::ApiError,
};

/// `GET /admin/v1/backends`: the backends in the order of the settings.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let snapshot = visit.state.gateway.snapshot().await;
    let lanes = snapshot.lanes.iter();
    let book = book(&visit).await;
    let data = lanes.map(|lane| {
        let mut checks = snapshot.health.iter();
        object(lane, checks.find(|one| *one.lane == *lane.name), &book)
    });
    let data: Vec<_> = data.collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /admin/v1/backends/{name}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    answer(&visit, &name).await
}

/// `POST /admin/v1/backends/{name}/drain`: new calls go to the other backends of their model, or are refused. Calls that were
/// admitted are served.
pub(super) async fn drain(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    decide(&visit, &name, Action::Drain).await?;
    answer(&visit, &name).await
}

/// `POST /admin/v1/backends/{name}/disable`: as `drain`, and the calls that wait are refused or go elsewhere too. Attempts in
/// flight continue.
pub(super) async fn disable(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    decide(&visit, &name, Action::Disable).await?;
    answer(&visit, &name).await
}

/// `POST /admin/v1/backends/{name}/reopen`: puts a backend back into service that was drained, disabled, or closed because
/// its limit of restarts was exceeded.
pub(super) async fn enable(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    decide(&visit, &name, Action::Reopen).await?;
    answer(&visit, &name).await
}

/// Does to a backend what the caller decides, and keeps it.
async fn decide(visit: &Visit, name: &str, action: Action) -> Result<(), ApiError> {
    let gateway = &visit.state.gateway;
    let decided = gateway.decide(name, action, &visit.caller.name).await;
    decided.map_err(|error| ApiError::from_gateway(&error))
}

/// `GET /admin/v1/decisions`: what operators have decided about backends, the newest first.
pub(super) async fn decisions(visit: Visit) -> Result<HttpResponse, ApiError> {
    let data: Vec<_> = book(&visit).await.recent.into_iter().rev().collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// Returns what operators have decided; nothing if the journal cannot be read, which is logged.
async fn book(visit: &Visit) -> Book {
    let book = visit.state.gateway.decisions().await;
    book.unwrap_or_else(|error| {
        tracing::warn!(%error, "what operators decided cannot be read");
        Book::default()
    })
}

/// `GET /admin/v1/servers`: the servers that the gateway starts and stops.
pub(super) async fn servers(visit: Visit) -> Result<HttpResponse, ApiError> {
    let data = visit.state.gateway.servers().await;
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `POST /admin/v1/backends/{name}/load`: has the server of a backend loaded as soon as there is room. Answers 202.
pub(super) async fn load(visit: Visit) -> Result<HttpResponse, ApiError> {
    operate(&visit, true)
}

/// `POST /admin/v1/backends/{name}/unload`: has the server of a backend stopped when its last call has ended. It is started
/// again when a call waits for it. Answers 202.
pub(super) async fn unload(visit: Visit) -> Result<HttpResponse, ApiError> {
    operate(&visit, false)
}

fn operate(visit: &Visit, is_loaded: bool) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let done = visit.state.gateway.operate_server(&name, is_loaded);
    done.map_err(|error| ApiError::from_gateway(&error))?;
    Ok(HttpResponse::Accepted().json(json!({"object": "server", "name": name})))
}

/// Answers with the state of a backend.
async fn answer(visit: &Visit, name: &str) -> Result<HttpResponse, ApiError> {
    let snapshot = visit.state.gateway.backend_snapshot(name).await;
    let (lane, health) = snapshot.map_err(|error| ApiError::from_gateway(&error))?;
    let book = book(visit).await;
    Ok(HttpResponse::Ok().json(object(&lane, health.as_ref(), &book)))
}

/// Returns a backend as an object of the API.
fn object(lane: &LaneSnapshot, health: Option<&HealthReport>, book: &Book) -> Value {
    json!({
        "object": "backend",
        "name": lane.name,
        "service": lane.service,
        "reason": lane.closed,
        "decided": book.in_force.get(&*lane.name),
        "state": lane.state.label(),
        "stale": lane.stale,
        "age_ms": lane.age_ms,
        "live": lane.live,
        "queued": lane.pool.queued,
        "in_flight": lane.pool.in_flight,
        "limit": lane.controller.grant.concurrency,
        "ready_in_ms": lane.ready_in_ms,
        "last_failure": lane.last_failure,
        "health": health,
    })
}

/// `POST /backends/{name}/prewarm`: wakes a backend before any caller asks. Answers 202 if a wake call is sent or in
/// progress, and 200 if the backend already serves. The result of the wake call is in `/state` and in the metrics.
pub(super) async fn prewarm(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let woken = visit.state.gateway.prewarm(&name).await;
    let (woken, lane) = woken.map_err(|error| ApiError::from_gateway(&error))?;
    let (mut response, result) = match woken {
        Prewarm::Sent => (HttpResponse::Accepted(), "sent"),
        Prewarm::Joined => (HttpResponse::Accepted(), "joined"),
        Prewarm::Awake => (HttpResponse::Ok(), "awake"),
    };
    let body = json!({"backend": name, "prewarm": result, "state": lane.label()});
    Ok(response.json(body))
}

/// `POST /backends/{name}/close`.
pub(super) async fn close(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    decide(&visit, &name, Action::Disable).await?;
    Ok(lane_answer(&name, Service::Closed))
}

/// `POST /backends/{name}/reopen`.
pub(super) async fn reopen(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    decide(&visit, &name, Action::Reopen).await?;
    Ok(lane_answer(&name, Service::Open))
}

fn lane_answer(name: &str, lane: Service) -> HttpResponse {
    HttpResponse::Ok().json(json!({"backend": name, "lane": lane}))
}
