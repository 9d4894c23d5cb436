//! What old, odd and careless clients send.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{asked_raw, in_front_of, upstream, whole},
};

fn body(stream: bool) -> String {
    json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": "a"}]})
        .to_string()
}

/// Sends bytes and reads the answer to the end of the connection.
fn raw(program: &Program, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(program.address).unwrap();
    socket.write_all(request).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn an_http_1_0_caller_gets_no_chunks() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let body = body(true);
    let length = body.len();
    let request = format!(
        "POST {CHAT} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let answer = raw(&program, request.as_bytes());
    let (head, events) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert!(events.starts_with("data: {"), "{events}");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[test]
fn a_compressed_body_is_read_and_one_in_another_encoding_is_named() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body(false).as_bytes()).unwrap();
    let gzip = encoder.finish().unwrap();
    for (encoding, status) in [("gzip", "200"), ("br", "415"), ("deflate", "400")] {
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            gzip.len()
        );
        let answer = raw(&program, &[head.as_bytes(), &gzip].concat());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(!answer.contains("expected value"), "{answer}");
    }
}

#[test]
fn a_byte_order_mark_is_ignored_and_a_body_that_is_no_object_is_named() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let valid = [
        (CHAT, body(false)),
        (
            "/v1/responses",
            r#"{"model":"simulated","input":"hi"}"#.to_owned(),
        ),
        (
            "/v1/messages",
            r#"{"model":"simulated","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#
                .to_owned(),
        ),
    ];
    for (path, body) in valid {
        for (body, status) in [(format!("\u{feff}{body}"), 200), ("null".to_owned(), 400)] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = raw(&program, request.as_bytes());
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {answer}"
            );
            let names_it = answer.contains("the body is not a valid JSON object");
            assert_eq!(names_it, status == 400, "{path}: {answer}");
        }
    }
}

#[test]
fn paths_are_found_with_one_slash_too_many_and_without_the_version() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for path in [
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions",
    ] {
        let answer = Program::exchange(program.address, "POST", path, &[], &body(false)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let models = program.send("GET", "/models/", &[], &Value::Null);
    assert_eq!(models.status, 200);
    let wrong = program.send("DELETE", CHAT, &[], &Value::Null);
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("\nallow: post"), "{}", wrong.head);
}

#[test]
fn azures_paths_and_bounds_that_servers_take_are_served() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("yes"));
    let program = in_front_of(folder.path(), &url, "");
    let path = "/openai/deployments/simulated/chat/completions?api-version=2024-10-21";
    let messages = json!([{"role": "user", "content": "a"}]);
    for body in [
        json!({"messages": messages, "max_tokens": -1}),
        json!({"messages": messages, "model": "gpt-4o", "max_completion_tokens": null}),
    ] {
        let answer = program.send("POST", path, &[("api-key", "k")], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let sent = asked_raw(&requests);
        assert_eq!(sent["model"], "simulated", "{sent}");
        for key in ["max_tokens", "max_completion_tokens"] {
            assert_eq!(sent.get(key), body.get(key), "{sent}");
        }
    }
    let response = program.send(
        "POST",
        "/openai/responses?api-version=2025-03-01-preview",
        &[("api-key", "k")],
        &json!({"model": "simulated", "input": "a"}),
    );
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.json()["object"], "response");
    let path = "/openai/models?api-version=2024-10-21";
    let models = program.send("GET", path, &[], &Value::Null);
    assert_eq!(models.status, 200, "{}", models.body);
    assert_eq!(models.json()["object"], "list");
}

#[test]
fn a_header_that_steers_a_call_is_sent_once() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for (name, value) in [
        ("x-kebne-session", "sess_a"),
        ("x-kebne-prompt", "a"),
        ("x-kebne-tenant", "a"),
        ("x-kebne-priority", "1"),
        ("x-kebne-deadline-ms", "1000"),
        ("x-wait-for-model", "true"),
    ] {
        let headers = [(name, value), (name, value)];
        let answer =
            Program::exchange(program.address, "POST", CHAT, &headers, &body(false)).unwrap();
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["param"]), (400, &json!(name)));
        let message = format!("`{name}` is sent more than once");
        assert_eq!(error["message"], json!(message));
    }
    let headers = [("x-kebne-deadline-ms", "99999999999999999999")];
    let answer = Program::exchange(program.address, "POST", CHAT, &headers, &body(false)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn broken_chunks_and_queries_are_explained_in_our_words() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let answer = raw(&program, format!("{head}-5\r\nabc\r\n0\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("the request body ends too early, or its chunks are not valid"),
        "{answer}"
    );
    for (query, message) in [
        ("limit=a", "`limit` must be a whole number from 1 to 100"),
        ("limit=0", "`limit` must be a whole number from 1 to 100"),
        (
            "limit=99999999999999999999",
            "`limit` must be a whole number from 1 to 100",
        ),
        ("foo=1", "the query is not valid: unknown field `foo`"),
    ] {
        let path = format!("/v1/sessions?{query}");
        let answer = Program::exchange(program.address, "GET", &path, &[], "").unwrap();
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.json()["error"].clone();
        assert!(
            error["message"].as_str().unwrap().starts_with(message),
            "{query}: {error}"
        );
    }
}

#[test]
fn a_backend_that_refuses_max_tokens_gets_the_newer_name_from_translated_calls() {
    let folder = folder();
    let (url, requests) = upstream(|number| match number {
        0 | 3 => {
            let body = json!({"error": {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "type": "invalid_request_error", "param": "max_tokens", "code": "unsupported_parameter",
            }});
            let body = body.to_string();
            let length = body.len();
            format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
        _ => whole("yes"),
    });
    let program = in_front_of(folder.path(), &url, "");
    let messages = json!([{"role": "user", "content": "a"}]);
    let body = json!({"model": "simulated", "max_tokens": 7, "messages": messages});
    for _ in 0..2 {
        let answer = program.send("POST", "/v1/messages", &[], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    assert_eq!(asked_raw(&requests)["max_tokens"], 7);
    for _ in 0..2 {
        let sent = asked_raw(&requests);
        assert_eq!(sent["max_completion_tokens"], 7, "{sent}");
        assert_eq!(sent.get("max_tokens"), None, "{sent}");
    }
    // A caller's own field is sent as it came, and its refusal is the caller's.
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(asked_raw(&requests)["max_tokens"], 7);
}
