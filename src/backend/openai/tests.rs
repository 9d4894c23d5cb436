//! The client against servers on real sockets.

mod memory;
mod reading;

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use kebne_control::{BucketHint, Outcome};

use super::*;
use crate::{
    backend::{
        ModelBackend,
        wire::{SimulatedServer, attempt, build, canned, chat, read, try_once, whole},
    },
    llm::{Endpoint, ModelBody, StreamItem},
};

const INSTANT: &str = "preset = 'instant'";

fn openai(server: &SimulatedServer, more: &str) -> ModelBackend {
    build(&format!("kind = 'openai'\n{more}"), server.address, "/v1/")
}

fn with_fault(server: &SimulatedServer, fault: &str) -> ModelBackend {
    openai(server, &format!("[headers]\nx-simulate-fault = '{fault}'"))
}

#[tokio::test]
async fn whole_and_streamed_answers_arrive_complete_under_the_servers_model_name() {
    let server = SimulatedServer::start(INSTANT);
    let backend = openai(&server, "model = 'org/other'");
    let answer = try_once(&backend, chat(false)).await.unwrap();
    assert_eq!(answer.tokens, Some(48));
    let body = whole(answer);
    assert_eq!(body["model"], "org/other");
    let text = body["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(text.contains("hello"), "{text}");
    let (events, last) = read(try_once(&backend, chat(true)).await.unwrap()).await;
    assert!(matches!(last, StreamItem::End), "{last:?}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
    let chunks = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let joined: String = chunks
        .map(|chunk| serde_json::from_str::<serde_json::Value>(&format!("{{{chunk}")).unwrap())
        .map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or("")
                .to_owned()
        })
        .collect();
    assert_eq!(joined, text);
    server.becomes_idle().await;
}

#[tokio::test]
async fn completions_and_embeddings_have_their_own_paths() {
    let server = SimulatedServer::start(INSTANT);
    let backend = openai(&server, "");
    let body = r#"{"model":"m","prompt":"hello"}"#.to_owned();
    let answer = try_once(&backend, attempt(Endpoint::Completions, body, false))
        .await
        .unwrap();
    assert!(
        whole(answer)["choices"][0]["text"]
            .as_str()
            .unwrap()
            .contains("hello")
    );
    let body = r#"{"model":"m","input":["a","b"]}"#.to_owned();
    let answer = try_once(&backend, attempt(Endpoint::Embeddings, body, false))
        .await
        .unwrap();
    assert_eq!(whole(answer)["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn each_fault_is_classified_before_the_first_byte() {
    let server = SimulatedServer::start(INSTANT);
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(1)),
        slow_down: false,
    };
    let expected = [
        ("reset", Outcome::Fault),
        ("http-500", Outcome::Fault),
        ("garbage", Outcome::Unusable),
        ("endless-line", Outcome::Unusable),
        ("rate-limit", rate),
        ("quota", Outcome::Quota { reset: None }),
        ("overloaded", Outcome::Limit),
        ("loading", Outcome::Cold { estimated: None }),
        ("no-such-fault", Outcome::Client),
    ];
    for (fault, outcome) in expected {
        for stream in [false, true] {
            let backend = with_fault(&server, fault);
            let failure = try_once(&backend, chat(stream)).await.unwrap_err();
            assert_eq!(
                failure.outcome, outcome,
                "{fault}, stream {stream}: {failure}"
            );
        }
    }
    let failure = try_once(&with_fault(&server, "half-stream"), chat(false))
        .await
        .unwrap_err();
    assert_eq!(failure.outcome, Outcome::Fault, "{failure}");
    server.becomes_idle().await;
}

