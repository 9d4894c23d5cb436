//! `/v1/jobs`: calls to models as jobs.

pub(in crate::http) mod events;
pub(in crate::http) mod later;
mod queueing;

use std::{collections::BTreeMap, time::Duration};

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
    },
};
use bytes::Bytes;
use kebne_jobs::{Job, JobQueue as _, LIFETIME_MAX, PageQuery, State as JobState};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    http::{json_body, list_query, visit::Visit},
    jobs::{JobRequest, JobResult, Webhook, is_kept, shown, shown_in_list},
    settings::server::PRIORITY_MAX,
    state::State,
    surface::{self, error::ApiError},
};

use queueing::{Wish, digest, idempotency_key, queue};

/// Jobs of one list, at most and without `limit`.
const PAGE: (usize, usize) = (100, 20);
/// The longest own name of a job, in bytes.
const NAME_MAX: usize = 512;

/// The body of `POST /v1/jobs`: a line of a batch, and when and how it is carried out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewJob {
    method: Option<String>,
    url: String,
    body: Box<RawValue>,
    custom_id: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    priority: Option<u8>,
    expires_in_seconds: Option<u64>,
    webhook: Option<Webhook>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<String>,
    after: Option<String>,
    status: Option<String>,
}

impl NewJob {
    /// Checks the fields.
    fn wish(self) -> Result<Wish, ApiError> {
        let wrong = |param, message: String| Err(ApiError::bad_request(Some(param), message));
        if self.method.is_some_and(|method| method != "POST") {
            return wrong("method", "`method` must be `POST`".to_owned());
        }
        let Some(surface) = surface::of_operation(&self.url) else {
            let known: Vec<&str> = surface::OPERATIONS.iter().map(|(path, _)| *path).collect();
            return wrong("url", format!("`url` must be one of {}", known.join(", ")));
        };
        if self.priority.is_some_and(|asked| asked > PRIORITY_MAX) {
            return wrong(
                "priority",
                format!("`priority` must be 0 to {PRIORITY_MAX}"),
            );
        }
        let longest = LIFETIME_MAX.as_secs();
        let seconds = self.expires_in_seconds;
        if seconds.is_some_and(|seconds| !(1..=longest).contains(&seconds)) {
            let message = format!("`expires_in_seconds` must be 1 to {longest}");
            return wrong("expires_in_seconds", message);
        }
        if self
            .custom_id
            .as_ref()
            .is_some_and(|id| id.len() > NAME_MAX)
        {
            let message = format!("`custom_id` has at most {NAME_MAX} bytes");
            return wrong("custom_id", message);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers.unwrap_or_default() {
            let lower = name.to_ascii_lowercase();
            let both = HeaderName::try_from(lower.as_str())
                .ok()
                .zip(HeaderValue::try_from(value).ok());
            match both.filter(|_| is_kept(&lower)) {
                Some((name, value)) => headers.insert(name, value),
                None => return wrong("headers", format!("a job has no header `{name}`")),
            };
        }
        Ok(Wish {
            surface,
            url: self.url,
            headers,
            body: Bytes::from(String::from(Box::<str>::from(self.body))),
            custom_id: self.custom_id,
            priority: self.priority,
            lifetime: seconds.map(Duration::from_secs),
            webhook: self.webhook,
            idempotency: None,
        })
    }
}

/// `POST /v1/jobs`.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body().await?;
    Ok(accepted(&create_of(&visit, &body).await?))
}

/// Creates the job that a body describes.
async fn create_of(visit: &Visit, body: &[u8]) -> Result<Job, ApiError> {
    let new: NewJob = json_body::object(body)?;
    let mut wish = new.wish()?;
    wish.idempotency = idempotency_key(visit.headers())?.map(|key| digest(visit.owner(), key));
    let request_id = crate::http::request_id::of(&visit.http);
    queue(&visit.state, &visit.caller, wish, request_id).await
}

/// Creates the job that a body describes, within another request. Returns the job.
#[cfg(feature = "mcp")]
pub(super) async fn create_within(visit: &Visit, body: &[u8]) -> Result<Value, ApiError> {
    let job = create_of(visit, body).await?;
    Ok(shown_in_list(&job))
}

/// Returns a job of the caller, within another request.
#[cfg(feature = "mcp")]
pub(super) async fn read_within(visit: &Visit, id: &str) -> Result<Value, ApiError> {
    found(&visit.state, visit.owner(), id).await
}

/// Returns the answer to a call that has become a job.
fn accepted(job: &Job) -> HttpResponse {
    HttpResponse::Accepted()
        .insert_header((LOCATION, format!("/v1/jobs/{}", job.id)))
        .json(shown_in_list(job))
}

/// `GET /v1/jobs`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let query: ListQuery = visit.query()?;
    let limit = list_query::limit(query.limit, PAGE.0, PAGE.1)?;
    let wrong = || {
        let names = JobState::ALL.map(JobState::name).join("`, `");
        ApiError::bad_request(Some("status"), format!("`status` must be one of `{names}`"))
    };
    let status = query.status.as_deref();
    let status = status.map(|name| JobState::named(name).ok_or_else(wrong));
    let page = PageQuery {
        limit,
        after: query.after,
    };
    let jobs = &visit.state.jobs;
    let part = jobs.jobs(visit.owner(), page, status.transpose()?).await?;
    let data: Vec<Value> = part.items.iter().map(shown_in_list).collect();
    let id = |job: Option<&Job>| job.map(|job| job.id.clone());
    Ok(HttpResponse::Ok().json(json!({
        "object": "list", "data": data, "has_more": part.has_more,
        "first_id": id(part.items.first()), "last_id": id(part.items.last()),
    })))
}

/// `GET /v1/jobs/{id}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let shown = found(&visit.state, visit.owner(), &visit.parameter()).await?;
    Ok(HttpResponse::Ok().json(shown))
}

/// `GET /v1/jobs/{id}/response`: the answer, as the call would have got it.
pub(super) async fn response(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (owner, id) = (visit.owner(), visit.parameter());
    let jobs = &visit.state.jobs;
    let job = jobs.job(owner, &id).await?;
    let (_, result) = jobs.content(owner, &id).await?;
    answer_of(&job, result)
}

/// `POST /v1/jobs/{id}/cancel`.
pub(super) async fn cancel(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    visit.state.jobs.cancel(visit.owner(), &id).await?;
    let shown = found(&visit.state, visit.owner(), &id).await?;
    Ok(HttpResponse::Ok().json(shown))
}

/// Returns a job with its request and its answer.
async fn found(state: &State, owner: &str, id: &str) -> Result<Value, ApiError> {
    let job = state.jobs.job(owner, id).await?;
    let (request, result) = state.jobs.content(owner, id).await?;
    let (request, result) = (JobRequest::of(request), JobResult::of(result));
    Ok(shown(&job, request.as_ref(), result.as_ref()))
}

/// Returns the answer that a job has got.
fn answer_of(job: &Job, result: Vec<u8>) -> Result<HttpResponse, ApiError> {
    let Some(result) = JobResult::of(result).filter(|_| job.state.is_final()) else {
        let message = format!("the job is {} and has no response", job.state.name());
        return Err(ApiError::no_response(message));
    };
    let status = StatusCode::from_u16(result.head.status).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    response.insert_header((LOCATION, format!("/v1/jobs/{}", job.id)));
    if let Ok(kind) = HeaderValue::from_str(&result.head.content_type) {
        response.insert_header((CONTENT_TYPE, kind));
    }
    Ok(response.body(result.body))
}
