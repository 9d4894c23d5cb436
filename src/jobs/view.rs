//! Jobs as callers see them.

use kebne_jobs::{Job, State};
use serde_json::{Value, json, value::RawValue};

use crate::jobs::{JobRequest, JobResult};

/// Returns a job with its request and its answer.
pub(crate) fn shown(job: &Job, request: Option<&JobRequest>, result: Option<&JobResult>) -> Value {
    let mut shown = shown_in_list(job);
    shown["custom_id"] = json!(request.and_then(|request| request.head.custom_id.as_deref()));
    shown["request"] = request.map_or(
        Value::Null,
        |request| json!({"method": "POST", "url": request.head.url}),
    );
    shown["response"] = result.map_or(Value::Null, |result| response(&job.id, result));
    shown
}

/// Returns a job without what only its owner's key opens.
pub(crate) fn shown_in_list(job: &Job) -> Value {
    let seconds = |millis: u64| millis / 1000;
    json!({
        "id": job.id,
        "object": "job",
        "status": job.state.name(),
        "cancelling": job.is_cancelling && job.state == State::Running,
        "priority": job.priority,
        "ahead": job.ahead,
        "attempts": job.attempts,
        "created_at": seconds(job.created),
        "expires_at": seconds(job.expires),
        "next_attempt_at": (job.state == State::Queued).then(|| seconds(job.due)),
        "started_at": job.started.map(seconds),
        "ended_at": job.ended.map(seconds),
    })
}

/// Returns an answer in the form of a line of a batch. A body that is not JSON is at `/v1/jobs/{id}/response`.
pub(crate) fn response(id: &str, result: &JobResult) -> Value {
    let body: Option<Box<RawValue>> = serde_json::from_slice(&result.body).ok();
    json!({"status_code": result.head.status, "request_id": id, "body": body})
}
