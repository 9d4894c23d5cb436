//! Calls of functions: any JSON in, any JSON out. The function is named in the path.

use std::sync::Arc;

use bytes::Bytes;
use kebne_wire::{
    Endpoint, ModelRequest, PassThrough,
    request::{Parsed, tokens_of},
};
use serde::de::IgnoredAny;

use crate::surface::{
    AnswerWriter, Reading, Surface, VALUES_MAX, error::ApiError, openai::CHAT, values_of,
};

/// `POST /v1/functions/{name}`.
pub static FUNCTIONS: Functions = Functions;

/// The operation on functions.
#[derive(Debug)]
pub struct Functions;

/// Passes answers on unchanged.
#[derive(Debug)]
struct AsItCame;

impl Surface for Functions {
    fn name(&self) -> &'static str {
        "functions"
    }

    fn has_turns(&self) -> bool {
        false
    }

    fn calls_functions(&self) -> bool {
        true
    }

    fn read(
        &self,
        body: Bytes,
        _content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        let body = if body.trim_ascii().is_empty() {
            Bytes::from_static(b"null")
        } else {
            body
        };
        if values_of(&body) > VALUES_MAX {
            let message = format!("the body contains more than {VALUES_MAX} values");
            return Err(ApiError::bad_request(None, message));
        }
        if let Err(error) = serde_json::from_slice::<IgnoredAny>(&body) {
            let message = format!("the body is not valid JSON: {error}");
            return Err(ApiError::bad_request(None, message));
        }
        let endpoint = Endpoint::PassThrough(PassThrough::Function);
        let parsed = Parsed {
            // The path names it.
            model: String::new(),
            tokens: tokens_of(body.len()),
            output_tokens_max: 0,
            changes_nothing: false,
            request: ModelRequest::new(endpoint, body, 0..0, request_id),
        };
        Ok(Reading::new(parsed, Box::new(AsItCame)))
    }

    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes {
        CHAT.error_body(error, request_id)
    }

    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes {
        CHAT.error_event(error, request_id)
    }
}

impl AnswerWriter for AsItCame {
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(body)
    }

    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError> {
        Ok(events)
    }
}
