//! Calls the model through its lanes, and creates the head and body of the answer.

mod finish;
#[cfg(feature = "mcp")]
mod rounds;
mod source;
mod stream_body;
mod whole_body;

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    body::BoxBody,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    web::Data,
};
use kebne_lane::{CallOptions, Repeats, Trail};

use crate::{
    gateway::GatewayReply,
    llm::{ModelBody, ModelRequest},
    stages::{
        Call, Maker, Stage,
        cache::{Flyer, Ridden, Way, ride},
        guard::OutputGuard,
        memory::Sent,
        route::{Routed, send_shadow},
        shape::Shaped,
    },
    state::State,
    surface::{Surface, error::ApiError, passed},
};

use finish::Finish;
use source::Started;
use stream_body::{PendingCall, StreamBody};
use whole_body::WholeBody;

/// The content type of an answer of a dialect.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The outcome of an attempt that was cut off.
const CANCELLED: &str = "cancelled";
/// The content type of an answer without one.
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Calls the model through its lanes.
pub(super) struct Lane<'a> {
    state: &'a Data<State>,
}

/// An answer that has begun, or a stream that is kept open until the answer begins.
pub(super) struct Answer {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: BoxBody,
}

impl<'a> Lane<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }

    /// Starts a call whose future owns everything it needs; dropping it cancels the call.
    fn start(
        &self,
        model: String,
        session: Option<String>,
        request: ModelRequest,
        options: CallOptions,
    ) -> PendingCall {
        let gateway = self.state.gateway.clone();
        // A call that may be repeated has no effects but its answer.
        let acts = options.repeats < Repeats::Failures;
        let trail = options.trail.clone().filter(|_| acts);
        Box::pin(async move {
            let call = gateway.call(&model, session.as_deref(), request, options);
            let reply = call.await;
            let reply = reply.map_err(|error| {
                let was_cut = error.is_cut_off() && trail.is_some_and(|trail| had_begun(&trail));
                let error = ApiError::from_gateway(&error);
                if was_cut {
                    error.after_effects()
                } else {
                    error
                }
            })?;
            Ok(Started::Lane(Box::new(reply)))
        })
    }
}

impl Stage for Lane<'_> {
    type In = Routed;
    type Out = Answer;

    async fn run(&self, mut routed: Routed) -> Result<Answer, ApiError> {
        // The lanes stay open for the calls of runs that callers wait for, so that these end.
        let is_new = routed.shaped.call.maker != Maker::Run;
        if is_new && self.state.is_draining() && routed.way.asks_a_backend() {
            return Err(ApiError::drained());
        }
        // What the stages before have used of it is gone.
        routed.shaped.options.deadline = routed.shaped.time_left();
        #[cfg(feature = "mcp")]
        if let Way::Rounds(plan) = routed.way {
            // On the heap, because most calls have one round.
            return Box::pin(rounds::answer(self.state, routed.shaped, *plan)).await;
        }
        send_shadow(self.state, &mut routed.shaped);
        let Shaped {
            call,
            caller,
            model,
            request,
            options,
            follow,
            keep,
            sent,
            omitted,
            retrieved,
            writer,
            ..
        } = routed.shaped;
        let mut guard = routed.guard;
        let session = follow.as_ref().map(|follow| follow.session().to_owned());
        let session = session.or_else(|| call.bond.as_deref().map(str::to_owned));
        let finish = Finish {
            follow,
            keep,
            writer,
        };
        let mut headers = announce(sent, &omitted);
        headers.extend(retrieved);
        let stream = request.stream;
        call.notes.set_sent();
        let pending = match routed.way {
            Way::Direct => self.start(model, session, request, options),
            #[cfg(feature = "mcp")]
            Way::Rounds(_) => return Err(ApiError::internal("rounds have no lane of their own")),
            Way::Shared(shared) => {
                let flyer = Flyer {
                    state: self.state.clone(),
                    call: call.clone(),
                    model,
                    request,
                    options,
                    guard: guard.take(),
                    accounts: Arc::clone(&caller.accounts),
                };
                Box::pin(async move { Ok(Started::Shared(ride(*shared, flyer).await?)) })
            }
        };
        if !stream {
            return match pending.await? {
                Started::Lane(reply) => whole(*reply, finish, guard, headers, &call).await,
                Started::Shared(ridden) => shared(ridden, finish, headers, &call).await,
                #[cfg(feature = "mcp")]
                Started::Rounds(_) => Err(ApiError::internal("a whole answer is streamed")),
            };
        }
        streamed(self.state, (call, finish, guard), pending, headers).await
    }
}

/// Creates the answer of a streamed call.
async fn streamed(
    state: &State,
    (call, finish, guard): (Call, Finish, Option<OutputGuard>),
    mut pending: PendingCall,
    mut headers: Vec<(HeaderName, HeaderValue)>,
) -> Result<Answer, ApiError> {
    // An error after a short wait still has its own status. A long wait must not look like a dead connection to
    // proxies.
    let settings = state.settings.get();
    let opens_after = settings.stream_opens_after.0;
    let comment_every = settings.keep_alive_comment.0;
    let started = tokio::time::timeout(opens_after, &mut pending).await;
    let surface = call.surface;
    let body = StreamBody::new(call, finish, guard, comment_every);
    let Ok(started) = started else {
        return Ok(event_stream(headers, body.waiting(pending)));
    };
    let started = started?;
    match &started {
        Started::Lane(reply) => describe(reply, surface, &mut headers),
        Started::Shared(ridden) => headers.extend(ridden.headers()),
        #[cfg(feature = "mcp")]
        Started::Rounds(_) => {}
    }
    Ok(event_stream(headers, body.begun(started)?))
}

