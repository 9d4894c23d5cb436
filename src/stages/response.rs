//! A response that continues others and is kept: its history, and its place.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use kebne_context::{ContextError, store::StoreError};
use kebne_wire::{
    NativeApi,
    adjust::Author,
    inputs::Inputs,
    mcp::McpItems,
    request::{Endpoint, Parsed, parse},
    responses::native_request,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    conversations::{ConversationError, History, Place},
    state::State,
    surface::{AnswerWriter, error::ApiError, responses::NewResponse},
};

/// The longest name of a user, as of other metadata.
const USER_MAX: usize = 512;

/// A response that is being kept. The result is `false` if it was not kept because it reaches a bound.
pub(super) type KeepingResponse = Pin<Box<dyn Future<Output = Result<bool, ApiError>>>>;

/// The place where a response will be kept, and its request.
#[derive(Debug)]
pub(super) struct Keep {
    place: Place,
    request: Bytes,
    /// `true` if the caller requested it to be kept.
    is_required: bool,
}

impl Keep {
    /// Returns the request that is kept.
    pub(super) fn request(&self) -> &Bytes {
        &self.request
    }

    /// Keeps another request in its place.
    pub(super) fn set_request(&mut self, request: Bytes) {
        self.request = request;
    }

    /// Keeps the response. One that reaches a bound is an error only if the caller requested it to be kept.
    pub(super) fn keep(self, response: Value) -> KeepingResponse {
        Box::pin(async move {
            match self.place.keep(response, self.request).await {
                Ok(()) => Ok(true),
                Err(error) if !self.is_required && is_bound(&error) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// Returns `true` if a response cannot be kept because of its size or number.
fn is_bound(error: &ConversationError) -> bool {
    match error {
        ConversationError::NotKept(_)
        | ConversationError::TooLarge
        | ConversationError::TooLong => true,
        ConversationError::Context(ContextError::Store(error)) => matches!(
            error,
            StoreError::Full | StoreError::BytesFull { .. } | StoreError::TurnsFull
        ),
        ConversationError::Context(_)
        | ConversationError::NotFound(_)
        | ConversationError::NoMemory => false,
    }
}

/// A prepared response.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Keeps it; `None` if it is not kept.
    pub(super) keep: Option<Keep>,
    /// Writes it, if it is not kept although the caller did not set `store` to `false`.
    pub(super) writer: Option<Box<dyn AnswerWriter>>,
    /// The number of responses that are sent, and of those that were left out.
    pub(super) history: Option<(usize, u64)>,
    /// What they say of tools of MCP servers, if the call may use such.
    pub(super) mcp: McpItems,
}

/// Puts earlier responses into the call, and reserves a place for the new one. `only_native` is the error of a call
/// that only a backend with the Responses API can carry out.
///
/// # Errors
/// Returns an error if the response that it continues does not exist, or if no place can be reserved although the
/// caller requested it to be kept.
pub(super) async fn prepare(
    state: &State,
    owner: &str,
    response: NewResponse,
    parsed: &mut Parsed,
    only_native: &mut Option<ApiError>,
) -> Result<Prepared, ApiError> {
    let previous = response.terms.previous_response_id.clone();
    let mut prepared = Prepared::default();
    let mut history = History::default();
    // Given back when the calls that hold the history are charged themselves.
    let mut room = state.bodies.room();
    if let Some(previous) = &previous {
        let truncates = response.terms.truncates;
        history = state
            .conversations
            .history(owner, previous, truncates, &mut room)
            .await?;
        prepared.history = Some((history.turns(), history.left_out as u64));
        if response
            .call
            .as_ref()
            .is_some_and(|call| !call.mcp.is_empty())
        {
            prepared.mcp = history.mcp_items();
        }
    }
    continue_calls(state, history, &response, parsed, only_native).await?;
    drop(room);
    if response.terms.store == Some(false) {
        return Ok(prepared);
    }
    let size = response.body.len();
    let user = user_of(&response.body);
    let place = state
        .conversations
        .place(owner, &response.id, previous.as_deref(), (user, size));
    match place.await {
        Ok(place) => {
            prepared.keep = Some(Keep {
                place,
                request: response.body,
                is_required: response.terms.store == Some(true),
            });
        }
        // A caller that did not request it must not fail because of it. The response states that it is not kept.
        Err(
            ConversationError::TooLarge
            | ConversationError::Context(ContextError::Store(
                StoreError::Full | StoreError::BytesFull { .. },
            )),
        ) if response.terms.store.is_none() => {
            prepared.writer = Some(response.writer(false));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(prepared)
}

/// The members of a request that name a user.
#[derive(Deserialize)]
struct Users {
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    safety_identifier: Option<String>,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    user: Option<String>,
}

/// Returns the user that a request names: `metadata.user`, else `safety_identifier`, else `user`.
fn user_of(body: &[u8]) -> Option<String> {
    let users: Users = serde_json::from_slice(body).ok()?;
    let of_metadata = users.metadata.and_then(|metadata| metadata.user);
    let user = of_metadata.or(users.safety_identifier).or(users.user);
    user.filter(|user| user.chars().count() <= USER_MAX)
}

/// Puts a history into the chat call and into the call for backends with the Responses API.
async fn continue_calls(
    state: &State,
    history: History,
    response: &NewResponse,
    parsed: &mut Parsed,
    only_native: &mut Option<ApiError>,
) -> Result<(), ApiError> {
    let is_spoken = state.speaks(&parsed.model, NativeApi::Responses);
    let has_history = history.turns() > 0;
    if !has_history && !is_spoken {
        return Ok(());
    }
    let size = response.body.len() + history.size();
    let (body, call) = (response.body.clone(), response.call.clone());
    let is_required = only_native.is_some();
    let continued = move || {
        let messages = history.messages();
        let chat = call.zip(messages);
        let chat = chat.map(|(call, messages)| Bytes::from(call.chat(messages).to_string()));
        let items = history.items().filter(|_| is_spoken);
        let is_required = is_required || chat.is_none();
        let native = items.and_then(|items| native_request(&body, &items, is_required));
        (chat.filter(|_| has_history), native, is_required)
    };
    let (chat, native, is_required) = state.off_loop.read(size, continued).await?;
    if let Some(chat) = chat {
        let id = Arc::clone(&parsed.request.request_id);
        *parsed = parse(Endpoint::Chat, state.bodies.hold(chat)?, id)?;
        parsed.request.author = Author::Translation;
    }
    if is_required {
        only_native.get_or_insert_with(|| {
            let message =
                "the conversation holds items that only a backend with the Responses API takes";
            ApiError::bad_request(Some("previous_response_id"), message)
        });
    }
    let Some(mut native) = native else {
        return Ok(());
    };
    native.body = state.bodies.hold(native.body)?;
    if is_required {
        // It replaces the chat call when bytes and tokens are counted.
        parsed.request.body = native.body.clone();
        parsed.request.model_span = native.model_span.clone();
        parsed.request.inputs = Inputs::of_chat(&native.body);
    }
    parsed.request.native = Some(native);
    Ok(())
}
