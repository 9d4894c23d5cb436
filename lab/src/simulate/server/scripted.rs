//! A scenario's backend over HTTP, in the `OpenAI` dialect: only chat calls, which is everything that scenarios have.
//!
//! A call names its number in its last message (`call 17`), so that the backend recognises a retry, whatever gateway
//! is in between.

use std::{io, net::TcpListener};

use crate::sim::script::{Script, ScriptEvent};
use actix_web::{
    App, HttpResponse, HttpServer,
    web::{self, Bytes, Data},
};
use futures_util::stream;
use kebne_control::Outcome;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use kebne_wire::Endpoint;

use crate::simulate::{
    dialect::{Ask, Writer},
    server::{
        BODY_SIZE_MAX, SHUTDOWN_SECS, WORKERS, answers, created, faults, models, not_understood,
    },
    stage::{Attempt, LiveStage},
    text::Text,
};

/// Connections that may wait to be accepted: an open-loop load opens many at once.
const BACKLOG: u32 = 4096;

/// Serves a scenario's backend until `shutdown` is cancelled.
///
/// # Errors
/// Fails if the listener cannot be used.
pub async fn serve_script(
    listener: TcpListener,
    script: &Script,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let stage = LiveStage::new(script);
    let shared = Data::new(stage.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(BODY_SIZE_MAX))
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/simulate/state", web::get().to(state))
            .route("/v1/models", web::get().to(models))
            .route("/v1/chat/completions", web::post().to(chat))
    })
    .workers(WORKERS)
    .backlog(BACKLOG)
    .disable_signals()
    .shutdown_timeout(SHUTDOWN_SECS)
    .tcp_nodelay(true)
    // A caller who closes its half has given up; the backend must see that at once.
    .h1_allow_half_closed(false)
    .listen(listener)?
    .run();
    let handle = server.handle();
    let stop = async {
        shutdown.cancelled().await;
        handle.stop(true).await;
    };
    tokio::select! {
        ended = server => ended,
        () = stage.run() => Ok(()),
        () = stop => Ok(()),
    }
}

async fn state(stage: Data<LiveStage>) -> HttpResponse {
    let status = stage.status();
    HttpResponse::Ok().json(json!({
        "in_flight": status.in_flight, "slots": status.slots, "arrived": status.arrived,
    }))
}

async fn chat(body: Bytes, stage: Data<LiveStage>) -> HttpResponse {
    let ask = match Ask::parse(&body) {
        Ok(ask) => ask,
        Err(bad) => return not_understood(&bad),
    };
    if let Err(bad) = ask.check(Endpoint::Chat) {
        return not_understood(&bad);
    }
    let call = number(&ask.last_turn());
    let mut attempt = stage.arrive(call);
    let event = attempt.next_event().await;
    match event.outcome {
        Some(outcome) => ended(outcome, &event, &ask),
        None if ask.wants_stream() => streamed(&ask, attempt),
        None => {
            let end = attempt.next_event().await;
            end.outcome
                .map_or_else(faults::failed, |outcome| ended(outcome, &end, &ask))
        }
    }
}

/// Reads the number in `call 17`.
fn number(turn: &str) -> Option<usize> {
    turn.trim().strip_prefix("call ")?.parse().ok()
}

/// Answers an attempt that ends before its first part.
fn ended(outcome: Outcome, event: &ScriptEvent, ask: &Ask) -> HttpResponse {
    let mut response = match outcome {
        Outcome::Success { .. } if ask.wants_stream() => whole_stream(ask),
        Outcome::Success { tokens } => whole(ask, tokens),
        Outcome::Cold { estimated } => faults::loading(faults::Dialect::OpenAi, estimated),
        Outcome::Absent { .. } => HttpResponse::ServiceUnavailable().finish(),
        Outcome::Rate {
            retry_after: Some(after),
            ..
        } => faults::limited(after),
        Outcome::Rate { .. } | Outcome::Limit => faults::overloaded(faults::Dialect::OpenAi),
        Outcome::Quota { reset } => faults::used_up(reset),
        Outcome::Fault
        | Outcome::Timeout
        | Outcome::Client
        | Outcome::Unusable
        | Outcome::Misconfigured
        | Outcome::Cancelled => faults::failed(),
    };
    answers::tell_hints(&mut response, &event.hints);
    response
}

fn text() -> Text {
    Text::answer("", 8, None)
}

/// The usage is sent only if the scenario's backend sends it.
fn whole(ask: &Ask, tokens: Option<u32>) -> HttpResponse {
    let mut answer = json!({
        "id": "chatcmpl-scenario", "object": "chat.completion", "created": created(), "model": ask.model,
        "choices": [{
            "index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": text().whole(), "refusal": null},
        }],
    });
    if let Some(tokens) = tokens {
        answer["usage"] = json!({
            "prompt_tokens": ask.prompt_tokens(), "completion_tokens": tokens,
            "total_tokens": ask.prompt_tokens() + u64::from(tokens),
        });
    }
    HttpResponse::Ok().json(answer)
}

fn writer(ask: &Ask) -> Writer {
    Writer::new(Endpoint::Chat, ask, "scenario", created())
}

fn events() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-cache"));
    response
}

fn whole_stream(ask: &Ask) -> HttpResponse {
    let writer = writer(ask);
    events().body(writer.token("served", true) + &writer.end(&text()))
}

/// Streams a first part now, and the rest when the backend is done.
fn streamed(ask: &Ask, attempt: Attempt) -> HttpResponse {
    let writer = writer(ask);
    let first = Bytes::from(writer.token("served", true));
    let rest = async move {
        let mut attempt = attempt;
        match attempt.next_event().await.outcome {
            Some(Outcome::Success { .. }) => Ok(Bytes::from(writer.end(&text()))),
            _ => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        }
    };
    let pieces = futures_util::StreamExt::chain(
        stream::once(async { Ok::<_, io::Error>(first) }),
        stream::once(rest),
    );
    events().streaming(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_its_number_in_its_last_message() {
        assert_eq!(number("call 17"), Some(17));
        assert_eq!(number("call me"), None);
        assert_eq!(number("Why is the sky blue?"), None);
    }
}
