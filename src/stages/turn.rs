//! A call that belongs to a session or uses a prompt: what is inserted before it, and what is kept of it.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{http::header::HeaderMap, web::Data};
use bytes::Bytes;
use kebne_context::{
    ContextHandle,
    prompts::PromptInput,
    store::{Details, Session, TurnContent},
    tokens::Tokenizer,
};
use kebne_wire::{
    adjust::Author,
    answer::Answer,
    message::MessageError,
    turn::{KeptTurn, Lead, NewTurn},
};
use serde_json::Value;

use crate::{
    llm::ModelRequest,
    off_loop::OffLoop,
    stages::header::text,
    state::State,
    surface::{Surface, error::ApiError},
};

/// The header that names the session of a call.
const SESSION: &str = "x-kebne-session";
/// The header that names the prompt of a call.
const PROMPT: &str = "x-kebne-prompt";
/// The header that names the collections in which a call searches, separated by commas.
const COLLECTIONS: &str = "x-kebne-collections";
/// The most collections of a call.
const COLLECTIONS_MAX: usize = 8;

/// The room for an answer that an owner must have before the model is called, in bytes: about 1000 tokens.
const ANSWER_ROOM: usize = 4 << 10;

/// A turn that is being kept.
pub(super) type Keeping = Pin<Box<dyn Future<Output = Result<u64, ApiError>>>>;

/// Follows a session's call to its end, and keeps the turn.
pub(super) struct Follow {
    context: ContextHandle,
    off_loop: OffLoop,
    session: String,
    new: Arc<NewTurn>,
    tokenizer: Tokenizer,
    size_max: usize,
    answer: Answer,
    /// The number of turns that were sent, and of turns that did not fit.
    pub(super) history: (usize, u64),
}

/// The session, the prompt and the collections that the headers of a call name.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'h> {
    pub(super) session: Option<&'h str>,
    pub(super) prompt: Option<&'h str>,
    /// The ids of collections.
    pub(super) collections: Vec<String>,
}

/// Reads the session, the prompt and the collections that a call names.
///
/// # Errors
/// Returns an error if a header is not a name, or if the operation supports none of them.
pub(super) fn wanted<'h>(
    headers: &'h HeaderMap,
    surface: &dyn Surface,
) -> Result<Wanted<'h>, ApiError> {
    let (session, prompt) = (named(headers, SESSION)?, named(headers, PROMPT)?);
    let collections = collections(headers)?;
    let named = [
        (SESSION, session.is_some()),
        (PROMPT, prompt.is_some()),
        (COLLECTIONS, !collections.is_empty()),
    ];
    if !surface.has_turns()
        && let Some((param, _)) = named.into_iter().find(|(_, is_named)| *is_named)
    {
        let message = format!("`{param}` is not supported by this operation");
        return Err(ApiError::bad_request(Some(param), message));
    }
    Ok(Wanted {
        session,
        prompt,
        collections,
    })
}

/// Reads the collections that a call names.
fn collections(headers: &HeaderMap) -> Result<Vec<String>, ApiError> {
    let Some(ids) = named(headers, COLLECTIONS)? else {
        return Ok(Vec::new());
    };
    let ids: Vec<String> = ids.split(',').map(|id| id.trim().to_owned()).collect();
    if ids.len() > COLLECTIONS_MAX || ids.iter().any(String::is_empty) {
        let message = format!(
            "`{COLLECTIONS}` must be the ids of 1 to {COLLECTIONS_MAX} vector stores, separated by commas"
        );
        return Err(ApiError::bad_request(Some(COLLECTIONS), message));
    }
    Ok(ids)
}

/// Assembles a call from the lead, the history of its session, and its own messages. Returns the value that keeps its
/// turn if it belongs to a session.
///
/// # Errors
/// Returns an error if the prompt does not exist, or if the call cannot belong to a session.
pub(super) async fn prepare(
    state: &Data<State>,
    session: Option<Session>,
    prompt: Option<String>,
    request: &mut ModelRequest,
) -> Result<Option<Follow>, ApiError> {
    if session.is_none() && prompt.is_none() {
        return Ok(None);
    }
    let size_max = match &session {
        Some(_) => state.context_settings.turn_size_max.as_usize(),
        None => usize::MAX,
    };
    let size = request.body.len();
    let body = request.body.clone();
    let read = move || NewTurn::read(&body, size_max);
    let new = Arc::new(state.off_loop.read(size, read).await??);
    let details = session.as_ref().map(|session| session.details.clone());
    let (shared, counted) = (Data::clone(state), Arc::clone(&new));
    let body = request.body.clone();
    let is_session = session.is_some();
    let prepare = move || {
        let lead = lead(
            &shared,
            details.as_ref(),
            prompt.as_deref(),
            &counted,
            &body,
        )?;
        let own = if is_session {
            own_tokens(&lead, &counted, shared.context_settings.tokenizer)?
        } else {
            0
        };
        Ok::<_, ApiError>((lead, own))
    };
    let (lead, own) = state.off_loop.run(prepare).await??;
    let Some(session) = session else {
        *request = new.assemble(request, &lead, []);
        request.body = state.bodies.hold(request.body.clone())?;
        return Ok(None);
    };
    let left = state.context_settings.tokens_max.saturating_sub(own);
    let least = new.kept_size().saturating_add(ANSWER_ROOM) as u64;
    let history = state.context.fit_for(&session.id, left, least);
    let history = history.await?;
    let messages = history.iter().map(|turn| turn.content.messages.as_ref());
    *request = new.assemble(request, &lead, messages);
    request.author = request.author.max(Author::History);
    request.body = state.bodies.hold(request.body.clone())?;
    let left_out = session.turns.saturating_sub(history.len() as u64);
    Ok(Some(Follow {
        context: state.context.clone(),
        off_loop: state.off_loop.clone(),
        session: session.id,
        new,
        tokenizer: state.context_settings.tokenizer,
        size_max,
        answer: Answer::default(),
        history: (history.len(), left_out),
    }))
}

