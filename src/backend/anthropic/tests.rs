//! The client against servers on real sockets.

use bytes::Bytes;
use kebne_control::Outcome;
use kebne_wire::{Native, NativeApi};
use serde_json::{Value, json};

use super::*;
use crate::{
    backend::wire::{attempt, build, canned, canned_bytes, chat, read, try_once, whole},
    llm::{Endpoint, StreamItem},
};

const ANTHROPIC: &str = "kind = 'anthropic'\nmodel = 'claude'";
const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":7}}"#;
const EVENTS: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\": \"ping\"}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Makes a call that came as a Messages request.
fn message(stream: bool) -> Attempt<ModelRequest> {
    let mut attempt = chat(stream);
    let body = r#"{"max_tokens":9, "model":"own","top_k":1}"#;
    let start = body.find("\"own\"").unwrap();
    attempt.request.native = Some(Native {
        api: NativeApi::Messages,
        is_required: false,
        body: Bytes::from_static(body.as_bytes()),
        model_span: start..start + 5,
    });
    attempt
}

async fn answered(
    answer: Vec<u8>,
    attempt: Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let (address, _served) = canned_bytes(answer).await;
    try_once(&build(ANTHROPIC, address, "/v1"), attempt).await
}

#[tokio::test]
async fn a_chat_goes_up_as_a_message_and_its_answer_comes_back_as_a_chat() {
    let (address, served) = canned_bytes(ok(MESSAGE)).await;
    let answer = try_once(&build(ANTHROPIC, address, "/v1"), chat(false))
        .await
        .unwrap();
    assert_eq!(answer.tokens, Some(7));
    let answer = whole(answer);
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
    assert_eq!(answer["usage"]["completion_tokens"], 7);
    let sent = served.await.unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/messages HTTP/1.1"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("anthropic-version: 2023-06-01"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&body["model"], &body["max_tokens"]),
        (&json!("claude"), &json!(4096))
    );
    assert_eq!(body["messages"][0]["content"][0]["type"], "text");
}

#[tokio::test]
async fn a_stream_becomes_chunks() {
    let answer = answered(ok(EVENTS), chat(true)).await.unwrap();
    let (events, last) = read(answer).await;
    assert!(matches!(last, StreamItem::End), "{last:?}");
    assert!(
        events.contains("\"delta\":{\"content\":\"hi\"}"),
        "{events}"
    );
    assert!(events.contains("\"finish_reason\":\"stop\""), "{events}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[tokio::test]
async fn a_message_goes_up_and_comes_back_as_it_is() {
    let (address, served) = canned_bytes(ok(MESSAGE)).await;
    let answer = try_once(&build(ANTHROPIC, address, "/v1"), message(false))
        .await
        .unwrap();
    assert_eq!(answer.tokens, Some(7));
    assert_eq!(
        whole(answer),
        serde_json::from_str::<Value>(MESSAGE).unwrap()
    );
    let sent = served.await.unwrap();
    let body = sent.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body, r#"{"max_tokens":9, "model":"claude","top_k":1}"#);
    let answer = answered(ok(EVENTS), message(true)).await.unwrap();
    let (events, last) = read(answer).await;
    assert!(matches!(last, StreamItem::End), "{last:?}");
    assert_eq!(events, EVENTS);
}

#[tokio::test]
async fn a_stream_that_nobody_asked_for_is_folded_and_a_whole_answer_becomes_a_stream() {
    let folded = whole(answered(ok(EVENTS), chat(false)).await.unwrap());
    assert_eq!(folded["choices"][0]["message"]["content"], "hi");
    assert_eq!(folded["usage"]["completion_tokens"], 7);
    let (events, _) = read(answered(ok(MESSAGE), chat(true)).await.unwrap()).await;
    assert!(events.contains("\"content\":\"hi\""), "{events}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[tokio::test]
async fn a_field_or_an_operation_without_a_counterpart_is_the_callers_fault() {
    let (address, _served) = canned("").await;
    let backend = build(ANTHROPIC, address, "/v1");
    let body = r#"{"model":"m","messages":[],"logit_bias":{"1":2}}"#;
    let failure = try_once(&backend, attempt(Endpoint::Chat, body.to_owned(), false))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.outcome, failure.status),
        (Outcome::Client, Some(400))
    );
    let error: Value = serde_json::from_slice(&failure.body.unwrap()).unwrap();
    assert_eq!(error["error"]["param"], "logit_bias");
    let body = r#"{"model":"m","input":"x"}"#.to_owned();
    let failure = try_once(&backend, attempt(Endpoint::Embeddings, body, false))
        .await
        .unwrap_err();
    assert_eq!(failure.outcome, Outcome::Client);
}

#[tokio::test]
async fn errors_and_cuts_are_classified() {
    let error = |kind: &str| {
        format!(
            "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":\"m\"}}}}\n\n"
        )
    };
    let start = &EVENTS[..EVENTS.find("event: ping").unwrap()];
    let refused = |status: &str, kind: &str| {
        let body = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#);
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let table = [
        (
            refused("529 Overloaded", "overloaded_error"),
            Outcome::Limit,
        ),
        (
            refused("400 Bad Request", "invalid_request_error"),
            Outcome::Client,
        ),
        (refused("500 Internal", "api_error"), Outcome::Fault),
        (
            ok(&(start.to_owned() + &error("overloaded_error"))),
            Outcome::Limit,
        ),
        (ok(start), Outcome::Fault),
        (ok("{}"), Outcome::Unusable),
        (ok("data: {\"choices\":[]}\n\n"), Outcome::Unusable),
    ];
    for (answer, outcome) in table {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        for attempt in [chat(true), message(true)] {
            let failure = answered(answer.clone(), attempt).await.unwrap_err();
            assert_eq!(failure.outcome, outcome, "{shown}: {failure}");
        }
    }
}

#[tokio::test]
async fn what_came_before_a_loss_is_passed_on() {
    let delta = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        let event = json!({"type": "content_block_delta", "index": 0, "delta": delta});
        format!("event: content_block_delta\ndata: {event}\n\n")
    };
    let begun = &EVENTS[..EVENTS.find("event: content_block_stop").unwrap()];
    let body = begun.to_owned() + &delta(&"x".repeat(1 << 20)) + &delta("the last");
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n";
    for rest in ["", error] {
        for attempt in [chat(true), message(true)] {
            let answer = answered(ok(&(body.clone() + rest)), attempt).await.unwrap();
            let (events, last) = read(answer).await;
            assert!(events.contains("the last"));
            let is_fault =
                matches!(&last, StreamItem::Lost(failure) if failure.outcome == Outcome::Fault);
            assert!(is_fault, "{last:?}");
        }
    }
}
