//! `POST /v1/vector_stores/{id}/documents`: imports files by their names in one request. It is not part of `OpenAI`'s API.

use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use kebne_collections::Document;
use kebne_wire::multipart::Form;
use serde_json::{Value, json};

use super::{members, parameter};
use crate::{
    http::{own_files::checked_name, visit::Visit},
    surface::error::ApiError,
};

/// Reads a form whose files are named `file`. A file takes the place of the one of the same name; one that is the same stays as it is.
pub(in crate::http) async fn import(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = parameter(&visit, "id");
    // Before the body is read, which may be large.
    visit
        .state
        .collections
        .collection(visit.owner(), &id)
        .await?;
    let body = visit.body().await?;
    let kind = visit
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let form = Form::read(kind.unwrap_or_default(), body);
    let form = form.map_err(|error| ApiError::bad_request(None, error.to_string()))?;
    let size_max = visit.state.collections.settings().file_size_max.as_usize();
    let mut documents = Vec::new();
    for (name, content) in form.files("file") {
        if content.len() > size_max {
            return Err(ApiError::too_large(size_max));
        }
        documents.push((checked_name(name)?, content));
    }
    if documents.is_empty() {
        let message = "the form must have files named `file`";
        return Err(ApiError::bad_request(Some("file"), message));
    }
    let mut data: Vec<Value> = Vec::with_capacity(documents.len());
    for (name, content) in documents {
        let document = Document {
            name,
            content: content.to_vec(),
        };
        let collections = &visit.state.collections;
        let imported = collections.import(visit.owner(), &id, document).await?;
        let mut shown = members::shown(&id, &imported.member);
        shown["filename"] = imported.name.into();
        shown["unchanged"] = imported.is_unchanged.into();
        data.push(shown);
    }
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data, "has_more": false})))
}
