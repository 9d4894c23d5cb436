//! The protocols between model servers and their clients, as pure functions on bytes and types.
//!
//! Nothing in this crate performs I/O or reads a clock: every function takes bytes, headers and the current time as
//! arguments and returns values. It knows dialects, never actors.

pub mod about;
pub mod adjust;
pub mod answer;
pub mod anthropic;
mod chunk;
pub mod classify;
mod direct;
pub mod encoding;
mod endpoint;
pub mod error;
pub mod file_search;
pub mod fold;
pub mod framing;
pub mod inputs;
pub mod json;
mod json_depth;
pub mod mcp;
mod members;
pub mod message;
pub mod multipart;
mod native;
mod normal_form;
pub mod one_chunk;
pub mod passed_headers;
pub mod quota;
pub mod redact;
pub mod request;
pub mod responses;
mod role;
pub mod sniff;
pub mod splice;
pub mod sse;
pub mod stream;
pub mod stream_usage;
pub mod surrogates;
pub mod texts;
mod tool_calls;
pub mod tool_rounds;
pub mod translate;
pub mod turn;
pub mod usage;
pub mod whole;

pub use direct::Direct;
pub use endpoint::{Endpoint, PassThrough};
pub use native::{Native, NativeApi};
pub use request::ModelRequest;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
