//! The calls of which a call with tools consists: a question to its model, or a call of a tool.
//!
//! Each has an account of its own, so that it is recorded and charged under one ending. What the call itself has passed is not passed again: its caller is
//! known, its model is chosen, and what its session and its collections hold stands in the conversation.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpResponse, web::Data};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use kebne_cache::Directives;
use kebne_lane::CallOptions;
use kebne_wire::request::{Endpoint, ModelRequest, Parsed, parse};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{
    caller::Caller,
    stages::{
        Call, Stage,
        account::{Account, Held},
        budget::Budget,
        cache::{Cache, Way},
        guard::Guard,
        lane::{Answer, Lane},
        notes::Notes,
        route::{Circumstances, Route, Routed},
        shape::{Shaped, asked, estimate},
    },
    state::State,
    surface::{AnswerWriter, Surface, error::ApiError, openai, tools::TOOLS},
};

/// The header with the span of a call.
const TRACEPARENT: &str = "traceparent";

/// What the steps of a call have from it.
pub(super) struct Steps {
    state: Data<State>,
    call: Call,
    caller: Arc<Caller>,
    model: String,
    /// The request, without its body.
    request: ModelRequest,
    options: CallOptions,
    directives: Directives,
    /// When all of the call must have ended; `None` for a stream whose caller has named no deadline.
    due: Option<Instant>,
    /// The time of each step without such a deadline.
    time: Duration,
    /// What brings the questions to the same replica.
    bond: Arc<str>,
}

impl Steps {
    pub(super) fn new(state: &Data<State>, shaped: &Shaped) -> Self {
        let mut request = shaped.request.clone();
        request.body = Bytes::new();
        request.native = None;
        let options = shaped.options.clone();
        let is_bounded = !request.stream || options.bounds_stream;
        let session = shaped.follow.as_ref();
        let session = session.map(|follow| follow.session().into());
        Self {
            state: state.clone(),
            caller: Arc::clone(&shaped.caller),
            model: shaped.model.clone(),
            directives: shaped.directives,
            due: is_bounded.then_some(shaped.due),
            time: options.deadline,
            bond: session.unwrap_or_else(|| Arc::clone(&shaped.call.id)),
            call: shaped.call.clone(),
            request,
            options,
        }
    }

    pub(super) fn state(&self) -> &Data<State> {
        &self.state
    }

    /// Returns the id of the call.
    pub(super) fn id(&self) -> &str {
        &self.call.id
    }

    /// Returns the model, as it was asked for.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Returns `true` if the answer is streamed.
    pub(super) fn is_streamed(&self) -> bool {
        self.request.stream
    }

    /// Returns `true` if the answer reports its steps.
    pub(super) fn reports_steps(&self) -> bool {
        self.call.surface.reports_steps()
    }

    /// Returns when all of the call must have ended.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks the model, with the number of the question.
    ///
    /// # Errors
    /// Returns the error of the call, which is recorded.
    pub(super) async fn ask(
        &self,
        number: u32,
        body: Bytes,
    ) -> Result<(HttpResponse, Notes), ApiError> {
        let id: Arc<str> = format!("{}-{number}", self.call.id).into();
        let parsed = parse(Endpoint::Chat, body, Arc::clone(&id))?;
        let request = ModelRequest {
            body: parsed.request.body.clone(),
            model_span: parsed.request.model_span.clone(),
            inputs: parsed.request.inputs,
            request_id: id,
            ..self.request.clone()
        };
        let call = self.begin(&openai::CHAT, &request);
        let gateway = &self.state.gateway;
        let name = gateway.canonical(&self.model);
        let name = name.ok_or_else(|| ApiError::unknown_model(&self.model))?;
        call.notes.set_model(name.as_str());
        let prices = gateway.prices();
        call.notes.set_price(prices.of(name.as_str()));
        let options = self.options.clone();
        let parsed = Parsed { request, ..parsed };
        let is_hedged = options.hedge;
        let mut shaped = self.shaped(call, parsed, options, openai::unchanged())?;
        shaped.options.hedge &= is_hedged;
        self.carry(shaped, false).await
    }

    /// Calls a tool of a server. The number is that of the question whose answer asks for it, with the place in this answer.
    ///
    /// # Errors
    /// Returns the error of the call, which is recorded.
    pub(super) async fn call(
        &self,
        number: &str,
        (server, tool): (&str, &str),
        arguments: &Value,
    ) -> Result<(HttpResponse, Notes), ApiError> {
        let id: Arc<str> = format!("{}-{number}", self.call.id).into();
        let body = json!({"name": tool, "arguments": arguments}).to_string();
        let json = Some("application/json");
        let reading = TOOLS.read(body.into(), json, id)?;
        let mut parsed = reading.parsed;
        server.clone_into(&mut parsed.model);
        parsed.request.headers.clone_from(&self.request.headers);
        let call = self.begin(&TOOLS, &parsed.request);
        let own = &self.options;
        let options = CallOptions {
            bounds_stream: own.bounds_stream,
            tenant: own.tenant,
            priority: own.priority,
            weight: own.weight,
            refuse_when_cold: own.refuse_when_cold,
            ..CallOptions::within(self.time).idempotent().in_place()
        };
        let shaped = self.shaped(call, parsed, options, reading.writer)?;
        self.carry(shaped, true).await
    }

