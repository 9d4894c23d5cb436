//! `/v1/vector_stores`.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use kebne_collections::{
    Collection, CollectionChange, CollectionDetails, Lifetimes, MemberDetails, Page,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    PageQuery, body_of,
    fields::{self, ChunkingStrategy, ExpiresAfter, FileExpiresAfter, Given},
    listed, no_query, query_of,
};
use crate::{http::visit::Visit, sources::object::Object, surface::error::ApiError};

/// Days in milliseconds.
const DAY_MS: u64 = 86_400_000;
/// The files that can be named when a vector store is created.
const FILES_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewStore {
    name: Option<String>,
    description: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    expires_after: Option<Object<ExpiresAfter>>,
    file_expires_after: Option<Object<FileExpiresAfter>>,
    chunking_strategy: Option<ChunkingStrategy>,
    file_ids: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    expires_after: Given<Object<ExpiresAfter>>,
    #[serde(default)]
    file_expires_after: Given<Object<FileExpiresAfter>>,
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
    let of_files = wanted.file_expires_after.map(|after| after.0.days());
    let unused = wanted.expires_after.map(|after| after.0.days());
    let lifetimes = Lifetimes {
        unused_days: unused.transpose()?,
        file_days: of_files.transpose()?,
    };
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
    let store = collections
        .add_collection(owner, details, lifetimes)
        .await?;
    if !files.is_empty() {
        visit.pays();
    }
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
    let page = query_of::<PageQuery>(&visit)?.page()?;
    let part = visit
        .state
        .collections
        .collections(visit.owner(), page)
        .await?;
    let page = Page {
        items: part.items.iter().map(shown).collect(),
        has_more: part.has_more,
    };
    Ok(HttpResponse::Ok().json(listed(&page)))
}

/// `GET /v1/vector_stores/{id}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
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
    let days = wanted.expires_after.read(|after| after.0.days())?;
    let file_days = wanted.file_expires_after;
    let file_days = file_days.read(|after| after.0.days())?;
    let change = CollectionChange {
        name: fields::text("name", wanted.name)?,
        metadata: fields::metadata(wanted.metadata)?,
        expires_after_days: days.into(),
        file_days: file_days.into(),
    };
    let collections = &visit.state.collections;
    let store = collections
        .change_collection(visit.owner(), &id, change)
        .await?;
    Ok(HttpResponse::Ok().json(shown(&store)))
}

/// `DELETE /v1/vector_stores/{id}`.
pub(in crate::http) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
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
        "file_counts": fields::counts(counts),
        "status": if counts.in_progress > 0 { "in_progress" } else { "completed" },
        "expires_after": days.map(|days| json!({"anchor": "last_active_at", "days": days})),
        "expires_at": expires_at,
        "file_expires_after": store.file_days.map(|days| json!({"anchor": "created_at", "days": days})),
        "last_active_at": store.used / 1000,
        "metadata": store.details.metadata,
    })
}
