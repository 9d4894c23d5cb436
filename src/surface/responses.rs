//! OpenAI's Responses API.
//!
//! A call becomes a chat call. Backends that have this API get it unchanged, and their answers are returned with the
//! gateway's id. The stages insert the responses that a call continues, and keep the response.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kebne_wire::{
    adjust::Author,
    file_search::{Found, take_from_chat},
    mcp::McpStep,
    request::{Endpoint, parse},
    responses::{self, EventWriter, Relabel, ResponsesCall, Template, Terms},
    tool_rounds::RoundsPart,
};
use serde_json::Value;

use crate::{
    conversations,
    surface::{AnswerWriter, Reading, Surface, data_of, error::ApiError, json, openai},
    unix_time,
};

/// `POST /v1/responses`.
pub static RESPONSES: Responses = Responses;

/// The Responses API.
#[derive(Debug)]
pub struct Responses;

/// A response in progress.
#[derive(Clone, Debug)]
pub struct NewResponse {
    /// Its id.
    pub id: String,
    /// The request, unchanged.
    pub body: Bytes,
    /// The response that it continues, and whether it is kept.
    pub terms: Terms,
    /// The call for chat backends; `None` if only a backend with this API can carry it out.
    pub call: Option<ResponsesCall>,
}

impl NewResponse {
    /// Creates the writer of the response, which states whether it is kept.
    pub fn writer(&self, is_stored: bool) -> Box<dyn AnswerWriter> {
        let template = self.call.as_ref().map(|call| {
            let mut template = call.template.clone();
            if !is_stored {
                template.set_not_stored();
            }
            template
        });
        let previous = self.terms.previous_response_id.clone();
        Box::new(ResponseWriter {
            chat: template.map(|template| ChatWriter::new(template, self.id.clone())),
            native: Relabel::new(self.id.clone(), previous, is_stored),
            found: None,
            is_native: None,
        })
    }
}

