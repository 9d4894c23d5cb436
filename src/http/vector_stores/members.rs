//! `/v1/vector_stores/{id}/files`.

use actix_web::HttpResponse;
use kebne_collections::{Member, MemberDetails, Page, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ListQuery, body_of,
    fields::{self, ChunkingStrategy},
    listed, no_query, parameter, query_of,
};
use crate::{http::visit::Visit, sources::object::AttributeFields, surface::error::ApiError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    file_id: String,
    attributes: Option<AttributeFields>,
    chunking_strategy: Option<ChunkingStrategy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    attributes: Option<AttributeFields>,
}

impl NewMember {
    /// Returns the id of the file, and its details in the vector store.
    pub(super) fn details(self) -> Result<(String, MemberDetails), ApiError> {
        let details = MemberDetails {
            attributes: fields::attributes(self.attributes)?,
            rules: fields::rules(self.chunking_strategy.as_ref())?,
            failure: None,
        };
        Ok((self.file_id, details))
    }
}

/// Returns the state that a list is filtered by.
pub(super) fn status(filter: Option<&str>) -> Result<Option<Status>, ApiError> {
    let message = "`filter` must be `in_progress`, `completed`, `failed` or `cancelled`";
    let wrong = || ApiError::bad_request(Some("filter"), message);
    filter
        .map(|name| Status::named(name).ok_or_else(wrong))
        .transpose()
}

/// `POST /v1/vector_stores/{id}/files`.
pub(in crate::http) async fn add(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    let wanted: NewMember = body_of(&mut visit).await?;
    let (file, details) = wanted.details()?;
    let collections = &visit.state.collections;
    visit.pays();
    let added = collections.add_member(visit.owner(), &id, &file, details);
    Ok(HttpResponse::Ok().json(shown(&id, &added.await?)))
}

/// `GET /v1/vector_stores/{id}/files`.
pub(in crate::http) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    let query: ListQuery = query_of(&visit)?;
    let status = status(query.filter.as_deref())?;
    let collections = &visit.state.collections;
    let part = collections
        .members(visit.owner(), &id, query.page()?, status)
        .await?;
    let page = Page {
        items: part.items.iter().map(|member| shown(&id, member)).collect(),
        has_more: part.has_more,
    };
    Ok(HttpResponse::Ok().json(listed(&page)))
}

/// `GET /v1/vector_stores/{id}/files/{file}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let (id, file) = (parameter(&visit, "id"), parameter(&visit, "file"));
    let member = visit
        .state
        .collections
        .member(visit.owner(), &id, &file)
        .await?;
    Ok(HttpResponse::Ok().json(shown(&id, &member)))
}

/// `POST /v1/vector_stores/{id}/files/{file}`: replaces the attributes.
pub(in crate::http) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let (id, file) = (parameter(&visit, "id"), parameter(&visit, "file"));
    let wanted: Change = body_of(&mut visit).await?;
    let attributes = fields::attributes(wanted.attributes)?;
    let collections = &visit.state.collections;
    let member = collections
        .set_attributes(visit.owner(), &id, &file, attributes)
        .await?;
    Ok(HttpResponse::Ok().json(shown(&id, &member)))
}

/// `DELETE /v1/vector_stores/{id}/files/{file}`: the file stays.
pub(in crate::http) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let (id, file) = (parameter(&visit, "id"), parameter(&visit, "file"));
    visit
        .state
        .collections
        .remove_member(visit.owner(), &id, &file)
        .await?;
    let gone = json!({"id": file, "object": "vector_store.file.deleted", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

/// `GET /v1/vector_stores/{id}/files/{file}/content`: the texts that can be found.
pub(in crate::http) async fn content(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let (id, file) = (parameter(&visit, "id"), parameter(&visit, "file"));
    let texts = visit
        .state
        .collections
        .texts(visit.owner(), &id, &file)
        .await?;
    let data: Vec<Value> = texts
        .into_iter()
        .map(|chunk| json!({"type": "text", "text": chunk.text}))
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "object": "vector_store.file_content.page", "data": data, "has_more": false, "next_page": null,
    })))
}

/// Returns a file of a vector store.
pub(super) fn shown(store: &str, member: &Member) -> Value {
    let details = &member.details;
    let failure = details.failure.as_ref();
    json!({
        "id": member.file,
        "object": "vector_store.file",
        "usage_bytes": member.bytes,
        "created_at": member.created / 1000,
        "vector_store_id": store,
        "status": member.status.name(),
        "last_error": failure.map(|failure| json!({"code": failure.code, "message": failure.message})),
        "chunking_strategy": fields::strategy(details.rules),
        "attributes": details.attributes,
    })
}
