//! Files that are kept here: those with the purpose `assistants`, to be searched; `user_data` if no backend has files; those of batches if no
//! backend has batches.

use std::time::Duration;

use actix_web::{HttpResponse, http::header::CONTENT_TYPE};
use bytes::Bytes;
use kebne_collections::{FileDetails, FileRecord, Page, PageQuery};
use kebne_wire::multipart::Form;
use serde_json::{Value, json};

use crate::{http::visit::Visit, settings::Api, surface::error::ApiError};

/// The beginning of the ids of these files. Those of files at backends begin with `file_`.
const PREFIX: &str = "file-";
/// The purpose of files to be searched.
const ASSISTANTS: &str = "assistants";
/// The purpose of files of batches, and that of their results.
const BATCH: [&str; 2] = ["batch", "batch_output"];
/// The longest name of a file, in bytes.
const NAME_MAX: usize = 512;
/// All purposes of files in `OpenAI`'s API.
const ALL_PURPOSES: [&str; 6] = [
    "assistants",
    "batch",
    "evals",
    "fine-tune",
    "user_data",
    "vision",
];
/// The fields of when a file expires.
const ANCHOR: &str = "expires_after[anchor]";
const SECONDS: &str = "expires_after[seconds]";
/// The fields of the form of a file that is kept here.
const FIELDS: [&str; 4] = ["file", "purpose", ANCHOR, SECONDS];
/// The time for which a file may be kept, in seconds, as in `OpenAI`'s API.
const LIFETIME: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// Returns `true` for the id of a file that may be kept here.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// What backends have, which is then not kept here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elsewhere {
    /// Some backend has files.
    pub(super) files: bool,
    /// Some backend has batches.
    pub(super) batches: bool,
}

impl Elsewhere {
    /// Returns what backends have now.
    pub(super) fn of(visit: &Visit) -> Self {
        let gateway = &visit.state.gateway;
        Self {
            files: gateway.backend_with(Api::Files).is_some(),
            batches: gateway.backend_with(Api::Batches).is_some(),
        }
    }

    /// Returns `true` if files with this purpose are kept here.
    pub(super) fn leaves(self, purpose: &str) -> bool {
        match purpose {
            ASSISTANTS => true,
            "user_data" => !self.files,
            _ => BATCH.contains(&purpose) && !self.batches,
        }
    }
}

/// Returns `true` if the file of this form is kept here. Results of batches are not uploaded.
pub(super) fn keeps(form: &Form, elsewhere: Elsewhere) -> bool {
    let purpose = form.text("purpose").unwrap_or_default();
    purpose != BATCH[1] && elsewhere.leaves(purpose)
}

/// Reads the form of an upload.
///
/// # Errors
/// Returns a 400 that names `purpose` if the body is not a form with one purpose.
pub(super) fn form_of(visit: &Visit, body: &Bytes) -> Result<Form, ApiError> {
    let kind = visit.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = Form::read(kind, body.clone());
    let form = form.map_err(|error| wrong("purpose", error.to_string()))?;
    match text_field(&form, "purpose")? {
        None | Some("") => Err(wrong("purpose", "the form must have a field `purpose`")),
        Some(_) => Ok(form),
    }
}

/// Returns the text of a field; `None` if the form has no such field.
///
/// # Errors
/// Returns a 400 that names the field if it occurs twice, or is not a text.
pub(super) fn text_field<'f>(form: &'f Form, name: &str) -> Result<Option<&'f str>, ApiError> {
    if form.is_ambiguous(name) {
        return Err(wrong(name, format!("the form has two fields `{name}`")));
    }
    if !form.names().any(|(present, _)| present == name) {
        return Ok(None);
    }
    let not_text = || wrong(name, format!("the field `{name}` must be a text"));
    form.text(name).map(Some).ok_or_else(not_text)
}

/// Checks that a form has no other fields than these.
///
/// # Errors
/// Returns a 400 that names the field.
pub(super) fn check_fields(form: &Form, known: &[&str]) -> Result<(), ApiError> {
    match form.names().find(|(name, _)| !known.contains(name)) {
        None => Ok(()),
        Some((unknown, _)) => {
            let message = format!("the form has an unknown field `{unknown}`");
            Err(wrong(unknown, message))
        }
    }
}

/// Checks the purpose of a file that no backend can have.
///
/// # Errors
/// Returns a 400 for a word that is no purpose.
pub(super) fn check_purpose(form: &Form) -> Result<(), ApiError> {
    let purpose = form.text("purpose").unwrap_or_default();
    if ALL_PURPOSES.contains(&purpose) {
        return Ok(());
    }
    let message = format!("`purpose` must be one of {}", ALL_PURPOSES.join(", "));
    Err(wrong("purpose", message))
}

fn wrong(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::bad_request(Some(param), message)
}

/// Returns the time after which a file expires.
fn lifetime(form: &Form) -> Result<Option<Duration>, ApiError> {
    let anchor = text_field(form, ANCHOR)?;
    if anchor.is_some_and(|anchor| anchor != "created_at") {
        return Err(wrong(ANCHOR, format!("`{ANCHOR}` must be `created_at`")));
    }
    let Some(seconds) = text_field(form, SECONDS)? else {
        let message = format!("`{ANCHOR}` needs `{SECONDS}`");
        return anchor.map_or(Ok(None), |_| Err(wrong(SECONDS, message)));
    };
    let seconds: Option<u64> = seconds.parse().ok();
    let seconds = seconds.filter(|seconds| LIFETIME.contains(seconds));
    let message = || wrong(SECONDS, format!("`{SECONDS}` must be 3600 to 2592000"));
    seconds
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(message)
}

/// Keeps the file of a form.
pub(super) async fn keep(visit: &Visit, form: &Form) -> Result<HttpResponse, ApiError> {
    check_fields(form, &FIELDS)?;
    let mut files = form.files("file");
    let (Some((name, content)), None) = (files.next(), files.next()) else {
        return Err(wrong("file", "the form must have one file named `file`"));
    };
    let name = checked_name(name)?;
    let size_max = visit.state.collections.settings().file_size_max.as_usize();
    if content.len() > size_max {
        return Err(ApiError::file_too_large(&name, size_max));
    }
    let details = FileDetails {
        name,
        purpose: form.text("purpose").unwrap_or_default().to_owned(),
    };
    let lifetime = lifetime(form)?;
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
    let part = collections.files(visit.owner(), page, purpose).await?;
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
