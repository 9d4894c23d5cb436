//! `/v1/vector_stores`.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use kebne_collections::{
    Collection, CollectionChange, CollectionDetails, MemberDetails, Page, Thing,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    ListQuery, body_of,
    fields::{self, ChunkingStrategy, ExpiresAfter},
    listed,
};
use crate::{
    http::{list_query, visit::Visit},
    surface::error::ApiError,
};

/// Days in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// The files that can be named when a vector store is created.
const FILES_MAX: usize = 500;

#[derive(Debug, Deserialize)]
struct NewStore {
    name: Option<String>,
    description: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    expires_after: Option<ExpiresAfter>,
    chunking_strategy: Option<ChunkingStrategy>,
    file_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "given")]
    expires_after: Option<Value>,
}

/// Reads a field that is present; `null` removes the value.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(field).map(Some)
}

/// `POST /v1/vector_stores`.
pub(in crate::http) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let wanted: NewStore = body_of(&mut visit).await?;
    let rules = fields::rules(wanted.chunking_strategy.as_ref())?;
    let details = CollectionDetails {
        name: fields::text("name", wanted.name)?.unwrap_or_default(),
        description: fields::text("description", wanted.description)?,
        metadata: fields::metadata(wanted.metadata)?.unwrap_or_default(),
    };
    let days = wanted.expires_after.map(|after| after.days()).transpose()?;
    let files = wanted.file_ids.unwrap_or_default();
    if files.len() > FILES_MAX {
        let message = format!("`file_ids` has at most {FILES_MAX} files");
        return Err(ApiError::bad_request(Some("file_ids"), message));
    }
    let (collections, owner) = (&visit.state.collections, visit.owner());
    for file in &files {
        // Before anything is created.
        collections.file(owner, file).await?;
    }
    let store = collections.add_collection(owner, details, days).await?;
    for file in &files {
        let details = MemberDetails {
            rules,
            ..MemberDetails::default()
        };
        collections
            .add_member(owner, &store.id, file, details)
            .await?;
    }
    let store = collections.collection(owner, &store.id).await?;
    Ok(HttpResponse::Ok().json(shown(&store)))
}

/// `GET /v1/vector_stores`.
pub(in crate::http) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let page = visit.query::<ListQuery>()?.page()?;
    let part = visit
        .state
        .collections
        .collections(visit.owner(), page)
        .await
        .map_err(|error| list_query::own_error(error, Thing::Collection))?;
    let page = Page {
        items: part.items.iter().map(shown).collect(),
        has_more: part.has_more,
    };
    Ok(HttpResponse::Ok().json(listed(&page)))
}

/// `GET /v1/vector_stores/{id}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let collections = &visit.state.collections;
    let store = collections
        .collection(visit.owner(), &visit.parameter())
        .await?;
    Ok(HttpResponse::Ok().json(shown(&store)))
}

/// `POST /v1/vector_stores/{id}`: sets the given fields.
pub(in crate::http) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    let wanted: Change = body_of(&mut visit).await?;
    let days = wanted.expires_after.map(|after| {
        let after: Option<ExpiresAfter> = serde_json::from_value(after).map_err(|error| {
            let message = format!("`expires_after` is not valid: {error}");
            ApiError::bad_request(Some("expires_after"), message)
        })?;
        after.map(|after| after.days()).transpose()
    });
    let change = CollectionChange {
        name: fields::text("name", wanted.name)?,
        metadata: fields::metadata(wanted.metadata)?,
        expires_after_days: days.transpose()?,
    };
    let collections = &visit.state.collections;
    let store = collections
        .change_collection(visit.owner(), &id, change)
        .await?;
    Ok(HttpResponse::Ok().json(shown(&store)))
}

/// `DELETE /v1/vector_stores/{id}`.
pub(in crate::http) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    visit
        .state
        .collections
        .remove_collection(visit.owner(), &id)
        .await?;
    let gone = json!({"id": id, "object": "vector_store.deleted", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

fn shown(store: &Collection) -> Value {
    let counts = store.counts;
    let days = store.expires_after_days;
    let expires_at = days.map(|days| (store.used + u64::from(days) * DAY_MS) / 1000);
    json!({
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created / 1000,
        "name": store.details.name,
        "description": store.details.description,
        "usage_bytes": store.bytes,
        "file_counts": {
            "in_progress": counts.in_progress, "completed": counts.completed, "failed": counts.failed,
            "cancelled": 0, "total": counts.total(),
        },
        "status": if counts.in_progress > 0 { "in_progress" } else { "completed" },
        "expires_after": days.map(|days| json!({"anchor": "last_active_at", "days": days})),
        "expires_at": expires_at,
        "last_active_at": store.used / 1000,
        "metadata": store.details.metadata,
    })
}
