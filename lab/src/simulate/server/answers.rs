//! Answers in the `OpenAI` dialect, whole and token by token.

use std::{io, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
    web::Bytes,
};
use futures_util::{StreamExt, stream};
use kebne_control::{BucketHint, QuotaHints};
use tokio::time::sleep;

use kebne_wire::Endpoint;

use crate::simulate::{
    Fault, LiveModel, WorkEnding,
    dialect::{self, Ask, Writer},
    server::{Admitted, State, created, faults, not_understood},
    text::Text,
};

/// Time for the data to be sent before the connection is cut, which drops what is not sent yet.
const FLUSH_TIME: Duration = Duration::from_millis(20);

/// Answers one call.
pub(super) async fn answer(
    endpoint: Endpoint,
    request: &HttpRequest,
    body: &[u8],
    state: &State,
) -> HttpResponse {
    let ask = match Ask::parse(body) {
        Ok(ask) => ask,
        Err(bad) => return not_understood(&bad),
    };
    if let Err(bad) = ask.check(endpoint) {
        return not_understood(&bad);
    }
    let admitted = match state.admit(request, faults::Dialect::OpenAi).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    sleep(admitted.work.first_token).await;
    if admitted.work.ending == WorkEnding::Failed {
        return faults::failed();
    }
    let mut response = if endpoint == Endpoint::Embeddings {
        json_body(dialect::embeddings(&ask))
    } else {
        speak(endpoint, &ask, admitted, state).await
    };
    tell_quota(&mut response, &state.model);
    response
}

/// Adds the remaining rate limit, as `OpenAI`'s headers do.
pub(super) fn tell_quota(response: &mut HttpResponse, model: &LiveModel) {
    tell_hints(response, &model.quota());
}

/// Adds the remaining quotas.
pub(super) fn tell_hints(response: &mut HttpResponse, hints: &QuotaHints) {
    tell_bucket(
        response,
        hints.requests,
        [
            "x-ratelimit-limit-requests",
            "x-ratelimit-remaining-requests",
            "x-ratelimit-reset-requests",
        ],
    );
    tell_bucket(
        response,
        hints.tokens,
        [
            "x-ratelimit-limit-tokens",
            "x-ratelimit-remaining-tokens",
            "x-ratelimit-reset-tokens",
        ],
    );
}

fn tell_bucket(response: &mut HttpResponse, bucket: Option<BucketHint>, names: [&'static str; 3]) {
    let Some(bucket) = bucket else { return };
    let reset = bucket.reset.unwrap_or_default().as_millis();
    let values = [
        bucket.limit.to_string(),
        bucket.remaining.to_string(),
        format!("{reset}ms"),
    ];
    for (name, value) in names.into_iter().zip(values) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
}

/// Answers with the text, streamed or whole.
async fn speak(endpoint: Endpoint, ask: &Ask, admitted: Admitted, state: &State) -> HttpResponse {
    let writer = Writer::new(
        endpoint,
        ask,
        &format!("simulated-{}", state.number()),
        created(),
    );
    let text = Text::answer(
        &ask.last_turn(),
        state.model.profile().answer_tokens,
        ask.max(),
    );
    let broken_after = admitted
        .work
        .broken_after(admitted.fault, text.tokens.len());
    if ask.wants_stream() {
        let tokens = Tokens {
            text,
            writer,
            admitted,
            broken_after,
            next: 0,
            over: false,
        };
        return HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header(("cache-control", "no-cache"))
            .streaming(stream::unfold(tokens, Tokens::step));
    }
    let tokens = u32::try_from(text.tokens.len()).unwrap_or(u32::MAX);
    sleep(
        admitted
            .work
            .token_time
            .saturating_mul(tokens.saturating_sub(1)),
    )
    .await;
    let body = writer.whole(&text);
    if broken_after.is_some() {
        return half(body);
    }
    json_body(body)
}

/// The tokens of a streamed answer, each when its time has come.
struct Tokens {
    text: Text,
    writer: Writer,
    /// Holds the call's place until the body is dropped.
    admitted: Admitted,
    /// The number of tokens after which the stream breaks, if it does.
    broken_after: Option<usize>,
    next: usize,
    over: bool,
}

impl Tokens {
    /// Creates the next piece of the body.
    async fn step(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.over {
            return None;
        }
        if self.broken_after == Some(self.next) {
            return self.break_off().await;
        }
        let piece = if let Some(token) = self.text.tokens.get(self.next) {
            if self.next > 0 && !self.admitted.work.token_time.is_zero() {
                sleep(self.admitted.work.token_time).await;
            }
            self.writer.token(token, self.next == 0)
        } else {
            self.over = true;
            self.writer.end(&self.text)
        };
        self.next += 1;
        Some((Ok(Bytes::from(piece)), self))
    }

    /// Ends the stream as requested, or cuts the connection.
    async fn break_off(mut self) -> Option<(io::Result<Bytes>, Self)> {
        self.over = true;
        match self.admitted.fault {
            Some(Fault::Stall) => std::future::pending().await,
            Some(Fault::NoDone) => None,
            Some(Fault::ErrorEvent) => {
                let error = dialect::error("the simulated model failed", "server_error", None);
                Some((Ok(Bytes::from(format!("data: {error}\n\n"))), self))
            }
            _ => {
                sleep(FLUSH_TIME).await;
                Some((Err(io::ErrorKind::ConnectionReset.into()), self))
            }
        }
    }
}

fn json_body(body: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(body)
}

/// Sends the head and half of a body, and cuts the connection.
pub(super) fn half(body: String) -> HttpResponse {
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    let first = Bytes::from(body).split_to(usize::try_from(length / 2).unwrap_or(0));
    let cut = async {
        sleep(FLUSH_TIME).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    };
    let pieces = stream::once(async { Ok(first) }).chain(stream::once(cut));
    HttpResponse::Ok()
        .content_type("application/json")
        .no_chunking(length)
        .streaming(pieces)
}
