//! Files that are kept here, to be searched: those with the purpose `assistants`, and `user_data` if no backend has files.

use std::time::Duration;

use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use bytes::Bytes;
use kebne_collections::{FileDetails, FileRecord, Page, PageQuery, Thing};
use kebne_wire::multipart::Form;
use serde_json::{Value, json};

use crate::{
    http::{list_query, visit::Visit},
    surface::error::ApiError,
};

/// The beginning of the ids of these files. Those of files at backends begin with `file_`.
const PREFIX: &str = "file-";
/// The purposes of files that can be kept here.
const PURPOSES: [&str; 2] = ["assistants", "user_data"];
/// The longest name of a file, in bytes.
const NAME_MAX: usize = 512;
/// The time for which a file may be kept, in seconds, as in `OpenAI`'s API.
const LIFETIME: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// Returns `true` for the id of a file that may be kept here.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Returns `true` if a file with this purpose is kept here.
pub(super) fn keeps(purpose: &str, backends_have_files: bool) -> bool {
    purpose == PURPOSES[0] || (purpose == PURPOSES[1] && !backends_have_files)
}

/// Reads the form of an upload; `None` if the body is not a form with a purpose.
pub(super) fn form_of(visit: &Visit, body: &Bytes) -> Option<Form> {
    let kind = visit.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Form::read(kind, body.clone()).ok()
}

/// Keeps the file of a form.
pub(super) async fn keep(visit: &Visit, form: &Form) -> Result<HttpResponse, ApiError> {
    let wrong = |param: &str, message: String| ApiError::bad_request(Some(param), message);
    let mut files = form.files("file");
    let (Some((name, content)), None) = (files.next(), files.next()) else {
        return Err(wrong(
            "file",
            "the form must have one file named `file`".to_owned(),
        ));
    };
    let size_max = visit.state.collections.settings().file_size_max.as_usize();
    if content.len() > size_max {
        return Err(ApiError::too_large(size_max));
    }
    let details = FileDetails {
        name: checked_name(name)?,
        purpose: form.text("purpose").unwrap_or_default().to_owned(),
    };
    let lifetime = match form.text("expires_after[seconds]") {
        None => None,
        Some(seconds) => {
            let seconds = seconds
                .parse()
                .ok()
                .filter(|seconds| LIFETIME.contains(seconds));
            let param = "expires_after[seconds]";
            let message = || {
                wrong(
                    param,
                    "`expires_after[seconds]` must be 3600 to 2592000".to_owned(),
                )
            };
            Some(Duration::from_secs(seconds.ok_or_else(message)?))
        }
    };
    let collections = &visit.state.collections;
    let kept = collections.add_file(visit.owner(), details, content.to_vec(), lifetime);
    Ok(HttpResponse::Ok().json(shown(&kept.await?)))
}

/// Checks the name of a file, and leaves out the folders before it.
pub(super) fn checked_name(name: &str) -> Result<String, ApiError> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        let message =
            format!("the name of a file has 1 to {NAME_MAX} bytes and no control characters");
        return Err(ApiError::bad_request(Some("file"), message));
    }
    Ok(name.to_owned())
}

/// Returns the files of the caller.
pub(super) async fn page(
    visit: &Visit,
    page: PageQuery,
    purpose: Option<String>,
) -> Result<Page<Value>, ApiError> {
    let collections = &visit.state.collections;
    let part = collections.files(visit.owner(), page, purpose).await;
    let part = part.map_err(|error| list_query::own_error(error, Thing::File))?;
    Ok(Page {
        items: part.items.iter().map(shown).collect(),
        has_more: part.has_more,
    })
}

/// Returns a file.
pub(super) async fn read(visit: &Visit, id: &str) -> Result<HttpResponse, ApiError> {
    let file = visit.state.collections.file(visit.owner(), id).await?;
    Ok(HttpResponse::Ok().json(shown(&file)))
}

/// Returns the content of a file.
pub(super) async fn content(visit: &Visit, id: &str) -> Result<HttpResponse, ApiError> {
    let content = visit.state.collections.content(visit.owner(), id).await?;
    let mut answer = HttpResponse::Ok();
    // Never a type that a browser shows as a page of this service.
    answer.insert_header((CONTENT_TYPE, "application/octet-stream"));
    Ok(answer.body(content))
}

/// Removes a file, also from all vector stores.
pub(super) async fn remove(visit: &Visit, id: &str) -> Result<HttpResponse, ApiError> {
    visit
        .state
        .collections
        .remove_file(visit.owner(), id)
        .await?;
    let gone = json!({"id": id, "object": "file", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}

fn shown(file: &FileRecord) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created / 1000,
        "expires_at": file.expires.map(|expires| expires / 1000),
        "filename": file.details.name,
        "purpose": file.details.purpose,
        "status": "processed",
    })
}
