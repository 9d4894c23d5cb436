//! Refusals and requested faults as they appear on the wire.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    web::{Bytes, BytesMut},
};
use futures_util::stream;
use serde_json::json;
use socket2::Socket;

use crate::simulate::{Fault, dialect};

/// The dialect of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    HuggingFace,
}

/// Bytes per piece of a line that never ends.
const ENDLESS_PIECE: usize = 64 << 10;

/// Returns the answer of a fault that replaces the work; `None` for other faults.
pub(super) async fn before_work(
    fault: Option<Fault>,
    dialect: Dialect,
    socket: Option<&Socket>,
) -> Option<HttpResponse> {
    let response = match fault? {
        Fault::Reset | Fault::Panic => reset(socket),
        Fault::Hang => std::future::pending().await,
        Fault::Http500 => failed(),
        Fault::Garbage => HttpResponse::Ok()
            .content_type("application/json")
            .body("\u{0}<html>neither JSON nor events"),
        Fault::EndlessLine => endless_line(),
        Fault::RateLimit => limited(Duration::from_secs(1)),
        Fault::Quota => used_up(None),
        Fault::Overloaded => overloaded(dialect),
        Fault::Loading => loading(dialect, None),
        Fault::HalfStream
        | Fault::Stall
        | Fault::ErrorEvent
        | Fault::NoDone
        | Fault::SlowFirstToken => return None,
    };
    Some(response)
}

/// Cuts the connection before any answer.
fn reset(socket: Option<&Socket>) -> HttpResponse {
    if let Some(socket) = socket {
        // Without lingering the close is a reset. A socket that is closed already is what is wanted, too.
        let cut = socket
            .set_linger(Some(Duration::ZERO))
            .and_then(|()| socket.shutdown(std::net::Shutdown::Both));
        tracing::debug!(cut = cut.is_ok(), "reset as ordered");
    }
    HttpResponse::InternalServerError().force_close().finish()
}

/// Status 500.
pub(super) fn failed() -> HttpResponse {
    let body = dialect::error("the simulated model failed", "server_error", None);
    HttpResponse::InternalServerError()
        .content_type("application/json")
        .body(body)
}

/// Status 503 while loading.
pub(super) fn loading(dialect: Dialect, estimated: Option<Duration>) -> HttpResponse {
    let mut body = match dialect {
        Dialect::OpenAi => json!({"error": {
            "message": "Loading model", "type": "unavailable_error", "param": null, "code": "model_loading",
        }}),
        Dialect::HuggingFace => json!({"error": "Model simulated is currently loading"}),
    };
    if let Some(estimated) = estimated {
        body["estimated_time"] = json!(estimated.as_secs_f64());
    }
    HttpResponse::ServiceUnavailable().json(body)
}

/// Too many calls in flight; names no time.
pub(super) fn overloaded(dialect: Dialect) -> HttpResponse {
    match dialect {
        Dialect::OpenAi => {
            let body = dialect::error(
                "the server is overloaded",
                "service_unavailable_error",
                Some("server_is_overloaded"),
            );
            HttpResponse::ServiceUnavailable()
                .content_type("application/json")
                .body(body)
        }
        Dialect::HuggingFace => HttpResponse::TooManyRequests()
            .json(json!({"error": "Model is overloaded", "error_type": "overloaded"})),
    }
}

/// Too many requests; names the time to wait.
pub(super) fn limited(retry_after: Duration) -> HttpResponse {
    let body = dialect::error(
        "Rate limit reached",
        "requests",
        Some("rate_limit_exceeded"),
    );
    HttpResponse::TooManyRequests()
        .insert_header(("retry-after", retry_after.as_secs_f64().ceil().to_string()))
        .insert_header(("retry-after-ms", retry_after.as_millis().to_string()))
        .content_type("application/json")
        .body(body)
}

/// A quota that is used up, until a time or permanently.
pub(super) fn used_up(reset: Option<Duration>) -> HttpResponse {
    let message = "You exceeded your current quota, please check your plan and billing details.";
    let body = dialect::error(message, "insufficient_quota", Some("insufficient_quota"));
    let mut response = HttpResponse::TooManyRequests();
    if let Some(reset) = reset {
        response.insert_header(("retry-after", reset.as_secs_f64().ceil().to_string()));
    }
    response.content_type("application/json").body(body)
}

/// An event whose end never comes; it is sent for as long as the client reads.
fn endless_line() -> HttpResponse {
    let mut piece = BytesMut::from(&b"data: {\"x\":\""[..]);
    piece.resize(ENDLESS_PIECE, b'x');
    let first = piece.freeze();
    let more = Bytes::from(vec![b'x'; ENDLESS_PIECE]);
    let pieces = stream::unfold(Some(first), move |next| {
        let more = more.clone();
        async move { next.map(|piece| (Ok::<_, std::io::Error>(piece), Some(more))) }
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(pieces)
}
