//! A call that belongs to a session or uses a prompt: what is inserted before it, and what is kept of it.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{http::header::HeaderMap, web::Data};
use bytes::Bytes;
use kebne_context::{
    ContextHandle, Memorizer,
    prompts::{Chosen, PromptInput},
    store::{Change, Details, Turn, TurnContent, VariablesChange},
    tokens::Tokenizer,
};
use kebne_events::SessionChange;
use kebne_functions::VARIABLES_MAX;
use kebne_wire::{
    about::{About, SetVariables},
    adjust::Author,
    answer::Answer,
    message::MessageError,
    turn::{KeptTurn, Lead, NewTurn, TurnError},
};
use serde_json::Value;

use crate::{
    caller::Caller,
    events::Events,
    llm::ModelRequest,
    off_loop::OffLoop,
    record::PromptUse,
    routes,
    stages::{
        header::text,
        memory::{Insert, Memory, Sent},
        route::Remembered,
    },
    state::State,
    surface::{Surface, error::ApiError},
    via,
};

/// The header that names the session of a call.
const SESSION: &str = "x-kebne-session";
/// The header that names the prompt of a call.
const PROMPT: &str = "x-kebne-prompt";
/// The header that sets how many older turns of the session are recalled.
const RECALL: &str = "x-kebne-recall";
/// The most turns that a call recalls.
const RECALL_MAX: usize = 32;
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
    memorizer: Option<Memorizer>,
    off_loop: OffLoop,
    events: Events,
    owner: String,
    session: String,
    /// How often turns had been removed from the session when the call began.
    cuts: u64,
    new: Arc<NewTurn>,
    tokenizer: Tokenizer,
    size_max: usize,
    answer: Answer,
    /// What a route is to remember of the turn.
    remembered: Option<Remembered>,
    /// What a function sets beside its answer.
    about: Option<Arc<About>>,
    /// The tokens that the history of the call could have.
    history_tokens: u64,
    /// The tokens that passages of collections may have; `None` if the call does not name any.
    pub(super) retrieval_tokens: Option<u64>,
    /// What was inserted before the caller's messages.
    pub(super) sent: Sent,
}

/// The session, the prompt and the collections that the headers of a call name.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'h> {
    pub(super) session: Option<&'h str>,
    pub(super) prompt: Option<&'h str>,
    /// The ids of collections.
    pub(super) collections: Vec<String>,
    /// The number of older turns to recall, if the call sets it.
    pub(super) recall: Option<usize>,
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
    let recall = recall(headers)?;
    let named = [
        (SESSION, session.is_some()),
        (RECALL, recall.is_some()),
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
        recall,
    })
}

