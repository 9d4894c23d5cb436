//! The dialects in which callers speak to the gateway.
//!
//! A [`Surface`] reads a caller's body into a call, renders errors in its own shape, and writes the answer back. Between
//! the two every call is a call of the `OpenAI` dialect. A new dialect is a new implementation of the trait and a route
//! that names it; no stage changes.

pub mod error;
pub mod openai;

use std::{fmt, sync::Arc};

use actix_web::http::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap},
};
use bytes::Bytes;
use kebne_wire::request::Parsed;

use error::ApiError;

/// The comment that keeps a waiting event stream alive.
const COMMENT: Bytes = Bytes::from_static(b": waiting for the first token\n\n");

/// One operation of one dialect towards callers.
pub trait Surface: fmt::Debug + Send + Sync {
    /// Returns the name for logs.
    fn name(&self) -> &'static str;

    /// Returns the API key that the caller presents: by default the bearer token of `Authorization`.
    fn key<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        bearer(headers)
    }

    /// Returns `true` if calls can belong to a session or be led by a prompt: those whose calls become chat calls.
    fn has_turns(&self) -> bool;

    /// Reads a body. Runs on a thread beside the event loop when the body is large.
    ///
    /// # Errors
    /// When the body cannot be used; the error names the field.
    fn read(&self, body: Bytes, request_id: Arc<str>) -> Result<Reading, ApiError>;

    /// Returns the status of an error: by default the error's own.
    fn status(&self, error: &ApiError) -> StatusCode {
        error.status()
    }

    /// Returns the JSON body of an error.
    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes;

    /// Returns the event that reports a loss within a stream. No regular end follows it.
    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes;

    /// Returns what keeps a stream alive whose first token is still awaited.
    fn keep_alive(&self) -> Bytes {
        COMMENT
    }
}

/// A body that was read.
#[derive(Debug)]
pub struct Reading {
    /// The call in the `OpenAI` dialect.
    pub parsed: Parsed,
    /// Translates the answer back.
    pub writer: Box<dyn AnswerWriter>,
}

/// Translates one answer from the `OpenAI` dialect into that of its caller.
pub trait AnswerWriter: fmt::Debug + Send {
    /// Translates a whole answer.
    ///
    /// # Errors
    /// When the answer cannot be read.
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError>;

    /// Translates complete events; the result is empty when there is nothing to say yet.
    ///
    /// # Errors
    /// When the answer cannot be read.
    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError>;

    /// Returns what follows the last event of a stream that ended cleanly; empty when nothing does.
    ///
    /// # Errors
    /// When the answer is not complete.
    fn end(&mut self) -> Result<Bytes, ApiError> {
        Ok(Bytes::new())
    }
}

/// Returns the bearer token of a request.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
