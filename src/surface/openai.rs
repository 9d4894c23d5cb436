//! The `OpenAI` dialect: chat, completions, embeddings. Bodies and answers pass through as they came.

use std::sync::Arc;

use bytes::Bytes;
use kebne_wire::request::{Endpoint, parse};
use serde_json::Value;

use crate::surface::{AnswerWriter, Reading, Surface, error::ApiError};

/// `POST /v1/chat/completions`.
pub static CHAT: OpenAi = OpenAi(Endpoint::Chat);
/// `POST /v1/completions`.
pub static COMPLETIONS: OpenAi = OpenAi(Endpoint::Completions);
/// `POST /v1/embeddings`.
pub static EMBEDDINGS: OpenAi = OpenAi(Endpoint::Embeddings);

/// One operation of the `OpenAI` dialect.
#[derive(Debug)]
pub struct OpenAi(Endpoint);

/// Passes answers on as they came.
#[derive(Clone, Copy, Debug)]
struct AsItCame;

impl Surface for OpenAi {
    fn name(&self) -> &'static str {
        match self.0 {
            Endpoint::Chat => "chat",
            Endpoint::Completions => "completions",
            Endpoint::Embeddings => "embeddings",
        }
    }

    fn has_turns(&self) -> bool {
        self.0 == Endpoint::Chat
    }

    fn read(&self, body: Bytes, request_id: Arc<str>) -> Result<Reading, ApiError> {
        let parsed = parse(self.0, body, request_id)?;
        Ok(Reading::new(parsed, Box::new(AsItCame)))
    }

    fn error_body(&self, error: &ApiError, _request_id: &str) -> Bytes {
        match error.verbatim() {
            Some(body) => body.clone(),
            None => error.body().to_string().into(),
        }
    }

    fn error_event(&self, error: &ApiError, _request_id: &str) -> Bytes {
        // An event is one line; the backend's own object may be spread over several.
        let own = error
            .verbatim()
            .and_then(|body| serde_json::from_slice::<Value>(body).ok());
        format!("data: {}\n\n", own.unwrap_or_else(|| error.body())).into()
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
