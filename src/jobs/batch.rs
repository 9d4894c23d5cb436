//! Batches of `OpenAI`'s API: what is known of them, their lines, and the files of their results.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use kebne_collections::FileDetails;
use kebne_jobs::{Batch, Collecting, JobError, Line, NewJob, State as JobState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{
    jobs::{JobRequest, JobResult, RequestHead, view::response},
    state::State,
};

/// The most lines of a batch, as in `OpenAI`'s API.
const LINES_MAX: usize = 50_000;
/// The longest own name of a line, in bytes.
const NAME_MAX: usize = 512;
/// The time for which the files of results are kept: as long as `OpenAI` keeps them.
const FILES_KEPT: Duration = Duration::from_hours(30 * 24);
/// Lines that are read from the store at once.
const PAGE: usize = 100;

/// What is known of a batch beside its jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchDetails {
    /// The path of the operation of all lines.
    pub(crate) endpoint: String,
    pub(crate) input_file_id: String,
    pub(crate) completion_window: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output_file_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_file_id: Option<String>,
}

/// A line of the file of a batch.
#[derive(Deserialize)]
struct InputLine<'a> {
    custom_id: String,
    method: String,
    url: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Reads the lines of a file of calls of one operation into jobs.
///
/// # Errors
/// Returns what is wrong with the first line that cannot be used.
pub(crate) fn read_lines(
    content: &[u8],
    endpoint: &str,
    (key, priority): (&str, u8),
    lifetime: Duration,
) -> Result<Vec<NewJob>, String> {
    let mut jobs = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let at = |why: &str| format!("line {}: {why}", index + 1);
        let read: InputLine<'_> =
            serde_json::from_slice(line).map_err(|error| at(&error.to_string()))?;
        if read.method != "POST" {
            return Err(at("`method` must be `POST`"));
        }
        if read.url != endpoint {
            return Err(at("`url` must be the `endpoint` of the batch"));
        }
        if !(1..=NAME_MAX).contains(&read.custom_id.len()) {
            return Err(at(&format!("`custom_id` must have 1 to {NAME_MAX} bytes")));
        }
        if !read.body.get().starts_with('{') {
            return Err(at("`body` must be an object"));
        }
        if !names.insert(read.custom_id.clone()) {
            return Err(at("`custom_id` is that of an earlier line"));
        }
        if jobs.len() == LINES_MAX {
            return Err(at(&format!("a batch has at most {LINES_MAX} lines")));
        }
        let request = JobRequest {
            head: RequestHead {
                url: read.url,
                key: key.to_owned(),
                custom_id: None,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            },
            body: Bytes::copy_from_slice(read.body.get().as_bytes()),
        };
        jobs.push(NewJob {
            request: request.to_bytes(),
            label: read.custom_id,
            priority,
            lifetime,
            ..NewJob::default()
        });
    }
    if jobs.is_empty() {
        return Err("the file has no lines".to_owned());
    }
    Ok(jobs)
}

/// Returns a batch as its owner sees it.
pub(crate) fn shown_batch(batch: &Batch) -> Value {
    let details: BatchDetails = serde_json::from_slice(&batch.details).unwrap_or_default();
    let seconds = |millis: u64| millis / 1000;
    let status = status(batch);
    let ended = batch.ended.map(seconds);
    let at = |name: &str| ended.filter(|_| status == name);
    let counts = batch.counts;
    json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": details.endpoint,
        "errors": null,
        "input_file_id": details.input_file_id,
        "completion_window": details.completion_window,
        "status": status,
        "output_file_id": details.output_file_id,
        "error_file_id": details.error_file_id,
        "created_at": seconds(batch.created),
        "in_progress_at": batch.started.map(seconds),
        "expires_at": seconds(batch.expires),
        "finalizing_at": batch.finalizing.map(seconds),
        "completed_at": at("completed"),
        "failed_at": null,
        "expired_at": at("expired"),
        "cancelling_at": batch.cancelling.map(seconds),
        "cancelled_at": at("cancelled"),
        "request_counts": {
            "total": counts.total,
            "completed": counts.succeeded,
            "failed": counts.failed + counts.expired,
        },
        "metadata": details.metadata,
    })
}

fn status(batch: &Batch) -> &'static str {
    match (batch.ended, batch.cancelling) {
        (Some(_), Some(_)) => "cancelled",
        (Some(_), None) if batch.counts.expired > 0 => "expired",
        (Some(_), None) => "completed",
        (None, Some(_)) => "cancelling",
        (None, None) if batch.counts.open == 0 => "finalizing",
        (None, None) => "in_progress",
    }
}

/// Writes the results of a batch into files of its owner; returns its new details, or `None` if they cannot be written now.
pub(super) async fn collect(state: &State, collecting: &Collecting) -> Option<Vec<u8>> {
    let batch = &collecting.batch;
    let details: BatchDetails = serde_json::from_slice(&batch.details).unwrap_or_default();
    let written = written(state, collecting, details).await;
    written
        .inspect_err(|error| {
            tracing::warn!(
                batch = batch.id,
                error,
                "the results of a batch wait to be written"
            );
        })
        .ok()
}

