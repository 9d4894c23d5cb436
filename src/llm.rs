//! The types that travel between the HTTP surface, the lanes and the clients of model servers.
//!
//! A streamed answer is passed on as complete server-sent events without copying them.

use bytes::Bytes;
use http::HeaderMap;
use kebne_lane::Failure;
pub use kebne_wire::request::{Endpoint, ModelRequest};
use tokio::sync::mpsc;

/// A model's answer: a success of the backend.
#[derive(Debug)]
pub struct ModelResponse {
    /// The answer itself.
    pub body: ModelBody,
    /// Headers of the backend's answer that are passed on to the caller.
    pub headers: HeaderMap,
}

impl From<ModelBody> for ModelResponse {
    fn from(body: ModelBody) -> Self {
        Self {
            body,
            headers: HeaderMap::new(),
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