/// Reads the number of turns that a call recalls.
fn recall(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(text) = text(headers, RECALL)? else {
        return Ok(None);
    };
    let number = text.parse().ok().filter(|number| *number <= RECALL_MAX);
    number.map(Some).ok_or_else(|| {
        let message = format!("`{RECALL}` must be a whole number from 0 to {RECALL_MAX}");
        ApiError::bad_request(Some(RECALL), message)
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

/// Refuses a call that recalls turns of no session.
///
/// # Errors
/// Returns a 400 that names the header.
pub(super) fn check_recall(insert: &Insert<'_>) -> Result<(), ApiError> {
    if insert.session.is_none() && insert.recall.is_some_and(|turns| turns > 0) {
        let message = format!("`{RECALL}` needs a session");
        return Err(ApiError::bad_request(Some(RECALL), message));
    }
    Ok(())
}

/// Assembles a call from the lead, the memory and the history of its session, and its own messages. Returns the value that
/// keeps its turn if it belongs to a session.
///
/// # Errors
/// Returns an error if the prompt does not exist, or if the call cannot belong to a session.
pub(super) async fn prepare(
    state: &Data<State>,
    insert: Insert<'_>,
    request: &mut ModelRequest,
) -> Result<Option<Follow>, ApiError> {
    if insert.session.is_none() && insert.prompt.is_none() {
        return Ok(None);
    }
    let (new, lead, own) = read(state, &insert, request).await?;
    let Some(session) = insert.session.clone() else {
        *request = new.assemble(request, &lead, []);
        request.body = state.bodies.hold(request.body.clone())?;
        return Ok(None);
    };
    state.callers.uses(insert.caller);
    let memory = Memory::choose(state, &session, own, &insert).await?;
    let least = new.kept_size().saturating_add(ANSWER_ROOM) as u64;
    let room = memory.history_tokens;
    let history = state.context.fit_for(&session.id, room, least).await?;
    let lead = memory.after(lead, &state.fence);
    insert.notes.part("summary", || memory.tokens().0);
    insert.notes.part("facts", || memory.tokens().1);
    insert.notes.part("history", || tokens_of(&history));
    let messages = history.iter().map(|turn| turn.content.messages.as_ref());
    *request = new.assemble(request, &lead, messages);
    let first = history.first().map(|turn| turn.number);
    let (caller, via) = (insert.caller, via::of(request.headers.as_deref()));
    let behalf = caller.behalf(&request.request_id, via);
    let recalled = memory.recall(state, &session, (first, &behalf), &new);
    let recalled = recalled.await?;
    if let Some(text) = &recalled.text {
        let tokenizer = state.context_settings.tokenizer;
        insert.notes.part("recall", || tokenizer.count(text));
        before_question(state, request, text).await?;
    }
    request.author = request.author.max(Author::History);
    request.body = state.bodies.hold(request.body.clone())?;
    let left_out = session.turns.saturating_sub(history.len() as u64);
    Ok(Some(Follow {
        context: state.context.clone(),
        memorizer: state.gateway.memorizer().cloned(),
        off_loop: state.off_loop.clone(),
        events: state.events.clone(),
        owner: session.owner,
        session: session.id,
        cuts: session.marks.cuts,
        new,
        tokenizer: state.context_settings.tokenizer,
        size_max: state.context_settings.turn_size_max.as_usize(),
        answer: Answer::default(),
        remembered: None,
        about: None,
        history_tokens: room,
        retrieval_tokens: memory.retrieval_tokens,
        sent: Sent {
            turns: history.len(),
            left_out,
            summary_turns: memory.summary_turns(),
            facts: memory.facts(),
            recalled: recalled.turns,
        },
    }))
}

/// Reads the caller's messages; returns them, the lead, and the tokens of both if the call belongs to a session.
async fn read(
    state: &Data<State>,
    insert: &Insert<'_>,
    request: &ModelRequest,
) -> Result<(Arc<NewTurn>, Lead, u64), ApiError> {
    let is_session = insert.session.is_some();
    let size_max = if is_session {
        state.context_settings.turn_size_max.as_usize()
    } else {
        usize::MAX
    };
    let body = request.body.clone();
    let read = move || NewTurn::read(&body, size_max);
    let new = Arc::new(state.off_loop.read(request.body.len(), read).await??);
    let details = insert
        .session
        .as_ref()
        .map(|session| session.details.clone());
    let (shared, counted) = (Data::clone(state), Arc::clone(&new));
    let (body, prompt) = (request.body.clone(), insert.prompt.clone());
    let id = insert.session.as_ref().map(|session| session.id.clone());
    let sticks_to = sticks_to(id.as_deref(), insert.caller, request);
    let prepare = move || {
        let named = (prompt.as_deref(), sticks_to.as_str());
        let (lead, chosen) = lead(&shared, details.as_ref(), named, &counted, &body)?;
        let own = if is_session {
            own_tokens(&lead, &counted, shared.context_settings.tokenizer)?
        } else {
            0
        };
        Ok::<_, ApiError>((lead, own, chosen))
    };
    let (lead, own, chosen) = state.off_loop.run(prepare).await??;
    if let Some(chosen) = chosen {
        insert.notes.set_prompt(PromptUse {
            chosen,
            owner: insert.caller.owner.clone(),
            session: id,
        });
    }
    let tokenizer = state.context_settings.tokenizer;
    insert.notes.part("lead", || lead_tokens(&lead, tokenizer));
    Ok((new, lead, own))
}

/// Puts a text before the caller's last message.
async fn before_question(
    state: &Data<State>,
    request: &mut ModelRequest,
    text: &str,
) -> Result<(), ApiError> {
    let (assembled, text) = (request.clone(), text.to_owned());
    let insert = move || {
        let turn = NewTurn::read_any(&assembled.body)?;
        Ok::<_, TurnError>(turn.with_sources(&assembled, &text))
    };
    let inserted = state.off_loop.read(request.body.len(), insert).await??;
    if let Some(inserted) = inserted {
        *request = inserted;
    }
    Ok(())
}

/// Returns what the version of a call's prompt depends on: the calls of a session get the same version, others are spread by their ids.
fn sticks_to(session: Option<&str>, caller: &Caller, request: &ModelRequest) -> String {
    match session {
        Some(session) => session.to_owned(),
        None => format!("{} {}", caller.name, request.request_id),
    }
}

fn lead_tokens(lead: &Lead, tokenizer: Tokenizer) -> u64 {
    lead.0.as_deref().map_or(0, |text| tokenizer.count(text))
}

fn tokens_of(history: &[Turn]) -> u64 {
    history.iter().map(|turn| turn.content.tokens).sum()
}

/// Returns the tokens of everything that is sent except the history.
fn own_tokens(lead: &Lead, new: &NewTurn, tokenizer: Tokenizer) -> Result<u64, ApiError> {
    let led = lead_tokens(lead, tokenizer);
    let own = new.tokens(|message| tokenizer.count_message(message))?;
    Ok(own.saturating_add(led))
}

/// Returns the lead of the call: the prompt that it names; else nothing if it has its own instructions; else the
/// session's prompt; else the session's system prompt.
fn lead(
    state: &State,
    details: Option<&Details>,
    (prompt, sticks_to): (Option<&str>, &str),
    new: &NewTurn,
    body: &Bytes,
) -> Result<(Lead, Option<Chosen>), ApiError> {
    let of_session = details.filter(|_| !new.has_instructions());
    let name = prompt.or_else(|| of_session.and_then(|details| details.prompt.as_deref()));
    let Some(name) = name else {
        let text = of_session.and_then(|details| details.system_prompt.clone());
        return Ok((Lead(text), None));
    };
    let metadata = details.map(|details| serde_json::json!(details.metadata));
    // Only a template that uses the body parses it into a tree, and that is bounded.
    let size_max = state.context_settings.turn_size_max.as_usize();
    let prompts = state.prompts.get();
    let failed = |error| ApiError::prompt(&error);
    let chosen = prompts.choose(name, sticks_to).map_err(failed)?;
    let request = match prompts.uses(&chosen, "request") {
        false => Value::Null,
        true if body.len() > size_max => return Err(ApiError::too_large(size_max)),
        true => serde_json::from_slice(body).unwrap_or_default(),
    };
    let input = PromptInput {
        session: metadata.unwrap_or_else(|| serde_json::json!({})),
        request,
        input: new.input(),
    };
    let text = prompts.render(&chosen, &input).map_err(failed)?;
    Ok((Lead(Some(text)), Some(chosen)))
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

    /// Has a route remember its decision once the turn is kept.
    pub(super) fn remember(&mut self, remembered: Remembered) {
        self.remembered = Some(remembered);
    }

    /// Has the session take the variables that a function sets, once the turn is kept.
    pub(super) fn set_about(&mut self, about: Arc<About>) {
        self.about = Some(about);
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
        // A session that was rewound meanwhile has another history than this call.
        let kept = self.context.append_if(&self.session, self.cuts, turn);
        let number = kept.await.map_err(ApiError::not_kept_because)?;
        let added = (SessionChange::TurnAdded, Some(number));
        self.events
            .session_changed(&self.owner, &self.session, added);
        if let Some(memorizer) = &self.memorizer {
            memorizer.turn_kept(&self.owner, &self.session, self.history_tokens);
        }
        if let Some(Remembered { document, noted }) = &self.remembered {
            let place = (self.owner.as_str(), self.session.as_str(), self.cuts);
            let kept = routes::remember(&self.context, place, document.clone(), noted).await;
            if let Err(error) = kept {
                // The turn is kept. Without the rest, the route decides on the next one as before this one.
                tracing::warn!(route = noted.route, %error, "a route cannot remember its decision");
            }
        }
        let set = self.about.as_ref().and_then(|about| about.set());
        if let Some(variables) = set {
            let place = (self.owner.as_str(), self.session.as_str(), self.cuts);
            set_variables(&self.context, place, variables).await?;
        }
        Ok(number)
    }
}

/// Sets the variables of a session that a function has set with the turn, unless turns were removed meanwhile.
async fn set_variables(
    context: &ContextHandle,
    (owner, session, cuts): (&str, &str, u64),
    variables: &SetVariables,
) -> Result<(), ApiError> {
    let (entries_max, ..) = VARIABLES_MAX;
    let change = Change {
        variables: Some(VariablesChange {
            cuts: Some(cuts),
            entries_max,
            set: variables.clone(),
        }),
        ..Change::default()
    };
    let changed = context.change(owner, session, change).await;
    let changed = changed.map_err(ApiError::not_kept_because)?;
    let has = |(name, value): (&String, &Option<String>)| {
        changed.details.metadata.get(name) == value.as_ref()
    };
    if changed.marks.cuts == cuts && !variables.iter().all(has) {
        tracing::warn!(
            session,
            "the variables that a function sets are not kept: a session has at most {entries_max}, or another call has changed them"
        );
    }
    Ok(())
}