#[tokio::test]
async fn each_fault_after_the_first_byte_is_a_loss_in_the_stream() {
    let server = SimulatedServer::start(INSTANT);
    for fault in ["half-stream", "error-event", "no-done", "stall"] {
        let mut request = chat(true);
        if fault == "stall" {
            request.idle_timeout = Duration::from_millis(300);
        }
        let answer = try_once(&with_fault(&server, fault), request)
            .await
            .unwrap();
        let (events, last) = read(answer).await;
        let StreamItem::Lost(failure) = last else {
            panic!("{fault}: {last:?}");
        };
        let expected = if fault == "stall" {
            Outcome::Timeout
        } else {
            Outcome::Fault
        };
        assert_eq!(failure.outcome, expected, "{fault}: {failure}");
        assert!(
            events.contains("hello") || events.contains("You"),
            "{fault}: {events}"
        );
        assert!(
            !events.contains("error") && !events.contains("[DONE]"),
            "{fault}: {events}"
        );
    }
    server.becomes_idle().await;
}

#[tokio::test]
async fn a_cold_server_tells_its_estimate_and_a_rate_limit_its_bucket() {
    let server =
        SimulatedServer::start("cold_start = '1h'\ncold_start_spread = 0.0\ncold_estimate = '20s'");
    let failure = try_once(&openai(&server, ""), chat(true))
        .await
        .unwrap_err();
    assert_eq!(
        failure.outcome,
        Outcome::Cold {
            estimated: Some(Duration::from_secs(20))
        }
    );
    let server = SimulatedServer::start("preset = 'instant'\nrequests_per_minute = 1");
    let backend = openai(&server, "");
    let answer = try_once(&backend, chat(false)).await.unwrap();
    let BucketHint {
        limit, remaining, ..
    } = answer.quota.requests.unwrap();
    assert!(
        (limit - 1.0).abs() < 1e-9 && remaining.abs() < 1e-9,
        "{limit} {remaining}"
    );
    let failure = try_once(&backend, chat(false)).await.unwrap_err();
    let Outcome::Rate {
        retry_after: Some(retry_after),
        ..
    } = failure.outcome
    else {
        panic!("{failure:?}");
    };
    assert!(
        retry_after > Duration::from_secs(30) && retry_after <= Duration::from_mins(1),
        "{retry_after:?}"
    );
    assert!(failure.quota.requests.is_some());
}

#[tokio::test]
async fn dropping_the_attempt_or_the_answer_frees_the_server_at_once() {
    let server = SimulatedServer::start("preset = 'instant'\ntoken_time = '1h'");
    let backend = openai(&server, "");
    let given_up =
        tokio::time::timeout(Duration::from_millis(200), try_once(&backend, chat(false))).await;
    assert!(given_up.is_err());
    server.becomes_idle().await;
    drop(try_once(&backend, chat(true)).await.unwrap());
    server.becomes_idle().await;
    let request = chat(true);
    let cancelled = request.cancelled.clone();
    let answer = try_once(&backend, request).await.unwrap();
    let tail = tokio::spawn(answer.tail.unwrap());
    cancelled.cancel();
    assert_eq!(tail.await.unwrap().outcome, Outcome::Cancelled);
    server.becomes_idle().await;
}

const REFUSED: Outcome = Outcome::Absent {
    answered: false,
    retry_after: None,
};

#[tokio::test]
async fn a_refused_connection_is_asleep_until_the_server_was_seen_to_work() {
    let server = SimulatedServer::start(INSTANT);
    let backend = openai(&server, "asleep_after = '1h'");
    try_once(&backend, chat(false)).await.unwrap();
    drop(server);
    let failure = try_once(&backend, chat(false)).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Fault, "{failure}");
    let mut wake = chat(false);
    wake.wake = true;
    let failure = try_once(&backend, wake).await.unwrap_err();
    assert_eq!(failure.outcome, REFUSED, "{failure}");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let never_seen = build("kind = 'openai'", port, "/v1");
    let failure = try_once(&never_seen, chat(false)).await.unwrap_err();
    assert_eq!(failure.outcome, REFUSED, "{failure}");
    assert!(
        failure.message.to_lowercase().contains("refused"),
        "{failure}"
    );
}

