//! Creates a call from the body: reads the caller's dialect, then inserts the session's history and the prompt.

use std::sync::Arc;

use actix_web::{http::header::HeaderValue, web::Data};
use bytes::Bytes;
use kebne_context::store::Session;
use kebne_control::Kind;
use kebne_lane::CallOptions;
use kebne_wire::{
    PassThrough,
    inputs::Inputs,
    request::{Parsed, tokens_of},
    splice::with_model,
};

use crate::{
    caller::Caller,
    cost::Asked,
    llm::{Endpoint, ModelRequest},
    stages::{
        Call, Stage,
        admit::Admitted,
        deadline::Deadline,
        response::{self, Keep, Prepared},
        share::Share,
        turn::{self, Follow},
    },
    state::State,
    surface::{AnswerWriter, Reading, error::ApiError, responses::NewResponse},
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
    /// Keeps the turn, if the call belongs to a session.
    pub(super) follow: Option<Follow>,
    /// Keeps the response, if responses can be continued.
    pub(super) keep: Option<Keep>,
    /// The number of earlier turns or responses that are sent, and of those that do not fit.
    pub(super) history: Option<(usize, u64)>,
    /// The ids of the collections in which the call is to search.
    pub(super) collections: Vec<String>,
    /// The header that names what was found there.
    pub(super) sources: Option<HeaderValue>,
    /// The names of the hints that the call leaves out.
    pub(super) omitted: Vec<String>,
    /// The error of a call that only backends of the caller's own dialect can carry out.
    pub(super) only_native: Option<ApiError>,
    /// Writes the answer in the caller's dialect.
    pub(super) writer: Box<dyn AnswerWriter>,
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
        let Admitted {
            call,
            caller,
            share,
            deadline,
            mut session,
            prompt,
            collections,
            content_type,
            forwarded,
            body,
            deployment,
        } = admitted;
        let reading = self.read(&call, body, content_type, deployment).await?;
        let Reading {
            mut parsed,
            mut writer,
            omitted,
            mut only_native,
            response,
        } = reading;
        let request = &parsed.request;
        call.notes.set_operation(request.endpoint, request.stream);
        let mut prepared = Prepared::default();
        if let Some(response) = response {
            let call = (&mut parsed, &mut only_native);
            (prepared, session) = self
                .response(&caller.owner, *response, session, call)
                .await?;
            writer = prepared.writer.take().unwrap_or(writer);
        }
        let size_before = parsed.request.body.len();
        let is_led = session.is_some() || prompt.is_some();
        if is_led {
            if let Some(error) = only_native.clone() {
                return Err(error);
            }
            // The history and the prompt are inserted into the chat call.
            parsed.request.native = None;
        }
        parsed.request.headers = forwarded;
        let follow = turn::prepare(self.state, session, prompt, &mut parsed.request).await?;
        if is_led && parsed.request.endpoint == Endpoint::Chat {
            parsed.request.inputs = Inputs::of_chat(&parsed.request.body);
        }
        // The history is sent too, so it counts too.
        let more = parsed.request.body.len().saturating_sub(size_before);
        let mut options = options(share, deadline, &parsed.request);
        options.cost = parsed.tokens.saturating_add(tokens_of(more));
        options.cost_uncertain = parsed.output_tokens_max;
        options.hedge = parsed.changes_nothing;
        options.kind = kind_of(&parsed.request, options.cost, options.cost_uncertain);
        call.notes.set_asked(asked(&options, &parsed.request));
        options.trail = Some(call.notes.trail().clone());
        let of_session = follow.as_ref().map(|follow| follow.history);
        Ok(Shaped {
            call,
            caller,
            model: parsed.model,
            request: parsed.request,
            options,
            history: of_session.or(prepared.history),
            follow,
            keep: prepared.keep,
            collections,
            sources: None,
            omitted,
            only_native,
            writer,
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
        if let Some(model) = deployment {
            under_name(&mut reading.parsed, model);
        }
        Ok(reading)
    }

    /// Prepares the response of a call. Returns it and the session of the call.
    async fn response(
        &self,
        owner: &str,
        response: NewResponse,
        session: Option<Session>,
        (parsed, only_native): (&mut Parsed, &mut Option<ApiError>),
    ) -> Result<(Prepared, Option<Session>), ApiError> {
        let named = response.terms.conversation.clone();
        let prepared = response::prepare(self.state, owner, response, parsed, only_native).await?;
        let session = self.conversation(owner, named, session, &prepared).await?;
        Ok((prepared, session))
    }

    /// Returns the session of a call, which is named in its header or in its body; at most one may be named.
    async fn conversation(
        &self,
        owner: &str,
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
            Some(id) => Ok(Some(self.state.context.open(owner, &id).await?)),
        }
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

/// Returns what is known of the consumption of a call before it is made.
pub(super) fn asked(options: &CallOptions, request: &ModelRequest) -> Asked {
    Asked {
        input: options.cost.saturating_sub(options.cost_uncertain),
        generates: request.endpoint.generates(),
    }
}

/// Returns the properties on which the time of a call depends, besides the load.
pub(super) fn kind_of(request: &ModelRequest, tokens: u32, output_tokens_max: u32) -> Kind {
    let class = match request.endpoint {
        Endpoint::Chat => 0,
        Endpoint::Completions => 1,
        Endpoint::Embeddings => 2,
        Endpoint::PassThrough(PassThrough::Speech) => 3,
        Endpoint::PassThrough(PassThrough::Transcriptions) => 4,
        Endpoint::PassThrough(PassThrough::Translations) => 5,
        Endpoint::PassThrough(PassThrough::Images) => 6,
        Endpoint::PassThrough(PassThrough::Rerank) => 7,
        Endpoint::PassThrough(PassThrough::Moderations) => 8,
        Endpoint::PassThrough(PassThrough::Direct) => 9,
    };
    Kind {
        class: 2 * class + u32::from(request.stream),
        input: tokens.saturating_sub(output_tokens_max),
        output: output_tokens_max,
    }
}