/// Returns `true` if a call was with its backend when it was cut off.
fn had_begun(trail: &Trail) -> bool {
    let attempts = trail.report().attempts;
    let last = attempts.last().map(|attempt| attempt.ended);
    last.is_some_and(|ended| ended.is_none_or(|(_, ending)| ending.outcome == CANCELLED))
}

/// Creates the answer of a whole answer that is shared or was kept. It belongs to no session.
async fn shared(
    mut ridden: Ridden,
    mut finish: Finish,
    mut headers: Vec<(HeaderName, HeaderValue)>,
    call: &Call,
) -> Result<Answer, ApiError> {
    headers.extend(ridden.headers());
    headers.push((CONTENT_TYPE, JSON));
    let body = ridden.rider.whole().await?;
    let (body, _) = finish.whole(body).await?;
    let body = BoxBody::new(WholeBody::without_lane(body, call.notes.clone()));
    Ok(Answer { headers, body })
}

async fn whole(
    reply: GatewayReply,
    mut finish: Finish,
    output: Option<OutputGuard>,
    mut headers: Vec<(HeaderName, HeaderValue)>,
    call: &Call,
) -> Result<Answer, ApiError> {
    call.notes.set_usage(reply.reply.response().usage.clone());
    describe(&reply, call.surface, &mut headers);
    let (response, guard) = reply.reply.into_parts();
    let made = async {
        let (content_type, body) = match response.body {
            ModelBody::Whole(body) => match &output {
                Some(output) if call.surface.calls_functions() => (JSON, output.json(body).await?),
                Some(output) => (JSON, output.whole(body).await?),
                None => (JSON, body),
            },
            ModelBody::Opaque(content_type, body) => {
                let content_type = HeaderValue::from_str(&content_type);
                let content_type = content_type.ok().filter(|kind| !kind.is_empty());
                let content_type = content_type.unwrap_or(OCTETS);
                (content_type, body)
            }
            ModelBody::Stream(_) => {
                let message = "the backend sent a stream, but a whole answer was requested";
                return Err(ApiError::internal(message));
            }
        };
        // The answer is sent only after it is kept.
        let (body, number) = finish.whole(body).await?;
        if let Some(number) = number {
            headers.push(number_header("x-kebne-session-turn", number));
        }
        headers.push((CONTENT_TYPE, content_type));
        Ok(body)
    };
    match made.await {
        Ok(body) => {
            let body = BoxBody::new(WholeBody::new(body, guard, call.notes.clone()));
            Ok(Answer { headers, body })
        }
        Err(error) => {
            let counted = guard.finish(error.ending());
            call.notes.set_ending(counted, Some(error.reason()));
            Err(error)
        }
    }
}

/// Returns the headers that report what was sent with a call, and what was left out of it.
fn announce(sent: Option<Sent>, omitted: &[String]) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(14);
    if let Some(sent) = sent {
        headers.push(number_header("x-kebne-history-turns", sent.turns as u64));
        headers.push(number_header("x-kebne-history-left-out", sent.left_out));
        if let Some(turns) = sent.summary_turns {
            headers.push(number_header("x-kebne-summary-turns", turns));
        }
        for (name, number) in [
            ("x-kebne-facts", sent.facts),
            ("x-kebne-recalled-turns", sent.recalled),
        ] {
            if number > 0 {
                headers.push(number_header(name, number as u64));
            }
        }
    }
    // The names are the caller's fields, some of which may not be valid in a header.
    if let Ok(names) = HeaderValue::from_str(&omitted.join(", "))
        && !omitted.is_empty()
    {
        headers.push((HeaderName::from_static("x-kebne-omitted"), names));
    }
    headers
}

/// Adds the headers of the backend's answer that are passed on, and those that report the lane and its model, why a preferred
/// backend did not answer, the number of attempts and the wait.
pub(super) fn describe(
    reply: &GatewayReply,
    surface: &dyn Surface,
    headers: &mut Vec<(HeaderName, HeaderValue)>,
) {
    headers.extend(passed(surface, &reply.reply.response().headers));
    headers.extend(lane_headers(reply));
    if let Some(kind) = reply.fallback {
        let kind = HeaderValue::from_static(kind.label());
        headers.push((HeaderName::from_static("x-kebne-fallback"), kind));
    }
    headers.push(number_header("x-kebne-attempts", reply.attempts.into()));
    let waited = u64::try_from(reply.reply.waited().as_millis()).unwrap_or(u64::MAX);
    headers.push(number_header("x-kebne-waited-ms", waited));
}

/// Returns the headers that report the lane and its model.
pub(super) fn lane_headers(reply: &GatewayReply) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(2);
    if let Ok(lane) = HeaderValue::from_str(&reply.lane) {
        headers.push((HeaderName::from_static("x-kebne-lane"), lane));
    }
    if let Ok(model) = HeaderValue::from_str(&reply.model)
        && !reply.model.is_empty()
    {
        headers.push((HeaderName::from_static("x-kebne-model"), model));
    }
    headers
}

fn number_header(name: &'static str, number: u64) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), number.into())
}

fn event_stream(mut headers: Vec<(HeaderName, HeaderValue)>, body: StreamBody) -> Answer {
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.extend([
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (buffering, HeaderValue::from_static("no")),
    ]);
    Answer {
        headers,
        body: BoxBody::new(body),
    }
}

impl Answer {
    /// Creates an answer that no lane gave.
    pub(super) fn new(headers: Vec<(HeaderName, HeaderValue)>, body: BoxBody) -> Self {
        Self { headers, body }
    }

    /// Creates the response of a success.
    pub(super) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::Ok().body(self.body);
        for (name, value) in self.headers {
            // A header of the backend may have several lines.
            response.headers_mut().append(name, value);
        }
        response
    }
}
