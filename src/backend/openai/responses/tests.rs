//! The client against servers of the Responses API on real sockets.

use kebne_control::Outcome;
use kebne_wire::Native;
use serde_json::json;

use super::*;
use crate::{
    backend::wire::{build, canned_bytes, chat, read, try_once, whole},
    llm::StreamItem,
};

const BACKEND: &str = "kind = 'openai'\nmodel = 'gpt'\napis = ['responses']";
const RESPONSE: &str = r#"{"id":"resp_1","object":"response","status":"completed","model":"gpt","output":[{"id":"msg_1","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"output_tokens":7}}"#;

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

fn response(stream: bool) -> Attempt<ModelRequest> {
    let mut attempt = chat(stream);
    let body = r#"{"input":"hej", "model":"own","tools":[{"type":"web_search"}]}"#;
    let start = body.find("\"own\"").unwrap();
    attempt.request.native = Some(Native {
        api: NativeApi::Responses,
        body: Bytes::from_static(body.as_bytes()),
        model_span: start..start + 5,
        is_required: false,
    });
    attempt
}

async fn answered(
    answer: Vec<u8>,
    attempt: Attempt<ModelRequest>,
) -> Result<Answer<ModelResponse>, Failure> {
    let (address, _served) = canned_bytes(answer).await;
    try_once(&build(BACKEND, address, "/v1"), attempt).await
}

fn streamed() -> String {
    let events = events_of_response(RESPONSE.as_bytes()).unwrap();
    String::from_utf8(events.to_vec()).unwrap()
}

#[tokio::test]
async fn the_callers_own_request_goes_up_under_the_servers_name_of_the_model() {
    let (address, served) = canned_bytes(ok(RESPONSE)).await;
    let answer = try_once(&build(BACKEND, address, "/v1"), response(false)).await;
    let answer = answer.unwrap();
    assert_eq!(answer.tokens, Some(7));
    assert_eq!(whole(answer).to_string(), RESPONSE);
    let sent = served.await.unwrap();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/responses HTTP/1.1"), "{head}");
    let expected = r#"{"input":"hej", "model":"gpt","tools":[{"type":"web_search"}]}"#;
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_server_without_the_api_gets_the_chat_call() {
    let answer = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    let (address, served) = canned_bytes(ok(answer)).await;
    let backend = build("kind = 'openai'", address, "/v1");
    try_once(&backend, response(false)).await.unwrap();
    let sent = served.await.unwrap();
    assert!(sent.starts_with("POST /v1/chat/completions"), "{sent}");
}

#[tokio::test]
async fn the_form_of_the_answer_is_that_which_was_asked_for() {
    let stream = streamed();
    // As JSON or as events, whatever was wanted.
    for given in [RESPONSE, &stream] {
        let answer = answered(ok(given), response(false)).await.unwrap();
        assert_eq!(answer.tokens, Some(7));
        assert_eq!(whole(answer).to_string(), RESPONSE);
        let answer = answered(ok(given), response(true)).await.unwrap();
        let (events, end) = read(answer).await;
        assert_eq!(events, stream);
        assert!(matches!(end, StreamItem::End), "{end:?}");
    }
}

#[tokio::test]
async fn what_is_not_a_complete_response_is_a_failure() {
    let queued = RESPONSE.replace("completed", "in_progress");
    let failed = json!({"object": "response", "status": "failed", "output": [], "error": {"code": "server_error", "message": "oops"}});
    let chat = r#"{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    for (answer, outcome) in [
        (queued.as_str(), Outcome::Fault),
        (&failed.to_string(), Outcome::Fault),
        (chat, Outcome::Unusable),
        ("{}", Outcome::Unusable),
        ("<html>", Outcome::Unusable),
    ] {
        for stream in [false, true] {
            let failure = answered(ok(answer), response(stream)).await.unwrap_err();
            assert_eq!(failure.outcome, outcome, "{answer}: {failure}");
        }
    }
}

#[tokio::test]
async fn a_stream_without_its_last_event_is_lost() {
    let whole = streamed();
    let cut = &whole[..whole.find("event: response.completed").unwrap()];
    let failure = answered(ok(cut), response(false)).await.unwrap_err();
    assert_eq!(failure.outcome, Outcome::Fault);
    let answer = answered(ok(cut), response(true)).await.unwrap();
    let (events, end) = read(answer).await;
    assert_eq!(events, cut);
    assert!(matches!(end, StreamItem::Lost(_)), "{end:?}");
}
