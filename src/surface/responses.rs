//! OpenAI's Responses API.
//!
//! A call becomes a chat call; what it continues is put before it by the stages, which also keep the response.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use kebne_wire::{
    request::{Endpoint, parse},
    responses::{self, EventWriter, ResponsesCall, Template},
};
use serde_json::Value;

use crate::{
    conversations,
    surface::{AnswerWriter, Reading, Surface, data_of, error::ApiError, json, openai},
};

/// `POST /v1/responses`.
pub static RESPONSES: Responses = Responses;

/// The Responses API.
#[derive(Debug)]
pub struct Responses;

/// A response that is being made.
#[derive(Clone, Debug)]
pub struct NewResponse {
    /// Its id.
    pub id: String,
    /// What was asked.
    pub call: ResponsesCall,
}

impl NewResponse {
    /// Creates the writer of the response, which says whether it is kept.
    pub fn writer(&self, is_stored: bool) -> Box<dyn AnswerWriter> {
        let mut template = self.call.template.clone();
        if !is_stored {
            template.set_not_stored();
        }
        Box::new(ResponseWriter::new(template, self.id.clone()))
    }
}

impl Surface for Responses {
    fn name(&self) -> &'static str {
        "responses"
    }

    fn has_turns(&self) -> bool {
        true
    }

    fn read(
        &self,
        body: Bytes,
        _content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        let mut call = responses::to_chat(json(&body)?)?;
        let id = conversations::new_id(call.previous_response_id.as_deref())?;
        let parsed = parse(Endpoint::Chat, call.chat([]).to_string().into(), request_id)?;
        let omitted = std::mem::take(&mut call.omitted);
        let response = NewResponse { id, call };
        let writer = response.writer(response.call.store != Some(false));
        Ok(Reading {
            omitted,
            response: Some(Box::new(response)),
            ..Reading::new(parsed, writer)
        })
    }

    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes {
        openai::CHAT.error_body(error, request_id)
    }

    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes {
        openai::CHAT.error_event(error, request_id)
    }
}

/// Creates a response of the answer.
#[derive(Debug)]
struct ResponseWriter {
    template: Template,
    id: String,
    created_at: u64,
    writer: EventWriter,
    /// The response of a whole answer.
    whole: Option<Value>,
}

impl ResponseWriter {
    fn new(template: Template, id: String) -> Self {
        let created_at = unix_seconds();
        Self {
            writer: EventWriter::new(template.clone(), id.clone(), created_at),
            template,
            id,
            created_at,
            whole: None,
        }
    }
}

impl AnswerWriter for ResponseWriter {
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        let (created_at, now) = (self.created_at, unix_seconds());
        let response =
            responses::response_of_chat(&body, &self.template, &self.id, created_at, now)?;
        let body = response.to_string().into();
        self.whole = Some(response);
        Ok(body)
    }

    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError> {
        let mut out = String::with_capacity(2 * events.len());
        for data in data_of(&events) {
            self.writer.data(data, unix_seconds(), &mut out)?;
        }
        Ok(out.into())
    }

    fn end(&mut self) -> Result<Bytes, ApiError> {
        let mut out = String::new();
        self.writer.end(unix_seconds(), &mut out)?;
        Ok(out.into())
    }

    fn failed(&mut self, error: &ApiError) -> Option<Bytes> {
        let mut out = String::new();
        self.writer.fail(error.reason(), error.message(), &mut out);
        Some(out.into())
    }

    fn answer(&self) -> Option<&Value> {
        self.whole.as_ref().or(self.writer.response())
    }
}

/// Returns the seconds of Unix time.
fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
