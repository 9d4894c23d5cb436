//! Creates a call from the body: reads the caller's dialect, then inserts the session's history and the prompt.

use std::{sync::Arc, time::Duration};

use actix_web::{
    http::header::{HeaderName, HeaderValue},
    web::Data,
};
use bytes::Bytes;
use kebne_cache::Directives;
use kebne_context::{budget::Parts, store::Session};
use kebne_lane::CallOptions;
use kebne_wire::{
    file_search::FileSearch,
    inputs::Inputs,
    mcp::McpTools,
    request::{Parsed, tokens_of},
    splice::with_model,
};
use tokio::time::Instant;

use crate::{
    caller::Caller,
    cost::Asked,
    gateway::behalf::Behalf,
    llm::{Endpoint, ModelRequest, kind_of},
    stages::{
        Call, Stage,
        admit::Admitted,
        deadline::Deadline,
        memory::{Insert, Sent},
        notes::Notes,
        response::{self, Keep, Prepared},
        route::{Circumstances, Shadow},
        share::Share,
        turn::{self, Follow},
    },
    state::State,
    surface::{AnswerWriter, Reading, error::ApiError, responses::NewResponse},
    token_budget::{self, Fixed},
    via,
};

/// Creates a call from the body.
pub(super) struct Shape<'a> {
    state: &'a Data<State>,
}

/// A call in the form that lanes require.
pub(super) struct Shaped {
    pub(super) call: Call,
    pub(super) caller: Arc<Caller>,
    /// The model, as the caller named it.
    pub(super) model: String,
    pub(super) request: ModelRequest,
    pub(super) options: CallOptions,
    /// When the time of the call has passed. It begins when the body has been read.
    pub(super) due: Instant,
    /// Keeps the turn, if the call belongs to a session.
    pub(super) follow: Option<Follow>,
    /// Keeps the response, if responses can be continued.
    pub(super) keep: Option<Keep>,
    /// What is sent of a session or of earlier responses.
    pub(super) sent: Option<Sent>,
    /// What a route needs to know of the call.
    pub(super) circumstances: Circumstances,
    /// The copy that another model is to get.
    pub(super) shadow: Option<Shadow>,
    /// The ids of the collections in which the call is to search.
    pub(super) collections: Vec<String>,
    /// What the caller requires of the cache.
    pub(super) directives: Directives,
    /// The search that the tool `file_search` asks for.
    pub(super) file_search: Option<FileSearch>,
    /// The MCP servers whose tools are called for the call here.
    pub(super) mcp: Option<Box<McpTools>>,
    /// The headers that say what was found.
    pub(super) retrieved: Vec<(HeaderName, HeaderValue)>,
    /// The names of the hints that the call leaves out.
    pub(super) omitted: Vec<String>,
    /// The error of a call that only backends of the caller's own dialect can carry out.
    pub(super) only_native: Option<ApiError>,
    /// Writes the answer in the caller's dialect.
    pub(super) writer: Box<dyn AnswerWriter>,
}

impl Shaped {
    /// Returns the behalf of what models are asked because of the call.
    pub(super) fn behalf(&self) -> Behalf {
        let via = via::of(self.request.headers.as_deref());
        self.caller.behalf(&self.call.id, via)
    }

    /// Returns the time that remains for the answer.
    pub(super) fn time_left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Returns the time that may be used for what helps the call but is not needed for its answer, such as the vector of its question: half
    /// of what remains.
    pub(super) fn patience(&self) -> Duration {
        self.time_left() / 2
    }
}

impl<'a> Shape<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for Shape<'_> {
    type In = Admitted;
    type Out = Shaped;

