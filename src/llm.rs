//! The types that travel between the HTTP surface, the lanes and the clients of model servers.
//!
//! A streamed answer is passed on as complete server-sent events without copying them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::HeaderMap;
use kebne_lane::{Answer, Failure};
pub use kebne_wire::{
    request::{Endpoint, ModelRequest},
    usage::Usage,
};
use tokio::sync::mpsc;

/// A model's answer: a success of the backend.
#[derive(Debug)]
pub struct ModelResponse {
    /// The answer itself.
    pub body: ModelBody,
    /// Headers of the backend's answer that are passed on to the caller.
    pub headers: HeaderMap,
    /// The tokens that the backend reports.
    pub usage: AnswerUsage,
}

/// The tokens of an answer, which a stream reports at its end.
#[derive(Clone, Debug)]
pub enum AnswerUsage {
    /// Those of a whole answer.
    Known(Usage),
    /// Those of a stream, which are set before its last part is sent.
    AtEnd(Arc<OnceLock<Usage>>),
}

impl AnswerUsage {
    /// Returns the tokens that are known now.
    pub fn known(&self) -> Usage {
        match self {
            Self::Known(usage) => *usage,
            Self::AtEnd(usage) => usage.get().copied().unwrap_or_default(),
        }
    }
}

impl Default for AnswerUsage {
    fn default() -> Self {
        Self::Known(Usage::default())
    }
}

/// Creates a whole answer.
pub(crate) fn whole_answer(body: Bytes, usage: Usage) -> Answer<ModelResponse> {
    let mut response = ModelResponse::from(ModelBody::Whole(body));
    response.usage = AnswerUsage::Known(usage);
    let mut answer = Answer::complete(response);
    answer.tokens = usage.output_tokens();
    answer
}

impl From<ModelBody> for ModelResponse {
    fn from(body: ModelBody) -> Self {
        Self {
            body,
            headers: HeaderMap::new(),
            usage: AnswerUsage::default(),
        }
    }
}

/// The body of an answer, whole or streamed.
#[derive(Debug)]
pub enum ModelBody {
    /// The whole JSON body.
    Whole(Bytes),
    /// Complete server-sent events, the first of which is already there.
    Stream(mpsc::Receiver<StreamItem>),
    /// The whole body of an operation that passes through, with its content type.
    Opaque(String, Bytes),
}

/// One step of a streamed answer. A channel that closes without `End` or `Lost` means that the attempt
/// died (a panic): the reader must treat that as a loss, never as an end.
#[derive(Debug)]
pub enum StreamItem {
    /// One or more complete events, each of which ends with a blank line, without `id:` and `retry:` lines. The last
    /// chunk of a complete stream contains `data: [DONE]`.
    Events(Bytes),
    /// The stream ended normally.
    End,
    /// The stream was lost after the first event.
    Lost(Failure),
}

/// Parts between an attempt and the HTTP body; beyond that a slow reader slows the upstream read. While the body waits for
/// its turn on the thread the attempt gathers parts, which are then written together.
pub const STREAM_BUFFER_ITEMS: usize = 16;
