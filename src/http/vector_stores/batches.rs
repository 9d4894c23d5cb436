//! `/v1/vector_stores/{id}/file_batches`.

use std::collections::BTreeSet;

use actix_web::HttpResponse;
use kebne_collections::{Batch, MemberDetails, Page};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    ListQuery, body_of,
    fields::{self, ChunkingStrategy},
    listed,
    members::{self, NewMember},
    no_query, parameter, query_of,
};
use crate::{
    http::visit::Visit,
    sources::object::{AttributeFields, Object},
    surface::error::ApiError,
};

/// The most files of a batch, as in `OpenAI`'s API.
const FILES_MAX: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBatch {
    file_ids: Option<Vec<String>>,
    /// Files with properties of their own, in place of `file_ids`.
    files: Option<Vec<Object<NewMember>>>,
    attributes: Option<AttributeFields>,
    chunking_strategy: Option<ChunkingStrategy>,
}

impl NewBatch {
    fn files(self) -> Result<Vec<(String, MemberDetails)>, ApiError> {
        let wrong = |param: &str, message: String| ApiError::bad_request(Some(param), message);
        let files = match (self.file_ids, self.files) {
            (Some(ids), None) => {
                let details = MemberDetails {
                    attributes: fields::attributes(self.attributes)?,
                    rules: fields::rules(self.chunking_strategy.as_ref())?,
                    failure: None,
                };
                ids.into_iter().map(|id| (id, details.clone())).collect()
            }
            (None, Some(files)) => {
                if self.attributes.is_some() || self.chunking_strategy.is_some() {
                    let message = "`attributes` and `chunking_strategy` stand in each of `files`";
                    return Err(wrong("files", message.to_owned()));
                }
                let files = files.into_iter().map(|Object(file)| file.details());
                files.collect::<Result<Vec<_>, _>>()?
            }
            _ => {
                let message = "a batch must have `file_ids` or `files`, and not both";
                return Err(wrong("file_ids", message.to_owned()));
            }
        };
        let mut seen = BTreeSet::new();
        if files.is_empty() || files.len() > FILES_MAX {
            let message = format!("a batch has 1 to {FILES_MAX} files");
            return Err(wrong("file_ids", message));
        }
        if let Some((twice, _)) = files.iter().find(|(id, _)| !seen.insert(id.as_str())) {
            return Err(wrong("file_ids", format!("`{twice}` is named twice")));
        }
        Ok(files)
    }
}

/// `POST /v1/vector_stores/{id}/file_batches`.
pub(in crate::http) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    let wanted: NewBatch = body_of(&mut visit).await?;
    let collections = &visit.state.collections;
    visit.pays();
    let added = collections.add_batch(visit.owner(), &id, wanted.files()?);
    Ok(HttpResponse::Ok().json(shown(&id, &added.await?)))
}

/// `GET /v1/vector_stores/{id}/file_batches/{batch}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let (id, batch) = (parameter(&visit, "id"), parameter(&visit, "batch"));
    let collections = &visit.state.collections;
    let batch = collections.batch(visit.owner(), &id, &batch).await?;
    Ok(HttpResponse::Ok().json(shown(&id, &batch)))
}

/// `POST /v1/vector_stores/{id}/file_batches/{batch}/cancel`.
pub(in crate::http) async fn cancel(visit: Visit) -> Result<HttpResponse, ApiError> {
    no_query(&visit)?;
    let (id, batch) = (parameter(&visit, "id"), parameter(&visit, "batch"));
    let collections = &visit.state.collections;
    let batch = collections.cancel_batch(visit.owner(), &id, &batch).await?;
    Ok(HttpResponse::Ok().json(shown(&id, &batch)))
}

/// `GET /v1/vector_stores/{id}/file_batches/{batch}/files`.
pub(in crate::http) async fn files(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (id, batch) = (parameter(&visit, "id"), parameter(&visit, "batch"));
    let query: ListQuery = query_of(&visit)?;
    let status = members::status(query.filter.as_deref())?;
    let collections = &visit.state.collections;
    let part = collections
        .batch_members(visit.owner(), (&id, &batch), query.page()?, status)
        .await?;
    let page = Page {
        items: part
            .items
            .iter()
            .map(|member| members::shown(&id, member))
            .collect(),
        has_more: part.has_more,
    };
    Ok(HttpResponse::Ok().json(listed(&page)))
}

fn shown(store: &str, batch: &Batch) -> Value {
    let status = match (batch.is_cancelled, batch.counts.in_progress) {
        (true, _) => "cancelled",
        (false, 0) => "completed",
        (false, _) => "in_progress",
    };
    json!({
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": batch.created / 1000,
        "vector_store_id": store,
        "status": status,
        "file_counts": fields::counts(batch.counts),
    })
}
