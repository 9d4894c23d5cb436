//! The dialects of callers.
//!
//! A [`Surface`] reads a caller's body into a call, renders errors in its own shape, and writes the answer back. In
//! between, every call is a call of the `OpenAI` dialect. A new dialect needs a new implementation of the trait and a
//! route with it; no stage changes.

pub mod error;
pub mod functions;
pub mod messages;
pub mod openai;
pub mod responses;
#[cfg(feature = "mcp")]
pub mod tools;

use std::{fmt, sync::Arc, time::SystemTime};

use actix_web::http::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use kebne_wire::{
    file_search::{FileSearch, Found},
    mcp::{McpStep, McpTools},
    passed_headers::{RateLimitDialect, rate_limits_in},
    request::Parsed,
    tool_rounds::RoundsPart,
};
use serde_json::Value;

use error::ApiError;
use responses::NewResponse;

/// The largest number of values in a body that is parsed into a tree. A tree of them takes about ten megabytes, and no
/// conversation has as many.
const VALUES_MAX: usize = 200_000;

/// The comment that keeps a waiting event stream alive.
const COMMENT: Bytes = Bytes::from_static(b": waiting for the backend\n\n");

/// One operation of one dialect of callers.
pub trait Surface: fmt::Debug + Send + Sync {
    /// Returns the name for logs.
    fn name(&self) -> &'static str;

    /// Returns `true` if calls can belong to a session or be led by a prompt: those whose calls become chat calls.
    fn has_turns(&self) -> bool;

    /// Returns `true` if calls name a function, or an MCP server, beside their body, which is any JSON.
    fn calls_functions(&self) -> bool {
        false
    }

    /// Returns `true` if calls name an MCP server.
    fn calls_tools(&self) -> bool {
        false
    }

    /// Returns `true` if answers report the steps with tools that the gateway has called, so that callers send them back with the next call.
    fn reports_steps(&self) -> bool {
        false
    }

    /// Reads a body with a content type. It runs on a thread beside the event loop if the body is large.
    ///
    /// # Errors
    /// Returns an error if the body cannot be used; the error names the field.
    fn read(
        &self,
        body: Bytes,
        content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError>;

    /// Returns the status of an error: by default the error's own.
    fn status(&self, error: &ApiError) -> StatusCode {
        error.status()
    }

    /// Returns the header that carries the id of a request besides `x-request-id`.
    fn id_header(&self) -> Option<HeaderName> {
        None
    }

    /// Returns the family of rate-limit headers that callers read.
    fn rate_limits(&self) -> RateLimitDialect {
        RateLimitDialect::OpenAi
    }

    /// Returns the JSON body of an error.
    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes;

    /// Returns the event that reports a loss within a stream. No normal end follows it.
    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes;

    /// Returns the bytes that keep a stream alive while its next token is awaited.
    fn keep_alive(&self) -> Bytes {
        COMMENT
    }
}

/// The result of reading a body.
#[derive(Debug)]
pub struct Reading {
    /// The call in the `OpenAI` dialect.
    pub parsed: Parsed,
    /// Translates the answer back.
    pub writer: Box<dyn AnswerWriter>,
    /// Names of the hints that the call leaves out, because the `OpenAI` dialect does not have them.
    pub omitted: Vec<String>,
    /// The error of a call that only backends of the caller's own dialect can carry out; returned if there is no such
    /// backend.
    pub only_native: Option<ApiError>,
    /// The response of the call, if responses can be kept and continued.
    pub response: Option<Box<NewResponse>>,
    /// The search that the tool `file_search` asks for. The call is without the tool.
    pub file_search: Option<FileSearch>,
    /// The MCP servers whose tools the call has called here. The call is without them.
    pub mcp: Option<Box<McpTools>>,
}

impl Reading {
    /// Creates a reading of a call without further properties.
    pub fn new(parsed: Parsed, writer: Box<dyn AnswerWriter>) -> Self {
        Self {
            parsed,
            writer,
            omitted: Vec::new(),
            only_native: None,
            response: None,
            file_search: None,
            mcp: None,
        }
    }
}

/// Translates one answer from the `OpenAI` dialect into that of its caller.
pub trait AnswerWriter: fmt::Debug + Send {
    /// Translates a whole answer.
    ///
    /// # Errors
    /// Returns an error if the answer cannot be read.
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError>;

    /// Translates complete events. The result is empty if there is nothing to write yet.
    ///
    /// # Errors
    /// Returns an error if the answer cannot be read.
    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError>;

    /// Returns the end of a stream that ended normally; it may be empty.
    ///
    /// # Errors
    /// Returns an error if the answer is not complete.
    fn end(&mut self) -> Result<Bytes, ApiError> {
        Ok(Bytes::new())
    }

    /// Returns the events that end a stream with an error, if they depend on what was written before. Otherwise the
    /// surface's own event is used.
    fn failed(&mut self, _error: &ApiError) -> Option<Bytes> {
        None
    }

    /// Replaces texts of the request that the answer repeats. `replace` returns `None` for a text that stays.
    fn replace_repeated(&mut self, _replace: &dyn Fn(&str) -> Option<String>) {}

    /// Sets what was found for the call, before anything is written.
    fn set_found(&mut self, _found: Found) {}

