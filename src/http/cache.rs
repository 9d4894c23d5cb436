//! The kept answers: what there is, and how it is erased.

use actix_web::HttpResponse;
use kebne_answer_cache::{Count, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{http::visit::Visit, metrics::CacheReadings, state::State, surface::error::ApiError};

/// Nothing can be chosen: the counts are those of the caller's tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Of whom an operator wants the counts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedTenant {
    /// Those of this tenant.
    tenant: Option<String>,
}

/// Which answers are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    /// Those of this model, by its own name.
    model: Option<String>,
}

/// Which answers an operator means.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedOfAll {
    /// Those of this tenant.
    tenant: Option<String>,
    model: Option<String>,
}

/// `GET /v1/cache`: the counts of the caller's tenant.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let Nothing {} = visit.query()?;
    let owner = visit.owner().to_owned();
    let counts = visit.state.cache.store.counts(Some(owner)).await?;
    Ok(HttpResponse::Ok().json(listed(&counts)))
}

/// `DELETE /v1/cache`: erases what is kept for the caller's tenant, of one model or of all.
pub(super) async fn erase(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted: Wanted = visit.query()?;
    let scope = Scope {
        owner: Some(visit.owner().to_owned()),
        model: own_name(&visit.state, wanted.model),
    };
    erased(&visit.state, scope).await
}

/// `GET /admin/v1/cache`: the counts of all tenants, or of one.
pub(super) async fn list_all(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted: WantedTenant = visit.query()?;
    let counts = visit.state.cache.store.counts(wanted.tenant).await?;
    Ok(HttpResponse::Ok().json(listed(&counts)))
}

/// `DELETE /admin/v1/cache`: erases what is kept, of one tenant, of one model, or all.
pub(super) async fn erase_all(visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted: WantedOfAll = visit.query()?;
    let scope = Scope {
        owner: wanted.tenant,
        model: own_name(&visit.state, wanted.model),
    };
    erased(&visit.state, scope).await
}

/// Returns the own name of a model; a model that is gone may still have answers.
fn own_name(state: &State, model: Option<String>) -> Option<String> {
    let model = model?;
    let own = state.gateway.canonical(&model);
    let own = own.map(|own| own.as_str().to_owned());
    Some(own.unwrap_or(model))
}

async fn erased(state: &State, scope: Scope) -> Result<HttpResponse, ApiError> {
    state.cache.erasing();
    let erased = state.cache.store.erase(scope).await?;
    Ok(HttpResponse::Ok()
        .json(json!({"object": "cache.erased", "entries": erased.entries, "bytes": erased.bytes})))
}

fn listed(counts: &[Count]) -> Value {
    let entries: u64 = counts.iter().map(|count| count.entries).sum();
    let bytes: u64 = counts.iter().map(|count| count.bytes).sum();
    json!({"object": "list", "data": counts, "entries": entries, "bytes": bytes})
}

/// Returns what the metrics show.
pub(super) fn readings(state: &State) -> CacheReadings {
    CacheReadings {
        models: state.cache.counts.all(),
        health: state.cache.store.health(),
        flights: state.cache.flights.len(),
        currency: state.gateway.prices().currency().clone(),
    }
}

/// Returns what `/state` shows.
pub(super) fn shown(state: &State) -> Value {
    let readings = readings(state);
    let store = match readings.health.reason {
        None => "available",
        Some(_) => "unavailable",
    };
    json!({"store": store, "health": readings.health, "flights": readings.flights, "models": readings.models})
}
