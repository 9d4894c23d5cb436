//! Answers as servers really send them: wrong labels, errors that look like answers, losses that look like ends.

use std::io::Write as _;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::backend::wire::canned_bytes;

const OPENAI: &str = "kind = 'openai'";
const EVENTS: &str = "data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const WHOLE: &str =
    r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\n{head}content-length: {length}\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn answered(answer: Vec<u8>, stream: bool) -> Result<Answer<ModelResponse>, Failure> {
    let (address, _served) = canned_bytes(answer).await;
    try_once(&build(OPENAI, address, ""), chat(stream)).await
}

#[tokio::test]
async fn bytes_decide_what_an_answer_is_and_not_its_label() {
    for label in [
        "",
        "content-type: application/json\r\n",
        "content-type: text/plain\r\n",
        "content-type: Text/Event-Stream; charset=utf-8\r\n",
        "content-type: text/event-stream\r\n",
        "content-type: \r\n",
    ] {
        for body in [EVENTS, WHOLE] {
            let answer = answered(with_head(label, body.as_bytes()), true).await;
            let (events, last) = read(answer.unwrap()).await;
            assert!(matches!(last, StreamItem::End), "{label}: {last:?}");
            assert!(events.contains("\"content\":\"hi\""), "{events}");
            assert!(events.contains("\"role\":\"assistant\""), "{events}");
            assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
            let answer = answered(with_head(label, body.as_bytes()), false).await;
            let answer = whole(answer.unwrap());
            assert_eq!(answer["choices"][0]["message"]["content"], "hi", "{label}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_compressed_without_being_asked_for_is_decoded() {
    for stream in [false, true] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(EVENTS.as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        let head = "content-encoding: gzip\r\n";
        let answer = answered(with_head(head, &body), stream).await.unwrap();
        if stream {
            assert!(matches!(read(answer).await.1, StreamItem::End));
        } else {
            assert_eq!(whole(answer)["choices"][0]["message"]["content"], "hi");
        }
        let cut = answered(with_head(head, &body[..body.len() / 2]), stream).await;
        let outcome = match cut {
            Err(failure) => failure.outcome,
            Ok(answer) => match read(answer).await.1 {
                StreamItem::Lost(failure) => failure.outcome,
                other => panic!("{other:?}"),
            },
        };
        assert_eq!(outcome, Outcome::Fault);
    }
    let failure = answered(with_head("content-encoding: br\r\n", b"xx"), false).await;
    assert_eq!(failure.unwrap_err().outcome, Outcome::Unusable);
}

#[tokio::test]
async fn an_error_that_looks_like_an_answer_keeps_its_status_and_class() {
    let cases = [
        ("{}", Outcome::Unusable, None),
        ("[]", Outcome::Unusable, None),
        ("null", Outcome::Unusable, None),
        ("<html>", Outcome::Unusable, None),
        (r#"{"choices":[]}"#, Outcome::Unusable, None),
        (r#"{"detail":"busy"}"#, Outcome::Fault, None),
        (
            r#"{"object":"error","message":"too long","type":"BadRequestError","code":400}"#,
            Outcome::Client,
            Some(400),
        ),
        (
            r#"{"error":{"message":"no","type":"not_found_error"}}"#,
            Outcome::Client,
            Some(404),
        ),
        (
            r#"[{"error":{"code":429,"message":"slow"}}]"#,
            Outcome::Limit,
            Some(429),
        ),
        (
            r#"{"error":{"message":"key","code":"invalid_api_key"}}"#,
            Outcome::Misconfigured,
            Some(401),
        ),
    ];
    for (body, outcome, status) in cases {
        for stream in [false, true] {
            for sent in [
                body.to_owned(),
                format!("data: {body}\n\ndata: [DONE]\n\n"),
                format!("event: error\ndata: {body}\n\n"),
                format!(": hi\n\n{body}\n\n"),
            ] {
                let named = sent.starts_with("event");
                let label = "content-type: text/event-stream\r\n";
                let failure = answered(with_head(label, sent.as_bytes()), stream).await;
                let failure = failure.unwrap_err();
                let expected = match outcome {
                    // What is not an error by its looks is one by its name, or nothing in a stream.
                    Outcome::Unusable if named || sent.starts_with(':') => Outcome::Fault,
                    other => other,
                };
                assert_eq!(failure.outcome, expected, "{sent}: {failure}");
                if expected == outcome {
                    assert_eq!(failure.status, status, "{sent}");
                }
            }
        }
    }
}

#[tokio::test]
async fn an_error_that_contains_a_long_prompt_keeps_its_message() {
    let prompt = "x".repeat(200 << 10);
    let body =
        format!(r#"{{"detail":[{{"input":"{prompt}","loc":["body","n"],"msg":"not a number"}}]}}"#);
    let head = format!("HTTP/1.1 422 No\r\ncontent-length: {}\r\n\r\n", body.len());
    let failure = answered((head + &body).into_bytes(), false)
        .await
        .unwrap_err();
    assert_eq!(failure.outcome, Outcome::Client);
    assert!(
        failure.message.ends_with("`body.n`: not a number"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_loss_that_looks_like_an_end_is_a_loss() {
    let open = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"\"}]}\n\n";
    let ended = EVENTS.strip_suffix("data: [DONE]\n\n").unwrap();
    for (sent, choices, is_whole) in [
        (open.to_owned(), 1, false),
        (ended.to_owned(), 1, true),
        (ended.to_owned(), 2, false),
        (
            format!("{ended}{}", ended.replace("\"index\":0", "\"index\":1")),
            2,
            true,
        ),
        (ended.trim_end().to_owned(), 1, false),
    ] {
        let answer = with_head("", sent.as_bytes());
        for stream in [false, true] {
            let (address, _served) = canned_bytes(answer.clone()).await;
            let mut request = chat(stream);
            request.request.choices = choices;
            let answer = try_once(&build(OPENAI, address, ""), request).await;
            if stream {
                let (_, last) = read(answer.unwrap()).await;
                assert_eq!(
                    matches!(last, StreamItem::End),
                    is_whole,
                    "{sent}: {last:?}"
                );
            } else {
                assert_eq!(answer.is_ok(), is_whole, "{sent}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_breaks_after_every_choice_has_ended_is_no_loss() {
    // The announced length is longer than what comes.
    let ended = EVENTS.strip_suffix("data: [DONE]\n\n").unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{ended}");
    let (events, last) = read(answered(answer.into_bytes(), true).await.unwrap()).await;
    assert!(matches!(last, StreamItem::End), "{last:?}");
    assert!(events.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn redirects_to_the_same_server_are_followed_and_others_are_not() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut seen = String::new();
        for answer in [
            b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /v1/chat/completions/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
            with_head("", WHOLE.as_bytes()),
        ] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 8192];
            let count = socket.read(&mut buffer).await.unwrap();
            seen += &String::from_utf8_lossy(&buffer[..count]);
            socket.write_all(&answer).await.unwrap();
        }
        seen
    });
    try_once(&build(OPENAI, address, "/v1"), chat(false))
        .await
        .unwrap();
    let seen = served.await.unwrap();
    assert!(seen.contains("POST /v1/chat/completions/ HTTP"), "{seen}");
    let away = "HTTP/1.1 308 Permanent Redirect\r\nlocation: http://user:pw@other.example/v1\r\ncontent-length: 0\r\n\r\n";
    let failure = answered(away.as_bytes().to_vec(), false).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Unusable);
    assert!(failure.message.contains("other.example") && !failure.message.contains("pw"));
}

#[tokio::test]
async fn a_large_body_that_is_refused_early_gets_its_true_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let refuse = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1024];
            // The head, and nothing of the body; closing resets the connection.
            let count = socket.read(&mut buffer).await.unwrap();
            assert!(count > 0);
            let answer = "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let backend = build(OPENAI, address, "");
    for _ in 0..20 {
        let text = "x".repeat(12 << 20);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        let attempt = attempt(Endpoint::Chat, body, false);
        let failure = try_once(&backend, attempt).await.unwrap_err();
        assert_eq!(
            (failure.outcome, failure.status),
            (Outcome::Client, Some(413)),
            "{failure}"
        );
    }
    refuse.abort();
}

#[tokio::test]
async fn comments_are_signs_of_life() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0);
        let (first, rest) = EVENTS.split_at(EVENTS.find("\n\n").unwrap() + 2);
        socket
            .write_all(format!("HTTP/1.1 200 OK\r\n\r\n{first}").as_bytes())
            .await
            .unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..10 {
            ticks.tick().await;
            socket.write_all(b": processing\n\n").await.unwrap();
        }
        socket.write_all(rest.as_bytes()).await.unwrap();
    });
    let mut request = chat(true);
    request.idle_timeout = Duration::from_millis(500);
    let answer = try_once(&build(OPENAI, address, ""), request)
        .await
        .unwrap();
    let (events, last) = read(answer).await;
    assert!(matches!(last, StreamItem::End), "{last:?}");
    assert!(!events.contains("processing"), "{events}");
}

#[tokio::test]
async fn the_gateways_own_key_is_masked_wherever_a_backend_repeats_it() {
    const KEY: &str = "token-abc123";
    let settings = format!("kind = 'openai'\n[headers]\napi-key = '{KEY}'");
    let error = format!(r#"{{"error":{{"message":"as{KEY}x is not known","type":"a"}}}}"#);
    let length = error.len();
    let refusals = ["400 Bad", "401 No", "500 Oops"].map(|status| {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nx-request-id: {KEY}\r\n\r\n{error}"
        )
    });
    let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{error}");
    let event =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {error}\n\n");
    for answer in refusals.into_iter().chain([whole, event]) {
        let (address, _served) = canned_bytes(answer.clone().into_bytes()).await;
        let backend = build(&settings, address, "");
        let failure = try_once(&backend, chat(answer.contains("event-stream"))).await;
        let failure = failure.map(drop).unwrap_err();
        assert!(
            !format!("{failure:?}").contains(KEY),
            "{answer}: {failure:?}"
        );
        assert!(failure.message.contains("as***x"), "{answer}: {failure:?}");
    }
}
