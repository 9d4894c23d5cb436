//! Jobs of callers: calls to models that are queued, carried out by the chain of stages, and whose answers are kept.
//!
//! The queue itself is the crate `kebne-jobs`, which reads neither requests nor results.

mod batch;
mod framed;
mod headers;
mod view;
mod webhook;
mod worker;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use batch::{BatchDetails, read_lines, shown_batch};
pub(crate) use headers::{is_kept, kept};
pub(crate) use view::{shown, shown_in_list};
pub(crate) use webhook::Webhook;
pub(crate) use worker::JobWorker;

/// The request of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRequest {
    pub(crate) head: RequestHead,
    /// The body, as its caller has sent it.
    pub(crate) body: Bytes,
}

/// The head of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestHead {
    /// The path of the operation.
    pub(crate) url: String,
    /// The id of the key for which the call is made.
    pub(crate) key: String,
    /// The caller's own name of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) custom_id: Option<String>,
    /// The headers, which hold no credentials.
    pub(crate) headers: Vec<(String, String)>,
}

/// The result of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobResult {
    pub(crate) head: ResultHead,
    /// The body of the answer.
    pub(crate) body: Bytes,
}

/// The head of a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResultHead {
    /// The status of the answer.
    pub(crate) status: u16,
    /// The type of its body.
    pub(crate) content_type: String,
}

impl JobRequest {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        framed::write(&self.head, &self.body)
    }

    /// Reads a request; `None` if it was written by another version.
    pub(crate) fn of(bytes: Vec<u8>) -> Option<Self> {
        let (head, body) = framed::read(bytes)?;
        Some(Self { head, body })
    }
}

impl JobResult {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        framed::write(&self.head, &self.body)
    }

    /// Reads a result; `None` if there is none.
    pub(crate) fn of(bytes: Vec<u8>) -> Option<Self> {
        let (head, body) = framed::read(bytes)?;
        Some(Self { head, body })
    }
}
