//! Anthropic's Messages API: messages and the counting of their tokens.
//!
//! A call becomes a chat call. Backends that have the Messages API get it unchanged, and their answers are returned
//! unchanged; the answers of all others are translated.

use std::{borrow::Cow, sync::Arc};

use actix_web::http::{StatusCode, header::HeaderName};
use bytes::Bytes;
use kebne_wire::{
    Native, NativeApi,
    adjust::Author,
    anthropic::{self, ErrorKind, EventWriter, MessageContext},
    passed_headers::RateLimitDialect,
    request::{Endpoint, Parsed, parse},
    translate::InvalidField,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::surface::{AnswerWriter, Reading, Surface, data_of, error::ApiError, json};

/// `POST /v1/messages`.
pub static MESSAGES: Messages = Messages;

/// The status of this surface for a lack of capacity.
const OVERLOADED: u16 = 529;

/// The Messages API.
#[derive(Debug)]
pub struct Messages;

impl Surface for Messages {
    fn name(&self) -> &'static str {
        "messages"
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
        let request = json(&body)?;
        let context = MessageContext::of_request(&request, &*request_id);
        let writer = Box::new(MessageWriter::new(context));
        // The fields that admission reads have the same names.
        let native = parse(Endpoint::Chat, body, Arc::clone(&request_id))?;
        match anthropic::to_chat(request) {
            Ok(chat) => {
                let mut parsed = parse(Endpoint::Chat, chat.body.to_string().into(), request_id)?;
                parsed.request.native = Some(native_of(&native, false));
                parsed.request.author = Author::Translation;
                Ok(Reading {
                    omitted: chat.omitted,
                    ..Reading::new(parsed, writer)
                })
            }
            Err(error) => {
                let mut parsed = native;
                parsed.request.native = Some(native_of(&parsed, true));
                Ok(Reading {
                    only_native: Some(error.into()),
                    ..Reading::new(parsed, writer)
                })
            }
        }
    }

    fn status(&self, error: &ApiError) -> StatusCode {
        match error.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                StatusCode::from_u16(OVERLOADED).unwrap_or(error.status())
            }
            status => status,
        }
    }

    fn id_header(&self) -> Option<HeaderName> {
        Some(HeaderName::from_static("request-id"))
    }

    fn rate_limits(&self) -> RateLimitDialect {
        RateLimitDialect::Anthropic
    }

    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes {
        let kind = ErrorKind::of_status(self.status(error).as_u16());
        let body = anthropic::error_body(kind, error.message(), request_id);
        body.to_string().into()
    }

    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes {
        let kind = ErrorKind::of_status(self.status(error).as_u16());
        anthropic::error_event(kind, error.message(), request_id).into()
    }
}

/// Returns a Messages request as a chat, to count its tokens.
///
/// # Errors
/// Returns an error if a field is missing, has the wrong type or cannot be counted.
pub fn to_be_counted(body: &[u8]) -> Result<Value, ApiError> {
    let mut request = json(body)?;
    // A request to count has no output bound; the translation requires one.
    if let Some(request) = request.as_object_mut() {
        request.insert("max_tokens".to_owned(), 1.into());
    }
    let chat = anthropic::to_chat(request);
    Ok(chat
        .map_err(|error: InvalidField| ApiError::from(error))?
        .body)
}

/// Returns `true` for the data of an event of this dialect; chat chunks have no type.
fn is_message_event(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow, rename = "type")]
        _kind: Cow<'a, str>,
        choices: Option<IgnoredAny>,
    }
    serde_json::from_slice::<View<'_>>(data).is_ok_and(|view| view.choices.is_none())
}

/// Returns `true` for a whole message.
fn is_message(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    serde_json::from_slice::<View<'_>>(body).is_ok_and(|view| view.kind == "message")
}

fn native_of(parsed: &Parsed, is_required: bool) -> Native {
    Native {
        api: NativeApi::Messages,
        is_required,
        body: parsed.request.body.clone(),
        model_span: parsed.request.model_span.clone(),
    }
}

/// Creates a message from the answer, unless it already is one.
#[derive(Debug)]
struct MessageWriter {
    context: MessageContext,
    writer: EventWriter,
    /// `true` once the stream has begun with an event of this dialect; `None` before the first event.
    is_native: Option<bool>,
    /// Events that were written before an error.
    written: String,
}

impl MessageWriter {
    fn new(context: MessageContext) -> Self {
        Self {
            writer: EventWriter::new(context.clone()),
            context,
            is_native: None,
            written: String::new(),
        }
    }
}

impl AnswerWriter for MessageWriter {
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        if is_message(&body) {
            return Ok(body);
        }
        let message = anthropic::message_of_chat(&body, &self.context)?;
        Ok(message.to_string().into())
    }

    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError> {
        let is_native = self
            .is_native
            .get_or_insert_with(|| data_of(&events).next().is_some_and(is_message_event));
        if *is_native {
            return Ok(events);
        }
        let mut out = String::with_capacity(2 * events.len());
        for data in data_of(&events) {
            let written = self.writer.data(data, &mut out);
            if let Err(error) = written {
                self.written = out;
                return Err(error.into());
            }
        }
        Ok(out.into())
    }

    fn end(&mut self) -> Result<Bytes, ApiError> {
        if self.is_native == Some(true) {
            return Ok(Bytes::new());
        }
        let mut out = String::new();
        self.writer.end(&mut out)?;
        Ok(out.into())
    }

    fn failed(&mut self, error: &ApiError) -> Option<Bytes> {
        if self.written.is_empty() {
            return None;
        }
        let mut out = std::mem::take(&mut self.written).into_bytes();
        out.extend_from_slice(&MESSAGES.error_event(error, &self.context.id));
        Some(out.into())
    }
}
