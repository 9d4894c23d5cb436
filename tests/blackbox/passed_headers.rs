//! Headers of a backend's answer that reach its caller, when the settings name them.

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, folder},
    upstream::{in_front_of, upstream, whole},
};

const PASSED: &str = "pass_headers = [\"x-request-id\", \"openai-processing-ms\", \"x-ratelimit-*\", \"anthropic-ratelimit-*\"]\n";

/// Adds headers to an answer.
fn with_headers(answer: &str, headers: &str) -> String {
    answer.replacen("\r\n", &format!("\r\n{headers}"), 1)
}

fn streamed() -> String {
    let chunk = json!({"id": "1", "object": "chat.completion.chunk", "choices": [
        {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ]});
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {chunk}\n\ndata: [DONE]\n\n"
    )
}

fn call(stream: bool) -> Value {
    json!({"model": "simulated", "stream": stream, "max_tokens": 9, "messages": [
        {"role": "user", "content": "hello"}
    ]})
}

/// Returns the value of a header.
fn value<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut lines = answer.head.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn ids_times_and_rate_limits_reach_the_caller_in_its_dialect() {
    let folder = folder();
    let headers = "x-request-id: req_up\r\nopenai-processing-ms: 12\r\nx-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\nx-ratelimit-reset-requests: 1s\r\nopenai-organization: secret\r\nset-cookie: secret\r\n";
    let (url, _requests) = upstream(move |number| {
        // Two calls each.
        let answer = if number / 2 % 2 == 0 {
            whole("hi")
        } else {
            streamed()
        };
        with_headers(&answer, headers)
    });
    let program = in_front_of(folder.path(), &url, PASSED);
    for stream in [false, true, false, true] {
        for path in [CHAT, "/v1/messages"] {
            let is_messages = path != CHAT;
            let answer = program.send("POST", path, &[("x-request-id", "mine")], &call(stream));
            assert_eq!(answer.status, 200, "{}", answer.body);
            let own = value(&answer, "x-request-id");
            assert_eq!(own, Some("mine"), "{}", answer.head);
            let upstream = value(&answer, "x-kebne-upstream-request-id");
            assert_eq!(upstream, Some("req_up"), "{}", answer.head);
            assert_eq!(value(&answer, "openai-processing-ms"), Some("12"));
            assert!(!answer.head.contains("secret"), "{}", answer.head);
            let (openai, anthropic) = (
                value(&answer, "x-ratelimit-remaining-requests"),
                value(&answer, "anthropic-ratelimit-requests-remaining"),
            );
            let expected = if is_messages {
                (None, Some("59"))
            } else {
                (Some("59"), None)
            };
            assert_eq!((openai, anthropic), expected, "{}", answer.head);
            let reset = value(&answer, "anthropic-ratelimit-requests-reset");
            let is_date = reset.is_some_and(|date| date.ends_with('z'));
            assert_eq!(is_date, is_messages, "{reset:?}");
        }
    }
}

#[test]
fn error_answers_have_the_headers_too() {
    let folder = folder();
    let headers = "x-request-id: req_up\r\nx-ratelimit-remaining-requests: 0\r\n";
    let error = |status: &str| {
        let body = r#"{"error":{"message":"no","type":"invalid_request_error"}}"#;
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    };
    let more = format!("{PASSED}limits = {{ attempts_max = 1 }}\n");
    for (answer, status) in [
        (error("400 Bad Request"), 400),
        (error("500 Oops"), 502),
        // An error where an answer belongs.
        (error("200 OK"), 400),
    ] {
        let answer = with_headers(&answer, headers);
        let (url, _requests) = upstream(move |_| answer.clone());
        let program = in_front_of(folder.path(), &url, &more);
        for (stream, path) in [(false, CHAT), (true, CHAT), (false, "/v1/messages")] {
            let answer = program.send("POST", path, &[("x-request-id", "mine")], &call(stream));
            assert_eq!(answer.status, status, "{}{}", answer.head, answer.body);
            assert_eq!(value(&answer, "x-request-id"), Some("mine"));
            let upstream = value(&answer, "x-kebne-upstream-request-id");
            assert_eq!(upstream, Some("req_up"), "{}", answer.head);
            let name = if path == CHAT {
                "x-ratelimit-remaining-requests"
            } else {
                "anthropic-ratelimit-requests-remaining"
            };
            assert_eq!(value(&answer, name), Some("0"), "{}", answer.head);
        }
    }
}

#[test]
fn nothing_is_passed_on_by_default() {
    let folder = folder();
    let headers = "x-request-id: req_up\r\nx-ratelimit-remaining-requests: 59\r\n";
    let (url, _requests) = upstream(move |_| with_headers(&whole("hi"), headers));
    let program = in_front_of(folder.path(), &url, "");
    let answer = program.send("POST", CHAT, &[], &call(false));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        !answer.head.contains("req_up") && !answer.head.contains("ratelimit"),
        "{}",
        answer.head
    );
}
