//! The calls to models: chat, completions, embeddings.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header,
    web::{Data, Payload},
};
use bytes::Bytes;
use kebne_control::Kind;
use kebne_lane::{CallOptions, Ending};
use kebne_wire::request::{Parsed, parse, tokens_of};
use tokio::time::Instant;

use crate::{
    gateway::GatewayReply,
    http::{
        State, auth,
        body::{PendingCall, StreamBody},
        error::ApiError,
        request, share,
        turn::{self, Follow},
    },
    llm::{Endpoint, ModelResponse},
};

/// `POST /v1/chat/completions`.
pub(super) async fn chat(http: HttpRequest, payload: Payload, state: Data<State>) -> HttpResponse {
    answer(Endpoint::Chat, http, payload, state).await
}

/// `POST /v1/completions`.
pub(super) async fn completions(
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    answer(Endpoint::Completions, http, payload, state).await
}

/// `POST /v1/embeddings`.
pub(super) async fn embeddings(
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    answer(Endpoint::Embeddings, http, payload, state).await
}

async fn answer(
    endpoint: Endpoint,
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let started = Instant::now();
    let id = request::request_id(http.headers());
    let mut model = String::new();
    let result = call(
        endpoint,
        &http,
        payload,
        &state,
        Arc::clone(&id),
        &mut model,
    )
    .await;
    let mut response = result.unwrap_or_else(|error| {
        tracing::debug!(request = %id, status = error.status().as_u16(), reason = error.reason(), "refused or failed");
        error.response(fastrand::f64())
    });
    let status = response.status().as_u16();
    let name = state.gateway.canonical(&model).unwrap_or("");
    state.metrics.answered(name, status, started.elapsed());
    crate::http::set_request_id(&mut response, &id);
    response
}

async fn call(
    endpoint: Endpoint,
    http: &HttpRequest,
    payload: Payload,
    state: &Data<State>,
    id: Arc<str>,
    model: &mut String,
) -> Result<HttpResponse, ApiError> {
    let caller = auth::caller(http.headers(), &state.settings.keys)?;
    let share = share::of(http.headers(), &caller)?;
    let deadline = request::deadline(http, &state.settings)?;
    let body = read(payload, state).await?;
    let mut parsed = parse(endpoint, body, id)?;
    model.clone_from(&parsed.model);
    let said = parsed.request.body.len();
    let follow = turn::prepare(state, http.headers(), &caller, &mut parsed.request).await?;
    // History is sent too, and so weighs too.
    let more = parsed.request.body.len().saturating_sub(said);
    let tokens = parsed.tokens.saturating_add(tokens_of(more));
    let options = CallOptions {
        deadline,
        bytes: u64::try_from(parsed.request.body.len()).unwrap_or(u64::MAX),
        tokens,
        output_tokens_max: parsed.output_tokens_max,
        tenant: share.tenant,
        priority: share.priority,
        weight: share.weight,
        first_part_timeout: None,
        refuse_when_cold: share.refuse_when_cold,
        hedge: parsed.changes_nothing,
        kind: kind_of(endpoint, &parsed, tokens),
    };
    let stream = parsed.request.stream;
    let mut pending = start(state, parsed, options);
    if !stream {
        let reply = pending
            .await
            .map_err(|error| ApiError::from_gateway(&error))?;
        return whole(reply, follow).await;
    }
    // A short wait still has its true status; a long one must not look dead to those between.
    let opens_after = state.settings.stream_opens_after.0;
    let comment_every = state.settings.keep_alive_comment.0;
    let answer = tokio::time::timeout(opens_after, &mut pending).await;
    let Ok(answer) = answer else {
        let body = StreamBody::waiting(pending, follow, comment_every);
        return Ok(event_stream(&mut HttpResponse::Ok()).body(body));
    };
    streamed(
        answer.map_err(|error| ApiError::from_gateway(&error))?,
        follow,
        comment_every,
    )
}

/// Starts a call whose future owns all it needs; dropping it cancels the call.
fn start(state: &Data<State>, parsed: Parsed, options: CallOptions) -> PendingCall {
    let gateway = state.gateway.clone();
    Box::pin(async move { gateway.call(&parsed.model, parsed.request, options).await })
}

/// Reads a bounded body in bounded time.
pub(super) async fn read(payload: Payload, state: &Data<State>) -> Result<Bytes, ApiError> {
    let limit = state.settings.body_size_max.as_usize();
    let body = payload.to_bytes_limited(limit);
    let body = tokio::time::timeout(state.settings.request_timeout.0, body).await;
    match body.map_err(|_| ApiError::slow_request())? {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => Err(ApiError::bad_request(
            None,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(ApiError::too_large(limit)),
    }
}

async fn whole(reply: GatewayReply, follow: Option<Follow>) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    describe(&mut response, &reply, follow.as_ref());
    match reply.reply.response {
        ModelResponse::Whole(body) => {
            if let Some(follow) = follow {
                // Answered only when it is kept.
                match follow.keep_whole(&body).await {
                    Ok(number) => response.insert_header(("x-kebne-session-turn", number)),
                    Err(error) => {
                        reply.reply.guard.finish(Ending::Error);
                        return Err(error);
                    }
                };
            }
            reply.reply.guard.finish(Ending::Success);
            Ok(response
                .content_type(header::ContentType::json())
                .body(body))
        }
        ModelResponse::Stream(_) => {
            reply.reply.guard.finish(Ending::Error);
            Err(ApiError::internal(
                "the backend streamed where it was asked for one piece",
            ))
        }
    }
}

fn streamed(
    reply: GatewayReply,
    follow: Option<Follow>,
    comment_every: Duration,
) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    describe(&mut response, &reply, follow.as_ref());
    match reply.reply.response {
        ModelResponse::Stream(items) => {
            let body = StreamBody::streaming(items, reply.reply.guard, follow, comment_every);
            Ok(event_stream(&mut response).body(body))
        }
        ModelResponse::Whole(_) => {
            reply.reply.guard.finish(Ending::Error);
            Err(ApiError::internal(
                "the backend answered in one piece where a stream was asked for",
            ))
        }
    }
}

/// Says who answered, after how many attempts and which wait.
fn describe(response: &mut HttpResponseBuilder, reply: &GatewayReply, follow: Option<&Follow>) {
    if let Some((sent, left_out)) = follow.map(|follow| follow.history) {
        response.insert_header(("x-kebne-history-turns", sent));
        response.insert_header(("x-kebne-history-left-out", left_out));
    }
    response.insert_header(("x-kebne-lane", reply.lane.as_str()));
    response.insert_header(("x-kebne-attempts", reply.attempts));
    let waited = u64::try_from(reply.reply.waited.as_millis()).unwrap_or(u64::MAX);
    response.insert_header(("x-kebne-waited-ms", waited));
}

fn event_stream(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header(("x-accel-buffering", "no"))
}

/// Names what the time of a call depends on besides the load.
fn kind_of(endpoint: Endpoint, parsed: &Parsed, tokens: u32) -> Kind {
    let class = match endpoint {
        Endpoint::Chat => 0,
        Endpoint::Completions => 1,
        Endpoint::Embeddings => 2,
    };
    Kind {
        class: 2 * class + u32::from(parsed.request.stream),
        input: tokens.saturating_sub(parsed.output_tokens_max),
        output: parsed.output_tokens_max,
    }
}
