//! A response that continues others and is kept: what goes before it, and where it will be.

use std::{future::Future, pin::Pin, sync::Arc};

use kebne_context::{ContextError, store::StoreError};
use kebne_wire::request::{Endpoint, Parsed, parse};
use serde_json::Value;

use crate::{
    conversations::{ConversationError, Place},
    state::State,
    surface::{AnswerWriter, error::ApiError, responses::NewResponse},
};

/// A response that is being kept.
pub(super) type KeepingResponse = Pin<Box<dyn Future<Output = Result<(), ApiError>>>>;

/// Where a response will be kept, and the messages that it answers.
#[derive(Debug)]
pub(super) struct Keep {
    place: Place,
    asked: Vec<Value>,
}

impl Keep {
    /// Keeps the response.
    pub(super) fn keep(self, response: Value) -> KeepingResponse {
        Box::pin(async move { Ok(self.place.keep(response, self.asked).await?) })
    }
}

/// A response that was prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Keeps it; `None` if it is not kept.
    pub(super) keep: Option<Keep>,
    /// Writes it, when it is not kept although its caller did not decline that.
    pub(super) writer: Option<Box<dyn AnswerWriter>>,
    /// Responses that go along, and those that were left out.
    pub(super) history: Option<(usize, u64)>,
}

/// Puts the messages of earlier responses into the call, and makes room for the new one.
///
/// # Errors
/// Returns an error if the response that it continues is not there, or there is no room and the caller wants it to be
/// kept.
pub(super) async fn prepare(
    state: &State,
    owner: &str,
    response: NewResponse,
    parsed: &mut Parsed,
) -> Result<Prepared, ApiError> {
    let call = &response.call;
    let previous = call.previous_response_id.as_deref();
    let mut prepared = Prepared::default();
    if let Some(previous) = previous {
        let history = state.conversations.history(owner, previous, call.truncates);
        let history = history.await?;
        prepared.history = Some((history.turns, history.left_out as u64));
        let chat = call.chat(history.messages).to_string();
        let id = Arc::clone(&parsed.request.request_id);
        *parsed = parse(Endpoint::Chat, chat.into(), id)?;
    }
    if call.store == Some(false) {
        return Ok(prepared);
    }
    match state
        .conversations
        .place(owner, &response.id, previous)
        .await
    {
        Ok(place) => {
            prepared.keep = Some(Keep {
                place,
                asked: response.call.messages,
            });
        }
        // Who did not ask for it must not fail for it: the response says that it is not kept.
        Err(ConversationError::Context(ContextError::Store(StoreError::Full)))
            if call.store.is_none() =>
        {
            prepared.writer = Some(response.writer(false));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(prepared)
}
