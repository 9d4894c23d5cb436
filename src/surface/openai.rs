//! The `OpenAI` dialect: chat, completions, embeddings, and operations for which only the model's name is read. Bodies
//! and answers are passed on unchanged.

use std::sync::Arc;

use bytes::Bytes;
use kebne_wire::{
    PassThrough,
    file_search::take_from_chat,
    request::{Endpoint, parse, parse_form},
};
use serde_json::Value;

use crate::surface::{AnswerWriter, Reading, Surface, error::ApiError};

/// `POST /v1/chat/completions`.
pub static CHAT: OpenAi = OpenAi(Endpoint::Chat);
/// `POST /v1/completions`.
pub static COMPLETIONS: OpenAi = OpenAi(Endpoint::Completions);
/// `POST /v1/embeddings`.
pub static EMBEDDINGS: OpenAi = OpenAi(Endpoint::Embeddings);
/// `POST /v1/audio/speech`.
pub static SPEECH: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Speech));
/// `POST /v1/audio/transcriptions`.
pub static TRANSCRIPTIONS: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Transcriptions));
/// `POST /v1/audio/translations`.
pub static TRANSLATIONS: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Translations));
/// `POST /v1/images/generations`.
pub static IMAGES: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Images));
/// `POST /v1/rerank`.
pub static RERANK: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Rerank));
/// `POST /v1/moderations`.
pub static MODERATIONS: OpenAi = OpenAi(Endpoint::PassThrough(PassThrough::Moderations));

/// The beginning of the content type of a form.
const FORM: &str = "multipart/form-data";

/// One operation of the `OpenAI` dialect.
#[derive(Debug)]
pub struct OpenAi(Endpoint);

/// Passes answers on unchanged.
#[derive(Clone, Copy, Debug)]
struct AsItCame;

impl Surface for OpenAi {
    fn name(&self) -> &'static str {
        match self.0 {
            Endpoint::Chat => "chat",
            Endpoint::Completions => "completions",
            Endpoint::Embeddings => "embeddings",
            Endpoint::PassThrough(operation) => operation.path(),
        }
    }

    fn has_turns(&self) -> bool {
        self.0 == Endpoint::Chat
    }

    fn read(
        &self,
        body: Bytes,
        content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        let form = content_type.filter(|name| is_form(name));
        let parsed = match form {
            Some(form) if matches!(self.0, Endpoint::PassThrough(_)) => {
                parse_form(self.0, form, body, request_id)?
            }
            _ if self.0 == Endpoint::Chat => return read_chat(body, request_id),
            _ => parse(self.0, body, request_id)?,
        };
        Ok(Reading::new(parsed, Box::new(AsItCame)))
    }

    fn error_body(&self, error: &ApiError, _request_id: &str) -> Bytes {
        match error.verbatim() {
            Some(body) => body.clone(),
            None => error.body().to_string().into(),
        }
    }

    fn error_event(&self, error: &ApiError, _request_id: &str) -> Bytes {
        // An event is one line, but the backend's own object may have several lines.
        let own = error
            .verbatim()
            .and_then(|body| serde_json::from_slice::<Value>(body).ok());
        format!("data: {}\n\n", own.unwrap_or_else(|| error.body())).into()
    }
}

/// Returns the writer that passes answers on unchanged.
#[cfg(feature = "mcp")]
pub(crate) fn unchanged() -> Box<dyn AnswerWriter> {
    Box::new(AsItCame)
}

/// Reads a chat call. The tool `file_search` is taken out of it.
fn read_chat(body: Bytes, request_id: Arc<str>) -> Result<Reading, ApiError> {
    let (body, file_search) = match take_from_chat(&body)? {
        Some((rest, search)) => (rest, Some(search)),
        None => (body, None),
    };
    let parsed = parse(Endpoint::Chat, body, request_id)?;
    Ok(Reading {
        file_search,
        ..Reading::new(parsed, Box::new(AsItCame))
    })
}

fn is_form(content_type: &str) -> bool {
    let start = content_type.get(..FORM.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}

impl AnswerWriter for AsItCame {
    fn whole(&mut self, body: Bytes) -> Result<Bytes, ApiError> {
        Ok(body)
    }

    fn events(&mut self, events: Bytes) -> Result<Bytes, ApiError> {
        Ok(events)
    }
}
