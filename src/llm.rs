//! The types that travel between the HTTP surface, the lanes and the clients of model servers.
//!
//! A streamed answer is passed on as complete server-sent events without copying them.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use http::HeaderMap;
use kebne_control::Kind;
use kebne_lane::{Answer, Failure};
use kebne_wire::PassThrough;
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
    /// Those of a stream.
    OfStream(Arc<StreamUsage>),
}

/// The tokens of a streamed answer. The attempt writes them, the account of the call reads them.
#[derive(Debug, Default)]
pub struct StreamUsage {
    /// What the server has reported; set before the last part is sent.
    reported: OnceLock<Usage>,
    /// The tokens of the output that have arrived, about one for each event.
    arrived: AtomicU32,
}

impl StreamUsage {
    /// Sets what the server has reported. Only the first report counts.
    pub(crate) fn report(&self, usage: impl FnOnce() -> Usage) {
        self.reported.get_or_init(usage);
    }

    /// Sets the number of tokens that have arrived.
    pub(crate) fn arrived(&self, tokens: u32) {
        self.arrived.store(tokens, Relaxed);
    }
}

impl AnswerUsage {
    /// Returns the tokens that are known now.
    pub fn known(&self) -> Usage {
        match self {
            Self::Known(usage) => *usage,
            Self::OfStream(usage) => usage.reported.get().copied().unwrap_or_default(),
        }
    }

    /// Returns the tokens of the output that have arrived in a stream, as far as they can be counted.
    pub fn arrived(&self) -> u32 {
        match self {
            Self::Known(_) => 0,
            Self::OfStream(usage) => usage.arrived.load(Relaxed),
        }
    }
}

impl Default for AnswerUsage {
    fn default() -> Self {
        Self::Known(Usage::default())
    }
}

/// Returns the properties on which the time of a call depends, besides the load.
pub(crate) fn kind_of(request: &ModelRequest, tokens: u32, output_tokens_max: u32) -> Kind {
    let class = match request.endpoint {
        Endpoint::Chat => 0,
        Endpoint::Completions => 1,
        Endpoint::Embeddings => 2,
        Endpoint::PassThrough(PassThrough::Speech) => 3,
        Endpoint::PassThrough(PassThrough::Transcriptions) => 4,
        Endpoint::PassThrough(PassThrough::Translations) => 5,
        Endpoint::PassThrough(PassThrough::Images) => 6,
        Endpoint::PassThrough(PassThrough::Rerank) => 7,
        Endpoint::PassThrough(PassThrough::Moderations) => 8,
        Endpoint::PassThrough(PassThrough::Direct) => 9,
        Endpoint::PassThrough(PassThrough::Function) => 10,
        Endpoint::PassThrough(PassThrough::Tool) => 11,
    };
    Kind {
        class: 2 * class + u32::from(request.stream),
        input: tokens.saturating_sub(output_tokens_max),
        output: output_tokens_max,
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