/// Returns the tokens of everything that is sent except the history.
fn own_tokens(lead: &Lead, new: &NewTurn, tokenizer: Tokenizer) -> Result<u64, ApiError> {
    let led = lead.0.as_deref().map_or(0, |text| tokenizer.count(text));
    let own = new.tokens(|message| tokenizer.count_message(message))?;
    Ok(own.saturating_add(led))
}

/// Returns the lead of the call: the prompt that it names; else nothing if it has its own instructions; else the
/// session's prompt; else the session's system prompt.
fn lead(
    state: &State,
    details: Option<&Details>,
    prompt: Option<&str>,
    new: &NewTurn,
    body: &Bytes,
) -> Result<Lead, ApiError> {
    let of_session = details.filter(|_| !new.has_instructions());
    let name = prompt.or_else(|| of_session.and_then(|details| details.prompt.as_deref()));
    let Some(name) = name else {
        let text = of_session.and_then(|details| details.system_prompt.clone());
        return Ok(Lead(text));
    };
    let metadata = details.map(|details| serde_json::json!(details.metadata));
    // Only a template that uses the body parses it into a tree, and that is bounded.
    let size_max = state.context_settings.turn_size_max.as_usize();
    let prompts = state.prompts.get();
    let request = match prompts.uses(name, "request") {
        false => Value::Null,
        true if body.len() > size_max => return Err(ApiError::too_large(size_max)),
        true => serde_json::from_slice(body).unwrap_or_default(),
    };
    let input = PromptInput {
        session: metadata.unwrap_or_else(|| serde_json::json!({})),
        request,
        input: new.input(),
    };
    let text = prompts.render(name, &input);
    Ok(Lead(Some(text.map_err(|error| ApiError::prompt(&error))?)))
}

fn named<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, ApiError> {
    match text(headers, name)? {
        Some("") => {
            let message = format!("`{name}` must be a name of plain letters");
            Err(ApiError::bad_request(Some(name), message))
        }
        text => Ok(text),
    }
}

impl Follow {
    /// Returns the caller's own body, whose messages are kept.
    pub(super) fn body(&self) -> &Bytes {
        self.new.body()
    }

    /// Keeps the messages of another body.
    ///
    /// # Errors
    /// Returns an error if it has no messages.
    pub(super) fn set_body(&mut self, body: &Bytes) -> Result<(), ApiError> {
        // The size of what came was checked.
        self.new = Arc::new(NewTurn::read(body, usize::MAX)?);
        Ok(())
    }

    /// Returns the session.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Reads events before they are sent to the caller. Returns `true` at the end of the answer.
    pub(super) fn feed(&mut self, events: &[u8]) -> bool {
        self.answer.feed(events, self.size_max);
        self.answer.is_done()
    }

    /// Keeps the turn of a streamed answer.
    pub(super) fn keep(mut self) -> Keeping {
        let answer = std::mem::take(&mut self.answer);
        if answer.is_too_large(self.size_max) {
            return Box::pin(std::future::ready(Err(ApiError::not_kept(
                "it is too large",
            ))));
        }
        Box::pin(self.kept(|| answer.finish()))
    }

    /// Keeps the turn of a whole answer.
    pub(super) fn keep_whole(self, body: Bytes) -> Keeping {
        Box::pin(self.kept(move || Answer::of_whole(&body)))
    }

    async fn kept(
        self,
        message: impl FnOnce() -> Result<Value, MessageError> + Send + 'static,
    ) -> Result<u64, ApiError> {
        let (new, tokenizer) = (self.new, self.tokenizer);
        let turn = self.off_loop.run(move || {
            let message = message()?;
            Ok(new.answered(&message, |message| tokenizer.count_message(message)))
        });
        let turn: Result<KeptTurn, MessageError> = turn.await?;
        let turn = turn.map_err(|error| ApiError::not_kept(&error.to_string()))?;
        let turn = TurnContent {
            messages: turn.messages.into(),
            tokens: turn.tokens,
            leads: turn.leads,
        };
        // The request and the answer may each be as large as the bound for kept turns.
        if turn.messages.len() > self.size_max.saturating_mul(2) {
            return Err(ApiError::not_kept("it is too large"));
        }
        let number = self.context.append(&self.session, turn).await;
        number.map_err(ApiError::not_kept_because)
    }
}
