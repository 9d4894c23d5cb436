//! A request in the dialect of its caller, for backends that speak this dialect themselves.

mod sources;

use std::ops::Range;

use bytes::Bytes;

/// A dialect other than chat that some backends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeApi {
    /// Anthropic's Messages API.
    Messages,
    /// OpenAI's Responses API.
    Responses,
}

/// A body in the dialect of the caller.
#[derive(Clone, Debug)]
pub struct Native {
    /// The dialect.
    pub api: NativeApi,
    /// The JSON body.
    pub body: Bytes,
    /// The position of the value of the top-level `model` key in `body`, including the quotes.
    pub model_span: Range<usize>,
    /// `true` if only backends that speak the dialect can carry out the call.
    pub is_required: bool,
}