async fn written(
    state: &State,
    collecting: &Collecting,
    mut details: BatchDetails,
) -> Result<Vec<u8>, String> {
    let (output, errors) = results(state, collecting)
        .await
        .map_err(|error| error.to_string())?;
    let id = &collecting.batch.id;
    let files = [
        (output, "output", &mut details.output_file_id),
        (errors, "error", &mut details.error_file_id),
    ];
    for (content, name, file) in files {
        if content.is_empty() {
            continue;
        }
        let of_file = FileDetails {
            name: format!("{id}_{name}.jsonl"),
            purpose: "batch_output".to_owned(),
        };
        let added =
            state
                .collections
                .add_file(&collecting.owner, of_file, content, Some(FILES_KEPT));
        *file = Some(added.await.map_err(|error| error.to_string())?.id);
    }
    serde_json::to_vec(&details).map_err(|error| error.to_string())
}

/// Returns the lines of the results that were wanted, and of all others.
async fn results(state: &State, collecting: &Collecting) -> Result<(Vec<u8>, Vec<u8>), JobError> {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut after = 0;
    loop {
        let lines = state.jobs.lines(collecting, after, PAGE).await?;
        for line in &lines {
            let file = match line.state {
                JobState::Succeeded => &mut output,
                _ => &mut errors,
            };
            file.extend(result_line(line).to_string().into_bytes());
            file.push(b'\n');
        }
        match lines.last() {
            Some(last) if lines.len() == PAGE => after = last.number,
            _ => return Ok((output, errors)),
        }
    }
}

fn result_line(line: &Line) -> Value {
    let error = |code, message| json!({"code": code, "message": message});
    let (result, error) = match line.state {
        // The last refusal is not an answer.
        JobState::Expired => {
            let message = "the call was not made within the completion window";
            (None, error("batch_expired", message))
        }
        JobState::Cancelled => {
            let message = "the call was not made because the batch was cancelled";
            (None, error("batch_cancelled", message))
        }
        _ => match JobResult::of(line.result.clone()) {
            None => (None, error("server_error", "the call has no answer")),
            result => (result, Value::Null),
        },
    };
    json!({
        "id": format!("batch_req_{}", line.id),
        "custom_id": line.label,
        "response": result.map(|result| response(&line.id, &result)),
        "error": error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn lines(text: &str) -> Result<Vec<NewJob>, String> {
        read_lines(text.as_bytes(), CHAT, ("key", 9), Duration::from_secs(1))
    }

    #[test]
    fn lines_become_jobs_with_their_bodies_as_they_are() {
        let line = |id: u8| {
            format!(
                r#"{{"custom_id": "{id}", "method": "POST", "url": "{CHAT}", "body": {{"a":  1.0}}}}"#
            )
        };
        let jobs = lines(&[line(1), String::new(), line(2)].join("\r\n")).unwrap();
        let labels: Vec<&str> = jobs.iter().map(|job| &*job.label).collect();
        assert_eq!(labels, ["1", "2"]);
        let request = JobRequest::of(jobs[0].request.clone()).unwrap();
        assert_eq!(&request.body[..], br#"{"a":  1.0}"#);
        for (wrong, why) in [
            (String::new(), "the file has no lines"),
            ("{}".to_owned(), "line 1: missing field `custom_id`"),
            (line(1).replace("POST", "GET"), "line 1: `method`"),
            (line(1).replace("chat", "cat"), "line 1: `url`"),
            (line(1).replace(r#"{"a":  1.0}"#, "[]"), "line 1: `body`"),
            ([line(1), line(1)].join("\n"), "line 2: `custom_id`"),
            (line(1).replace("\"1\"", "\"\""), "line 1: `custom_id`"),
        ] {
            let error = lines(&wrong).unwrap_err();
            assert!(error.starts_with(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_batch_has_the_states_of_the_api() {
        let counts = |open, expired| kebne_jobs::BatchCounts {
            total: 3,
            open,
            expired,
            ..kebne_jobs::BatchCounts::default()
        };
        for (cancelling, ended, counts, expected) in [
            (None, None, counts(2, 0), "in_progress"),
            (None, None, counts(0, 0), "finalizing"),
            (Some(1), None, counts(1, 0), "cancelling"),
            (Some(1), Some(2), counts(0, 0), "cancelled"),
            (None, Some(2), counts(0, 1), "expired"),
            (None, Some(2), counts(0, 0), "completed"),
        ] {
            let batch = Batch {
                id: "batch-1".to_owned(),
                details: Vec::new(),
                created: 0,
                expires: 0,
                started: None,
                cancelling,
                finalizing: None,
                ended,
                counts,
            };
            assert_eq!(shown_batch(&batch)["status"], expected);
        }
    }
}