    async fn run(&self, admitted: Admitted) -> Result<Shaped, ApiError> {
        let mut admitted = admitted;
        let due = Instant::now() + admitted.deadline.time;
        let (call, caller) = (admitted.call, admitted.caller);
        let (body, deployment) = (admitted.body, admitted.deployment);
        let reading = self.read(&call, body, admitted.content_type, deployment);
        let mut reading = reading.await?;
        let parsed = &mut reading.parsed;
        call.notes
            .set_operation(parsed.request.endpoint, parsed.request.stream);
        let fetching = Instant::now();
        let mut prepared = Prepared::default();
        if let Some(response) = reading.response {
            let (notes, both) = (call.notes.clone(), (&mut *parsed, &mut reading.only_native));
            let owner = (caller.owner.as_str(), &notes);
            let preparing = self.response(owner, *response, admitted.session, both);
            (prepared, admitted.session) = preparing.await?;
            reading.writer = prepared.writer.take().unwrap_or(reading.writer);
            continue_tools(reading.mcp.as_deref_mut(), &mut prepared);
        }
        let size_before = parsed.request.body.len();
        parsed.request.headers = admitted.forwarded;
        let session = admitted.session.as_ref();
        let circumstances = Circumstances::of(self.state, admitted.routed_by, session);
        let searches = !admitted.collections.is_empty() || reading.file_search.is_some();
        let (model, answer) = (parsed.model.clone(), parsed.output_tokens_max);
        let history_max = |own| self.history_max(&model, (own, answer.into()), searches);
        let insert = Insert {
            session: admitted.session,
            prompt: admitted.prompt,
            recall: admitted.recall,
            retrieves: searches,
            history_max: &history_max,
            caller: &caller,
            notes: &call.notes,
        };
        let inserting = self.insert(insert, parsed, reading.only_native.as_ref());
        let follow = inserting.await?;
        if follow.is_some() || prepared.history.is_some() {
            call.notes.add_fetched(fetching.elapsed());
        }
        // The history is sent too, so it counts too.
        let more = parsed.request.body.len().saturating_sub(size_before);
        let mut options = options(admitted.share, admitted.deadline, &parsed.request);
        estimate(&mut options, parsed, more);
        call.notes.set_asked(asked(&options, &parsed.request));
        options.trail = Some(call.notes.trail().clone());
        let of_session = follow.as_ref().map(|follow| follow.sent);
        let parsed = reading.parsed;
        Ok(Shaped {
            call,
            caller,
            model: parsed.model,
            request: parsed.request,
            options,
            due,
            sent: of_session.or(prepared.history.map(Sent::of_responses)),
            follow,
            keep: prepared.keep,
            circumstances,
            shadow: None,
            collections: admitted.collections,
            directives: admitted.directives,
            file_search: reading.file_search,
            mcp: reading.mcp,
            retrieved: Vec::new(),
            omitted: reading.omitted,
            only_native: reading.only_native,
            writer: reading.writer,
        })
    }
}

