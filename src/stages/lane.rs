//! Calls the model through its lanes, and makes the answer's head and body.

mod stream_body;
mod whole_body;

use actix_web::{
    HttpResponse,
    body::BoxBody,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
    web::Data,
};
use kebne_lane::{CallOptions, Ending};

use crate::{
    gateway::GatewayReply,
    llm::{ModelRequest, ModelResponse},
    stages::{Call, Stage, route::Routed, shape::Shaped, turn::Follow},
    state::State,
    surface::{AnswerWriter, error::ApiError},
};

use stream_body::{PendingCall, StreamBody};
use whole_body::WholeBody;

/// Calls the model through its lanes.
pub(super) struct Lane<'a> {
    state: &'a Data<State>,
}

/// An answer that has begun, or a stream that is kept open until it begins.
pub(super) struct Answer {
    headers: Vec<(HeaderName, HeaderValue)>,
    body: BoxBody,
}

impl<'a> Lane<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }

    /// Starts a call whose future owns all it needs; dropping it cancels the call.
    fn start(&self, model: String, request: ModelRequest, options: CallOptions) -> PendingCall {
        let gateway = self.state.gateway.clone();
        Box::pin(async move { gateway.call(&model, request, options).await })
    }
}

impl Stage for Lane<'_> {
    type In = Routed;
    type Out = Answer;

    async fn run(&self, routed: Routed) -> Result<Answer, ApiError> {
        let Shaped {
            call,
            model,
            request,
            options,
            follow,
            writer,
            ..
        } = routed.shaped;
        let stream = request.stream;
        let mut pending = self.start(model, request, options);
        if !stream {
            let reply = pending.await;
            let reply = reply.map_err(|error| ApiError::from_gateway(&error))?;
            return whole(reply, follow, writer, &call).await;
        }
        // A short wait still has its true status; a long one must not look dead to those between.
        let opens_after = self.state.settings.stream_opens_after.0;
        let comment_every = self.state.settings.keep_alive_comment.0;
        let reply = tokio::time::timeout(opens_after, &mut pending).await;
        let begin = |follow| StreamBody::new(call, follow, writer, comment_every);
        let Ok(reply) = reply else {
            let body = begin(follow).waiting(pending);
            return Ok(event_stream(Vec::new(), body));
        };
        let reply = reply.map_err(|error| ApiError::from_gateway(&error))?;
        let headers = describe(&reply, follow.as_ref());
        Ok(event_stream(headers, begin(follow).begun(reply)?))
    }
}

async fn whole(
    reply: GatewayReply,
    follow: Option<Follow>,
    mut writer: Box<dyn AnswerWriter>,
    call: &Call,
) -> Result<Answer, ApiError> {
    call.notes.set_lane(&reply.lane, reply.attempts);
    let mut headers = describe(&reply, follow.as_ref());
    let guard = reply.reply.guard;
    let made = async {
        let ModelResponse::Whole(body) = reply.reply.response else {
            let message = "the backend streamed where it was asked for one piece";
            return Err(ApiError::internal(message));
        };
        if let Some(follow) = follow {
            // Answered only when it is kept.
            let number = follow.keep_whole(&body).await?;
            headers.push(number_header("x-kebne-session-turn", number));
        }
        writer.whole(body)
    };
    match made.await {
        Ok(body) => {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
            let body = BoxBody::new(WholeBody::new(body, guard));
            Ok(Answer { headers, body })
        }
        Err(error) => {
            guard.finish(Ending::Error);
            Err(error)
        }
    }
}

/// Says who answered, after how many attempts and which wait.
fn describe(reply: &GatewayReply, follow: Option<&Follow>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(8);
    if let Some((sent, left_out)) = follow.map(|follow| follow.history) {
        let sent = u64::try_from(sent).unwrap_or(u64::MAX);
        headers.push(number_header("x-kebne-history-turns", sent));
        headers.push(number_header("x-kebne-history-left-out", left_out));
    }
    if let Ok(lane) = HeaderValue::from_str(&reply.lane) {
        headers.push((HeaderName::from_static("x-kebne-lane"), lane));
    }
    headers.push(number_header("x-kebne-attempts", reply.attempts.into()));
    let waited = u64::try_from(reply.reply.waited.as_millis()).unwrap_or(u64::MAX);
    headers.push(number_header("x-kebne-waited-ms", waited));
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
    /// Makes the response, which is a success.
    pub(super) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::Ok().body(self.body);
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