impl Surface for Responses {
    fn name(&self) -> &'static str {
        "responses"
    }

    fn has_turns(&self) -> bool {
        true
    }

    fn reports_steps(&self) -> bool {
        true
    }

    fn read(
        &self,
        body: Bytes,
        _content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        let (file_search, mut mcp);
        let (parsed, omitted, only_native, call, terms) = match responses::to_chat(json(&body)?) {
            Ok(mut call) => {
                let chat = call.chat([]).to_string();
                let mut parsed = parse(Endpoint::Chat, chat.into(), request_id)?;
                parsed.request.author = Author::Translation;
                let omitted = std::mem::take(&mut call.omitted);
                file_search = call.file_search.take();
                mcp = Some(Box::new(call.mcp.clone()));
                let terms = call.terms.clone();
                (parsed, omitted, None, Some(call), terms)
            }
            Err(error) => {
                let terms = Terms::of_request(json(&body)?)?;
                // The fields that admission reads have the same names.
                let parsed = parse(Endpoint::Chat, body.clone(), request_id)?;
                file_search = take_from_chat(&body)?.map(|(_, search)| search);
                mcp = None;
                (parsed, Vec::new(), Some(error.into()), None, terms)
            }
        };
        let response = NewResponse {
            id: conversations::new_id(terms.previous_response_id.as_deref())?,
            body,
            terms,
            call,
        };
        let writer = response.writer(response.terms.store != Some(false));
        mcp = mcp.filter(|mcp| !mcp.is_empty());
        Ok(Reading {
            omitted,
            only_native,
            response: Some(Box::new(response)),
            file_search,
            mcp,
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

/// Writes the response, from a chat answer or from a response of a backend with this API.
#[derive(Debug)]
struct ResponseWriter {
    chat: Option<ChatWriter>,
    native: Relabel,
    /// What was found for the call.
    found: Option<Found>,
    /// `true` once the answer has begun as a response of a backend with this API; `None` before the first event.
    is_native: Option<bool>,
}

impl ResponseWriter {
    /// Returns the writer for chat answers.
    fn chat(&mut self) -> Result<&mut ChatWriter, ApiError> {
        let chat = self.chat.as_mut();
        chat.ok_or_else(|| ApiError::upstream("the backend's answer cannot be read"))
    }
}

impl AnswerWriter for ResponseWriter {
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        let is_native = responses::is_response(&body);
        self.is_native = Some(is_native);
        if is_native {
            return Ok(self.native.whole(&body)?);
        }
        self.chat()?.whole(&body)
    }

    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError> {
        let is_native = self
            .is_native
            .get_or_insert_with(|| responses::are_response_events(&events));
        if *is_native {
            let mut out = BytesMut::with_capacity(events.len());
            self.native.events(&events, &mut out)?;
            return Ok(out.freeze());
        }
        self.chat()?.events(&events)
    }

    fn end(&mut self) -> Result<Bytes, ApiError> {
        if self.is_native == Some(true) {
            return Ok(Bytes::new());
        }
        self.chat()?.end()
    }

    fn failed(&mut self, error: &ApiError) -> Option<Bytes> {
        let (code, message) = (error.reason(), error.message());
        Some(match &mut self.chat {
            Some(chat) if self.is_native != Some(true) => chat.failed(code, message),
            _ => self.native.fail(code, message),
        })
    }

    fn replace_repeated(&mut self, replace: &dyn Fn(&str) -> Option<String>) {
        if let Some(mut found) = self.found.take() {
            found.replace(replace);
            self.set_found(found);
        }
        if let Some(chat) = &mut self.chat {
            chat.template.replace_instructions(replace);
            chat.writer.template_mut().replace_instructions(replace);
        }
    }

    fn set_found(&mut self, found: Found) {
        self.native.set_found(found.clone());
        self.found = Some(found.clone());
        if let Some(chat) = &mut self.chat {
            chat.writer.set_found(found.clone());
            chat.found = Some(found);
        }
    }

    fn step(&mut self, step: &McpStep) -> Bytes {
        self.is_native.get_or_insert(false);
        match &mut self.chat {
            Some(chat) => chat.step(step),
            None => Bytes::new(),
        }
    }

    fn rounds(&mut self, parts: Vec<RoundsPart>, _whole: Bytes) -> Result<Bytes, ApiError> {
        for part in parts {
            match part {
                RoundsPart::Events(events) => self.events(events)?,
                RoundsPart::Step(step) => self.step(&step),
            };
        }
        self.end()?;
        let unreadable = || ApiError::upstream("the backend's answer cannot be read");
        let answer = self.answer().ok_or_else(unreadable)?;
        Ok(answer.to_string().into())
    }

    fn answer(&self) -> Option<&Value> {
        if self.is_native == Some(true) {
            return self.native.response();
        }
        self.chat.as_ref().and_then(ChatWriter::answer)
    }
}

/// Creates a response from a chat answer.
#[derive(Debug)]
struct ChatWriter {
    template: Template,
    id: String,
    created_at: u64,
    writer: EventWriter,
    /// What was found for the call.
    found: Option<Found>,
    /// The response of a whole answer.
    whole: Option<Value>,
    /// Events that were written before an error.
    written: String,
}

impl ChatWriter {
    fn new(template: Template, id: String) -> Self {
        let created_at = unix_time::seconds();
        Self {
            writer: EventWriter::new(template.clone(), id.clone(), created_at),
            template,
            id,
            created_at,
            found: None,
            whole: None,
            written: String::new(),
        }
    }

    fn whole(&mut self, body: &[u8]) -> Result<Bytes, ApiError> {
        let (created_at, now) = (self.created_at, unix_time::seconds());
        let repeated = (&self.template, self.found.as_ref());
        let response = responses::response_of_chat(body, repeated, &self.id, created_at, now)?;
        let body = response.to_string().into();
        self.whole = Some(response);
        Ok(body)
    }

    fn events(&mut self, events: &[u8]) -> Result<Bytes, ApiError> {
        let mut out = String::with_capacity(2 * events.len());
        for data in data_of(events) {
            let written = self.writer.data(data, unix_time::seconds(), &mut out);
            if let Err(error) = written {
                self.written = out;
                return Err(error.into());
            }
        }
        Ok(out.into())
    }

    fn step(&mut self, step: &McpStep) -> Bytes {
        let mut out = String::new();
        self.writer.step(step, &mut out);
        out.into()
    }

    fn end(&mut self) -> Result<Bytes, ApiError> {
        let mut out = String::new();
        self.writer.end(unix_time::seconds(), &mut out)?;
        Ok(out.into())
    }

    fn failed(&mut self, code: &str, message: &str) -> Bytes {
        let mut out = std::mem::take(&mut self.written);
        self.writer.fail(code, message, &mut out);
        out.into()
    }

    fn answer(&self) -> Option<&Value> {
        self.whole.as_ref().or(self.writer.response())
    }
}
