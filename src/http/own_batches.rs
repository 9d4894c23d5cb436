//! Batches that are carried out here: those of files that are kept here.

use std::{collections::BTreeMap, time::Duration};

use actix_web::HttpResponse;
use kebne_jobs::{JobError, LIFETIME_MAX, NewBatch, Page, PageQuery};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    http::{json_body, visit::Visit},
    jobs::{BatchDetails, Webhook, read_lines, shown_batch},
    settings::HumanDuration,
    surface::{self, error::ApiError},
};

/// The beginning of the ids of these batches. Those of batches at backends begin with `batch_`.
const PREFIX: &str = "batch-";
/// The purpose of the files of batches.
const PURPOSE: &str = "batch";
/// The operations whose bodies are forms, which a line of a batch cannot hold.
const FORMS: [&str; 2] = ["/v1/audio/transcriptions", "/v1/audio/translations"];
/// The shortest completion window.
const WINDOW_MIN: Duration = Duration::from_mins(1);
/// The most entries of `metadata`, and their longest keys and values, as in `OpenAI`'s API.
const METADATA: (usize, usize, usize) = (16, 64, 512);

/// The body of `POST /v1/batches`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    metadata: Option<BTreeMap<String, String>>,
    webhook: Option<Webhook>,
}

/// Returns `true` for the id of a batch that may be carried out here.
pub(super) fn is_own(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// Creates a batch of a file that is kept here.
pub(super) async fn create(visit: &Visit, body: &[u8]) -> Result<HttpResponse, ApiError> {
    let new: New = json_body::object(body)?;
    let wrong = |param, message: String| ApiError::bad_request(Some(param), message);
    let known = surface::of_operation(&new.endpoint).is_some();
    if !known || FORMS.contains(&new.endpoint.as_str()) {
        let message = format!("no operation of batches is `{}`", new.endpoint);
        return Err(wrong("endpoint", message));
    }
    let window: Option<HumanDuration> = new.completion_window.parse().ok();
    let window = window.filter(|window| (WINDOW_MIN..=LIFETIME_MAX).contains(&window.0));
    let message = || "`completion_window` must be 1m to 30d, such as `24h`".to_owned();
    let window = window.ok_or_else(|| wrong("completion_window", message()))?;
    let (entries, key_max, value_max) = METADATA;
    let metadata = new.metadata.iter().flatten();
    let is_long = metadata
        .clone()
        .any(|(key, value)| key.len() > key_max || value.len() > value_max);
    if is_long || metadata.count() > entries {
        let message = format!(
            "`metadata` has at most {entries} keys of {key_max} and values of {value_max} bytes"
        );
        return Err(wrong("metadata", message));
    }
    let state = &visit.state;
    let file = state
        .collections
        .file(visit.owner(), &new.input_file_id)
        .await?;
    if file.details.purpose != PURPOSE {
        let message = format!("the file must have the purpose `{PURPOSE}`");
        return Err(wrong("input_file_id", message));
    }
    let content = state.collections.content(visit.owner(), &file.id).await?;
    let (endpoint, key) = (new.endpoint.clone(), visit.caller.id.clone());
    let priority = state.jobs.settings().priority;
    let size = content.len();
    let read = move || read_lines(&content, &endpoint, (&key, priority), window.0);
    let jobs = state.off_loop.read(size, read).await?;
    let details = BatchDetails {
        endpoint: new.endpoint,
        input_file_id: new.input_file_id,
        completion_window: new.completion_window,
        metadata: new.metadata,
        ..BatchDetails::default()
    };
    let settings = state.jobs.settings();
    let notify = new.webhook.map(|webhook| webhook.checked(settings));
    let batch = NewBatch {
        details: serde_json::to_vec(&details)
            .map_err(|_| ApiError::internal("the batch cannot be written"))?,
        jobs: jobs.map_err(|why| wrong("input_file_id", why))?,
        lifetime: window.0,
        notify: notify.transpose()?,
    };
    let batch = state.jobs.add_batch(visit.owner(), batch).await?;
    Ok(HttpResponse::Ok().json(shown_batch(&batch)))
}

/// Returns a batch.
pub(super) async fn read(visit: &Visit, id: &str) -> Result<HttpResponse, ApiError> {
    let batch = visit.state.jobs.batch(visit.owner(), id).await?;
    Ok(HttpResponse::Ok().json(shown_batch(&batch)))
}

/// Cancels a batch.
pub(super) async fn cancel(visit: &Visit, id: &str) -> Result<HttpResponse, ApiError> {
    let batch = visit.state.jobs.cancel_batch(visit.owner(), id).await?;
    Ok(HttpResponse::Ok().json(shown_batch(&batch)))
}

/// Returns batches of the caller, the newest first.
pub(super) async fn page(
    visit: &Visit,
    limit: usize,
    after: Option<String>,
) -> Result<Page<Value>, JobError> {
    let page = PageQuery { limit, after };
    let part = visit.state.jobs.batches(visit.owner(), page).await?;
    Ok(Page {
        items: part.items.iter().map(shown_batch).collect(),
        has_more: part.has_more,
    })
}