impl Shape<'_> {
    /// Reads a body into a call. Large bodies are read on a thread beside the event loop.
    async fn read(
        &self,
        call: &Call,
        body: Bytes,
        content_type: Option<String>,
        deployment: Option<String>,
    ) -> Result<Reading, ApiError> {
        // .NET clients write a byte order mark, which servers ignore.
        let body = match body.strip_prefix(b"\xEF\xBB\xBF") {
            Some(text) => body.slice_ref(text),
            None => body,
        };
        let (size, own) = (body.len(), body.as_ptr().addr());
        let (surface, id) = (call.surface, Arc::clone(&call.id));
        let read = move || surface.read(body, content_type.as_deref(), id);
        let mut reading = self.state.off_loop.read(size, read).await??;
        let request = &mut reading.parsed.request;
        if request.body.as_ptr().addr() != own {
            // A translation is a second body.
            request.body = self.state.bodies.hold(std::mem::take(&mut request.body))?;
        }
        match deployment {
            // Its body is not that of a dialect.
            Some(function) if surface.calls_functions() => reading.parsed.model = function,
            Some(model) => under_name(&mut reading.parsed, model),
            None => {}
        }
        Ok(reading)
    }

    /// Inserts what is kept into a call. Returns the value that keeps its turn if it belongs to a session.
    async fn insert(
        &self,
        insert: Insert<'_>,
        parsed: &mut Parsed,
        only_native: Option<&ApiError>,
    ) -> Result<Option<Follow>, ApiError> {
        turn::check_recall(&insert)?;
        let is_led = insert.session.is_some() || insert.prompt.is_some();
        if is_led {
            if let Some(error) = only_native {
                return Err(error.clone());
            }
            // The history and the prompt are inserted into the chat call.
            parsed.request.native = None;
        }
        if !is_led {
            return Ok(None);
        }
        // On the heap, because most calls have no session.
        let preparing = turn::prepare(self.state, insert, &mut parsed.request);
        let follow = Box::pin(preparing).await?;
        if parsed.request.endpoint == Endpoint::Chat {
            parsed.request.inputs = Inputs::of_chat(&parsed.request.body);
        }
        Ok(follow)
    }

    /// Returns the tokens that a history may have in a model's window, beside what is sent in any case, the answer and what is searched for.
    fn history_max(&self, model: &str, (own, answer): (u64, u64), searches: bool) -> u64 {
        let retrieval = self.state.retrieval.get();
        let model = self.state.gateway.canonical(model);
        let model = model.as_deref().unwrap_or_default();
        let found = self.state.collections.settings().prompt_tokens_max;
        let of_model = retrieval.of_model(model);
        let of_model = of_model.map(|search| search.tokens_max.unwrap_or(found));
        let wanted = Parts {
            retrieval: of_model.or(searches.then_some(found)).unwrap_or(0),
            history: u64::MAX,
            ..Parts::default()
        };
        let fixed = Fixed { own, answer };
        let window = retrieval.window(model);
        token_budget::room(window, &retrieval.budget, fixed, wanted).history
    }

    /// Prepares the response of a call. Returns it and the session of the call.
    async fn response(
        &self,
        (owner, notes): (&str, &Notes),
        response: NewResponse,
        session: Option<Session>,
        (parsed, only_native): (&mut Parsed, &mut Option<ApiError>),
    ) -> Result<(Prepared, Option<Session>), ApiError> {
        let named = response.terms.conversation.clone();
        if let Some(id) = &response.terms.previous_response_id {
            notes.accessed("responses", id);
        }
        let prepared = response::prepare(self.state, owner, response, parsed, only_native).await?;
        let session = self
            .conversation((owner, notes), named, session, &prepared)
            .await?;
        Ok((prepared, session))
    }

    /// Returns the session of a call, which is named in its header or in its body; at most one may be named.
    async fn conversation(
        &self,
        (owner, notes): (&str, &Notes),
        named: Option<String>,
        session: Option<Session>,
        prepared: &Prepared,
    ) -> Result<Option<Session>, ApiError> {
        if session.is_some() && (named.is_some() || prepared.history.is_some()) {
            let message =
                "a call can continue a session, a conversation or a response, not several";
            return Err(ApiError::bad_request(Some("x-kebne-session"), message));
        }
        match named {
            None => Ok(session),
            Some(id) => {
                notes.accessed("conversations", &id);
                Ok(Some(self.state.context.open(owner, &id).await?))
            }
        }
    }
}

/// Adds what earlier responses say of tools of MCP servers to what a call asks for.
fn continue_tools(asked: Option<&mut McpTools>, prepared: &mut Prepared) {
    if let Some(asked) = asked {
        asked.items.extend(std::mem::take(&mut prepared.mcp));
    }
}

/// Changes a call to use the model in its path.
fn under_name(parsed: &mut Parsed, model: String) {
    if parsed.model != model {
        parsed.request = with_model(&parsed.request, &model);
        parsed.model = model;
    }
}

/// Returns the properties of a call that a lane uses, besides its cost in tokens.
fn options(share: Share, deadline: Deadline, request: &ModelRequest) -> CallOptions {
    CallOptions {
        bounds_stream: deadline.bounds_stream,
        bytes: u64::try_from(request.body.len()).unwrap_or(u64::MAX),
        tenant: share.tenant,
        priority: share.priority,
        weight: share.weight,
        refuse_when_cold: share.refuse_when_cold,
        // A repetition may cost another answer, but has no other effect.
        ..CallOptions::within(deadline.time).idempotent().in_place()
    }
}

/// Sets the cost of a call in tokens, with that of the bytes that were added to it, and what depends on it.
pub(super) fn estimate(options: &mut CallOptions, parsed: &Parsed, more: usize) {
    options.cost = parsed.tokens.saturating_add(tokens_of(more));
    options.cost_uncertain = parsed.output_tokens_max;
    options.hedge = parsed.changes_nothing;
    options.kind = kind_of(&parsed.request, options.cost, options.cost_uncertain);
}

/// Returns what is known of the consumption of a call before it is made.
pub(super) fn asked(options: &CallOptions, request: &ModelRequest) -> Asked {
    Asked {
        input: options.cost.saturating_sub(options.cost_uncertain),
        generates: request.endpoint.generates(),
    }
}