#[tokio::test]
async fn the_callers_bytes_go_up_as_they_came_with_key_and_headers() {
    let (address, served) = canned("HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n{\"choices\":[{\"message\":{\"content\":\"x\"}}]}").await;
    let settings = "kind = 'openai'\napi_key_env = 'A_KEY'\n[headers]\nx-own = 'o'\n[wake_headers]\nx-hold = '600'";
    let backend = build(settings, address, "/v1?api-version=3");
    let mut request = chat(false);
    request.wake = true;
    let body = request.request.body.clone();
    try_once(&backend, request).await.unwrap();
    let request = served.await.unwrap();
    let (head, sent) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(sent.as_bytes(), body);
    assert!(
        head.starts_with("POST /v1/chat/completions?api-version=3 HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        "authorization: Bearer secret",
        "x-own: o",
        "x-hold: 600",
        "x-request-id: req-7",
        "content-type: application/json",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_stream_is_streamed_for() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 75\r\n\r\n{\"choices\":[{\"index\":0,\"message\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}";
    assert_eq!(ANSWER.split_once("\r\n\r\n").unwrap().1.len(), 75);
    let (address, _served) = canned(ANSWER).await;
    let backend = build("kind = 'openai'", address, "");
    let (events, last) = read(try_once(&backend, chat(true)).await.unwrap()).await;
    assert!(matches!(last, StreamItem::End));
    assert!(
        events.contains("\"delta\":{\"content\":\"hi\",\"role\":\"assistant\"}")
            && events.ends_with("data: [DONE]\n\n"),
        "{events}"
    );
}

#[tokio::test]
async fn an_error_at_the_head_of_a_stream_or_under_status_200_is_a_failure() {
    let answers = [
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\ndata: {\"error\":{\"code\":503,\"message\":\"Loading model\"}}\n\n",
            Outcome::Cold { estimated: None },
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n{\"error\":{\"message\":\"Model is overloaded\"}} ",
            Outcome::Limit,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: only a comment\n\n",
            Outcome::Fault,
        ),
    ];
    for (answer, outcome) in answers {
        let (address, _served) = canned(answer).await;
        let failure = try_once(&build("kind = 'openai'", address, ""), chat(true))
            .await
            .unwrap_err();
        assert_eq!(failure.outcome, outcome, "{failure}");
    }
}

#[tokio::test]
async fn calls_after_one_another_share_one_connection() {
    let server = SimulatedServer::start(INSTANT);
    let backend = openai(&server, "");
    for stream in [false, true, true, false, true, false] {
        let mut answer = try_once(&backend, chat(stream)).await.unwrap();
        if let Some(tail) = answer.tail.take() {
            let ModelBody::Stream(mut receiver) = answer.response.body else {
                panic!("a stream was asked for");
            };
            let tail = tokio::spawn(tail);
            while receiver.recv().await.is_some() {}
            tail.await.unwrap();
        }
    }
    let state = server.state().await;
    assert_eq!(
        (&state["connections"], &state["accepted"]),
        (&2.into(), &6.into())
    );
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_broken_and_not_asleep() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut socket, answer)
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    let settings = format!("kind = 'openai'\nbase_url = 'https://{address}/v1'");
    let settings: BackendSettings = toml::from_str(&settings).unwrap();
    let backend = ModelBackend::build(&settings, &std::collections::BTreeMap::new()).unwrap();
    let failure = try_once(&backend, chat(false)).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Fault, "{failure}");
}

#[tokio::test]
async fn a_loss_after_the_role_alone_can_still_be_retried() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}]}\n\n";
    let (address, _served) = canned(answer).await;
    let failure = try_once(&build("kind = 'openai'", address, ""), chat(true))
        .await
        .unwrap_err();
    assert_eq!(failure.outcome, Outcome::Fault, "{failure}");
}

#[test]
fn a_key_that_is_not_set_is_named() {
    let settings: BackendSettings =
        toml::from_str("kind = 'openai'\nbase_url = 'http://a'\napi_key_env = 'NO_SUCH'").unwrap();
    let error = ModelBackend::build(&settings, &std::collections::BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("`NO_SUCH`"), "{error}");
}
