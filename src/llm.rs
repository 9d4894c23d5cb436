//! What travels between the HTTP surface, the lanes and the clients of model servers.
//!
//! The caller's bytes are carried as they came: only what admission needs is ever parsed, and a streamed
//! answer is passed on as complete server-sent events without copying them.

use std::sync::Arc;

use bytes::Bytes;
use kebne_actors::lane::Failure;
use tokio::sync::mpsc;

/// Which operation of the OpenAI dialect a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
}

impl Endpoint {
    /// Returns the path under the API's base, without a leading slash.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "chat/completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        }
    }
}

/// One call to a model, in the OpenAI dialect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The operation.
    pub endpoint: Endpoint,
    /// The JSON body, exactly as it is to be sent except for the model's name.
    pub body: Bytes,
    /// Where in `body` the value of the top-level `model` key lies, quotes included, so that a backend
    /// which knows the model by another name can splice that in without parsing again.
    pub model_span: std::ops::Range<usize>,
    /// The caller asked for a stream.
    pub stream: bool,
    /// The caller's `x-request-id`, or ours; sent upstream too.
    pub request_id: Arc<str>,
}

/// A model's answer: a success of the backend, whole or streamed.
#[derive(Debug)]
pub enum ModelResponse {
    /// The whole JSON body.
    Whole(Bytes),
    /// Complete server-sent events, the first of which is already there.
    Stream(mpsc::Receiver<StreamItem>),
}

/// One step of a streamed answer. A channel that closes without `End` or `Lost` means that the attempt
/// died (a panic): the reader must treat that as a loss, never as an end.
#[derive(Debug)]
pub enum StreamItem {
    /// One or more complete events (each ends with a blank line), free of `id:` and `retry:` lines. The
    /// last chunk of a clean stream contains `data: [DONE]`.
    Events(Bytes),
    /// The stream ended cleanly.
    End,
    /// The stream was lost after the first event.
    Lost(Failure),
}

/// Chunks in flight between a worker and the HTTP body; beyond that a slow reader slows the upstream read.
pub const STREAM_BUFFER_ITEMS: usize = 16;