    /// Begins a step: with a span below that of the call, and the names of its caller.
    fn begin(&self, surface: &'static dyn Surface, request: &ModelRequest) -> Call {
        let (own, caller) = (&self.call.notes, &self.caller);
        let parent = own.span().or_else(|| own.trace());
        let notes = Notes::new(parent, self.state.begin_span(parent));
        notes.set_key(&caller.name);
        let named = own.named_tenant(&caller.tenant);
        notes.set_tenant(&caller.tenant, named.as_deref());
        notes.set_operation(request.endpoint, request.stream);
        self.state.live.arrived(&caller.name);
        Call {
            surface,
            id: Arc::clone(&request.request_id),
            maker: self.call.maker,
            client: self.call.client,
            bond: Some(Arc::clone(&self.bond)),
            notes,
        }
    }

    /// Returns a step in the form that the stages require.
    fn shaped(
        &self,
        call: Call,
        mut parsed: Parsed,
        mut options: CallOptions,
        writer: Box<dyn AnswerWriter>,
    ) -> Result<Shaped, ApiError> {
        // A key that was revoked meanwhile makes no more calls.
        let known = self.state.callers.of_id(&self.caller.id);
        known.ok_or_else(ApiError::unauthorized)?;
        let request = &mut parsed.request;
        request.body = self.state.bodies.hold(request.body.clone())?;
        request.headers = with_span(request.headers.take(), &call.notes);
        let due = self.due.unwrap_or_else(|| Instant::now() + self.time);
        options.deadline = due.saturating_duration_since(Instant::now());
        options.bytes = u64::try_from(request.body.len()).unwrap_or(u64::MAX);
        estimate(&mut options, &parsed, 0);
        options.trail = Some(call.notes.trail().clone());
        call.notes.set_asked(asked(&options, &parsed.request));
        Ok(Shaped {
            call,
            caller: Arc::clone(&self.caller),
            model: parsed.model,
            request: parsed.request,
            options,
            due,
            follow: None,
            keep: None,
            sent: None,
            circumstances: Circumstances::default(),
            shadow: None,
            collections: Vec::new(),
            directives: self.directives,
            file_search: None,
            mcp: None,
            retrieved: Vec::new(),
            omitted: Vec::new(),
            only_native: None,
            writer,
        })
    }

    /// Carries a step out. Its ending is recorded when the response is dropped.
    async fn carry(
        &self,
        shaped: Shaped,
        is_tool: bool,
    ) -> Result<(HttpResponse, Notes), ApiError> {
        let notes = shaped.call.notes.clone();
        let account = Account::open(&self.state, shaped.call.clone());
        let held = account.held();
        // On the heap, because it holds the futures of all stages.
        let answer = Box::pin(chain(&self.state, shaped, held, is_tool)).await;
        let failed = answer.as_ref().err().cloned();
        let response = account.settle(answer);
        match failed {
            Some(error) => Err(error),
            None => Ok((response, notes)),
        }
    }
}

/// Runs the stages of a step in order.
async fn chain(
    state: &Data<State>,
    shaped: Shaped,
    held: Held,
    is_tool: bool,
) -> Result<Answer, ApiError> {
    let due = shaped.due;
    let prepared = timeout_at(due, prepare(state, shaped, held, is_tool)).await;
    let routed = prepared.map_err(|_| ApiError::deadline_passed())??;
    let notes = routed.shaped.call.notes.clone();
    let answer = Lane::new(state).run(routed).await;
    notes.passed("lane");
    answer
}

async fn prepare(
    state: &Data<State>,
    shaped: Shaped,
    held: Held,
    is_tool: bool,
) -> Result<Routed, ApiError> {
    let notes = shaped.call.notes.clone();
    let routed = if is_tool {
        Route::new(state).run(shaped).await?
    } else {
        Routed {
            shaped,
            guard: None,
            guards: String::new(),
            way: Way::Direct,
        }
    };
    notes.passed("route");
    let routed = Guard::new(state).run(routed).await?;
    notes.passed("guard");
    let routed = Cache::new(state, held).run(routed).await?;
    notes.passed("cache");
    let routed = Budget::new(state).run(routed).await?;
    notes.passed("budget");
    Ok(routed)
}

/// Returns the headers of a call with the span of a step in the place of its own.
fn with_span(headers: Option<Arc<HeaderMap>>, notes: &Notes) -> Option<Arc<HeaderMap>> {
    let Some(span) = notes.span() else {
        return headers;
    };
    let mut headers = headers.map_or_else(HeaderMap::new, |headers| (*headers).clone());
    if let Ok(span) = HeaderValue::from_str(&span.to_string()) {
        headers.insert(TRACEPARENT, span);
    }
    Some(Arc::new(headers))
}