    /// Writes a step with a tool that the gateway has called. By default it is not reported.
    fn step(&mut self, _step: &McpStep) -> Bytes {
        Bytes::new()
    }

    /// Translates a whole answer of several rounds; `parts` are its parts, and `whole` is all of it as one chat answer, which is used by default.
    ///
    /// # Errors
    /// Returns an error if the answer cannot be read.
    fn rounds(&mut self, _parts: Vec<RoundsPart>, whole: Bytes) -> Result<Bytes, ApiError> {
        self.whole(whole)
    }

    /// Returns the whole answer once it is complete, to be kept in the caller's dialect.
    fn answer(&self) -> Option<&Value> {
        None
    }
}

/// The operations of callers that are calls to models, by their paths.
pub(crate) const OPERATIONS: [(&str, &dyn Surface); 11] = [
    ("/v1/chat/completions", &openai::CHAT),
    ("/v1/completions", &openai::COMPLETIONS),
    ("/v1/embeddings", &openai::EMBEDDINGS),
    ("/v1/audio/speech", &openai::SPEECH),
    ("/v1/audio/transcriptions", &openai::TRANSCRIPTIONS),
    ("/v1/audio/translations", &openai::TRANSLATIONS),
    ("/v1/images/generations", &openai::IMAGES),
    ("/v1/rerank", &openai::RERANK),
    ("/v1/moderations", &openai::MODERATIONS),
    ("/v1/messages", &messages::MESSAGES),
    ("/v1/responses", &responses::RESPONSES),
];

/// Returns the surface of an operation; `None` if no operation has this path.
pub(crate) fn of_operation(path: &str) -> Option<&'static dyn Surface> {
    let mut operations = OPERATIONS.into_iter();
    let (_, surface) = operations.find(|(known, _)| *known == path)?;
    Some(surface)
}

/// Returns the surface of a path, for errors that occur outside an operation.
pub fn of_path(path: &str) -> &'static dyn Surface {
    match path.strip_prefix("/v1/messages") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => &messages::MESSAGES,
        _ => &openai::CHAT,
    }
}

/// Reads a JSON body into a tree, for dialects that are translated.
fn json(body: &[u8]) -> Result<Value, ApiError> {
    if values_of(body) > VALUES_MAX {
        let message = format!("the body contains more than {VALUES_MAX} values");
        return Err(ApiError::bad_request(None, message));
    }
    let value: Result<Value, _> = serde_json::from_slice(body);
    let invalid = |error: String| {
        ApiError::bad_request(None, format!("the body is not a valid JSON object{error}"))
    };
    let value = value.map_err(|error| invalid(format!(": {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(invalid(String::new()))
    }
}

/// Returns the number of values in a JSON text, or a slightly larger number.
fn values_of(body: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// Returns the data of complete events, each of which has one line of data.
fn data_of(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = events.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_prefix(b"data:"))
}

/// Returns the headers of a backend's answer in the form for callers of a surface.
pub(crate) fn passed(
    surface: &dyn Surface,
    headers: &http::HeaderMap,
) -> Vec<(HeaderName, HeaderValue)> {
    if headers.is_empty() {
        return Vec::new();
    }
    let headers = rate_limits_in(surface.rate_limits(), headers, SystemTime::now());
    let both = headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    both.collect()
}

/// Returns the key that a request presents, on every path alike: the bearer token of `Authorization`, else `x-api-key` as
/// Anthropic's clients send it, else `api-key` as Azure's do. An empty key counts as none.
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    bearer(headers)
        .or_else(|| plain_key(headers, "x-api-key"))
        .or_else(|| plain_key(headers, "api-key"))
}

/// Returns the bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = header.split_once(' ')?;
    let key = scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())?;
    (!key.is_empty()).then_some(key)
}

/// Returns the key that a header of its own carries.
fn plain_key<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let key = headers.get(name)?.to_str().ok()?.trim();
    (!key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_too_many_values_is_refused_before_it_is_a_tree() {
        assert_eq!(values_of(br#"{"a,[{\\\",":"b","c":[1,2]}"#), 5);
        let many = |count: usize| format!("[{}1]", "1,".repeat(count));
        let list = json(many(VALUES_MAX - 2).as_bytes()).unwrap_err();
        assert_eq!(list.message(), "the body is not a valid JSON object");
        let error = json(many(VALUES_MAX).as_bytes()).unwrap_err();
        assert_eq!(error.status().as_u16(), 400);
        let text = format!(r#"{{"a":"{}"}}"#, ",".repeat(2 * VALUES_MAX));
        assert!(json(text.as_bytes()).is_ok());
        for body in ["null", "[]", "7"] {
            let error = json(body.as_bytes()).unwrap_err();
            assert_eq!(error.message(), "the body is not a valid JSON object");
        }
    }

    #[test]
    fn only_the_paths_of_messages_are_anthropics() {
        let table = [
            ("/v1/messages", "messages"),
            ("/v1/messages/count_tokens", "messages"),
            ("/v1/messagesx", "chat"),
            ("/v1/chat/completions", "chat"),
        ];
        for (path, name) in table {
            assert_eq!(of_path(path).name(), name, "{path}");
        }
    }
}
