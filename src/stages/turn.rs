//! A call that belongs to a session or is led by a prompt: what goes before it, and what is kept of it.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::http::header::HeaderMap;
use bytes::Bytes;
use kebne_context::{
    ContextHandle,
    prompts::PromptInput,
    store::{Session, TurnContent},
    tokens::Tokenizer,
};
use kebne_wire::{
    answer::Answer,
    message::MessageError,
    turn::{Lead, NewTurn},
};
use serde_json::Value;

use crate::{
    llm::ModelRequest,
    state::State,
    surface::{Surface, error::ApiError},
};

/// Names the session that a call belongs to.
const SESSION: &str = "x-kebne-session";
/// Names the prompt that leads a call.
const PROMPT: &str = "x-kebne-prompt";

/// A turn that is being kept.
pub(super) type Keeping = Pin<Box<dyn Future<Output = Result<u64, ApiError>>>>;

/// Follows a session's call to its end, and keeps the turn.
pub(super) struct Follow {
    context: ContextHandle,
    session: String,
    new: Arc<NewTurn>,
    tokenizer: Tokenizer,
    size_max: usize,
    answer: Answer,
    /// Turns that went along, and turns that did not fit.
    pub(super) history: (usize, u64),
}

/// What a call's headers ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'h> {
    pub(super) session: Option<&'h str>,
    pub(super) prompt: Option<&'h str>,
}

/// Reads which session and which prompt a call names.
///
/// # Errors
/// When a header is not a name, or the operation has neither sessions nor prompts.
pub(super) fn wanted<'h>(
    headers: &'h HeaderMap,
    surface: &dyn Surface,
) -> Result<Wanted<'h>, ApiError> {
    let (session, prompt) = (header(headers, SESSION)?, header(headers, PROMPT)?);
    if !surface.has_turns() && (session.is_some() || prompt.is_some()) {
        let param = if session.is_some() { SESSION } else { PROMPT };
        let message = format!("`{param}` is not supported by this operation");
        return Err(ApiError::bad_request(Some(param), message));
    }
    Ok(Wanted { session, prompt })
}

/// Puts a call together: what leads it, its session's history, its own messages. Returns what keeps its turn when it
/// belongs to a session.
///
/// # Errors
/// When the prompt does not exist, or the call cannot belong to a session.
pub(super) async fn prepare(
    state: &State,
    session: Option<Session>,
    prompt: Option<String>,
    request: &mut ModelRequest,
) -> Result<Option<Follow>, ApiError> {
    if session.is_none() && prompt.is_none() {
        return Ok(None);
    }
    let new = NewTurn::read(&request.body)?;
    let size_max = state.context_settings.turn_size_max;
    if session.is_some() && new.size() > size_max.as_usize() {
        let message = format!("a session's `messages` may be {size_max} at most");
        return Err(ApiError::bad_request(Some("messages"), message));
    }
    let prompt = prompt.as_deref();
    let lead = lead(state, session.as_ref(), prompt, &new, &request.body)?;
    let Some(session) = session else {
        *request = new.assemble(request, &lead, []);
        return Ok(None);
    };
    let tokenizer = state.context_settings.tokenizer;
    let new = Arc::new(new);
    let counted = Arc::clone(&new);
    let (lead, own) = blocking(move || {
        let led = lead.0.as_deref().map_or(0, |text| tokenizer.count(text));
        let own = counted
            .tokens(|message| tokenizer.count_message(message))
            .saturating_add(led);
        (lead, own)
    })
    .await?;
    let left = state.context_settings.tokens_max.saturating_sub(own);
    let history = state.context.fit(&session.id, left).await?;
    let messages = history.iter().map(|turn| turn.content.messages.as_ref());
    *request = new.assemble(request, &lead, messages);
    let left_out = session.turns.saturating_sub(history.len() as u64);
    Ok(Some(Follow {
        context: state.context.clone(),
        session: session.id,
        new,
        tokenizer,
        size_max: state.context_settings.turn_size_max.as_usize(),
        answer: Answer::default(),
        history: (history.len(), left_out),
    }))
}

/// Returns what leads the call: the prompt that it names; else nothing when it brings instructions of its
/// own; else the session's prompt; else the session's system prompt.
fn lead(
    state: &State,
    session: Option<&Session>,
    prompt: Option<&str>,
    new: &NewTurn,
    body: &Bytes,
) -> Result<Lead, ApiError> {
    let details = session.map(|session| &session.details);
    let of_session = details.filter(|_| !new.has_instructions());
    let name = prompt.or_else(|| of_session.and_then(|details| details.prompt.as_deref()));
    let Some(name) = name else {
        let text = of_session.and_then(|details| details.system_prompt.clone());
        return Ok(Lead(text));
    };
    let metadata = details.map(|details| serde_json::json!(details.metadata));
    let input = PromptInput {
        session: metadata.unwrap_or_else(|| serde_json::json!({})),
        request: serde_json::from_slice(body).unwrap_or_default(),
        input: new.input(),
    };
    let text = state.prompts.render(name, &input);
    Ok(Lead(Some(text.map_err(|error| ApiError::prompt(&error))?)))
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| !text.is_empty());
    let message = || format!("`{name}` must be a name of plain letters");
    text.map(Some)
        .ok_or_else(|| ApiError::bad_request(Some(name), message()))
}

/// Does slow work beside the thread that serves connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ApiError::internal("counting tokens failed"))
}

impl Follow {
    /// Reads what the caller is about to get; says whether it is the end.
    pub(super) fn feed(&mut self, events: &[u8]) -> bool {
        self.answer.feed(events, self.size_max);
        self.answer.is_done()
    }

    /// Keeps the turn of a streamed answer.
    pub(super) fn keep(self) -> Keeping {
        if self.answer.is_too_large(self.size_max) {
            return Box::pin(std::future::ready(Err(ApiError::not_kept(
                "it is too large",
            ))));
        }
        let bounds = (self.tokenizer, self.size_max);
        let message = self.answer.finish();
        Self::kept(self.context, self.session, self.new, bounds, message)
    }

    /// Keeps the turn of a whole answer.
    pub(super) fn keep_whole(self, body: &[u8]) -> Keeping {
        let message = Answer::of_whole(body);
        let bounds = (self.tokenizer, self.size_max);
        Self::kept(self.context, self.session, self.new, bounds, message)
    }

    fn kept(
        context: ContextHandle,
        session: String,
        new: Arc<NewTurn>,
        (tokenizer, size_max): (Tokenizer, usize),
        message: Result<Value, MessageError>,
    ) -> Keeping {
        Box::pin(async move {
            let message = message.map_err(|error| ApiError::not_kept(&error.to_string()))?;
            let turn = blocking(move || {
                new.answered(&message, |message| tokenizer.count_message(message))
            });
            let turn = turn.await?;
            let turn = TurnContent {
                messages: turn.messages.into(),
                tokens: turn.tokens,
                leads: turn.leads,
            };
            // What was asked and what was answered may each be as large as is kept.
            if turn.messages.len() > size_max.saturating_mul(2) {
                return Err(ApiError::not_kept("it is too large"));
            }
            let number = context.append(&session, turn).await;
            number.map_err(|error| ApiError::not_kept(&error.to_string()))
        })
    }
}
