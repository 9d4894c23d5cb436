//! What comes in over the wire, however wrong, slow or half it is.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::{CHAT, Program, folder};

/// Sends bytes and returns all that comes back until the connection is closed, by whomever.
fn exchange(program: &Program, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(program.address).unwrap();
    let timeout = Some(Duration::from_secs(20));
    socket.set_read_timeout(timeout).unwrap();
    // The program may close before it has read all of it.
    socket.write_all(bytes).ok();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An answer of ours that is an error has the four keys that client libraries read.
fn assert_four_keys(what: &str, answer: &str) {
    if !answer.contains("application/json") {
        return;
    }
    for key in ["message", "type", "param", "code"] {
        let key = format!("\"{key}\"");
        assert!(answer.contains(&key), "{what} lacks {key}: {answer}");
    }
}

#[test]
fn wrong_bytes_are_refused_and_harm_nobody() {
    let folder = folder();
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__BODY_SIZE_MAX", "4KiB")]);
    let deep = format!(
        "{{\"model\":\"simulated\",\"messages\":{}",
        "[".repeat(4000)
    );
    let long_header = format!(
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let chunked = |body: &str| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        )
    };
    let large = format!("{:x}\r\n{}\r\n0\r\n\r\n", 5000, "x".repeat(5000));
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(9),
            &["400"],
        ),
        ("no HTTP", b"hello\r\n\r\n".to_vec(), &["400"]),
        (
            "a header without measure",
            long_header.into_bytes(),
            &["400", "431"],
        ),
        ("no JSON", post(b"{\"model\":"), &["400"]),
        (
            "no UTF-8",
            post(b"{\"model\":\"\xff\xfe\",\"messages\":[]}"),
            &["400"],
        ),
        ("no object", post(b"[1,2]"), &["400"]),
        (
            "a wrong type",
            post(br#"{"model":7,"messages":[]}"#),
            &["400"],
        ),
        ("too deep", post(deep.as_bytes()), &["400"]),
        ("nothing", post(b""), &["400"]),
        ("too large", post(&[b' '; 5000]), &["413"]),
        (
            "too large in chunks",
            chunked(&large).into_bytes(),
            &["413"],
        ),
        (
            "a wrong chunk",
            chunked("zz\r\nhi\r\n").into_bytes(),
            &["400"],
        ),
        (
            "two lengths",
            b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_vec(),
            &["400"],
        ),
    ];
    for (what, bytes, statuses) in cases {
        let answer = exchange(&program, &bytes);
        let status = answer.split(' ').nth(1).unwrap_or("closed");
        assert!(statuses.contains(&status), "{what}: {answer}");
        assert_four_keys(what, &answer);
    }
    let health = program.send("GET", "/healthz", &[], &Value::Null);
    assert_eq!(health.status, 200);
}

#[test]
fn wrong_paths_and_methods_are_told_apart() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for (method, path, status) in [
        ("GET", CHAT, 405),
        ("POST", "/v1/nope", 404),
        ("DELETE", "/healthz", 405),
    ] {
        let answer = program.send(method, path, &[], &Value::Null);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(
            answer.json()["error"]["message"].is_string(),
            "{method} {path}"
        );
    }
    assert_eq!(
        program.send("GET", "/healthz", &[], &Value::Null).status,
        200
    );
}

#[test]
fn a_caller_that_sends_too_slowly_is_given_up() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__SERVER__REQUEST_TIMEOUT", "500ms")],
    );
    let since = Instant::now();
    let head = exchange(
        &program,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n",
    );
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 408"),
        "{head}"
    );
    let body = exchange(
        &program,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{\"mo",
    );
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    assert!(body.contains("connection: close"), "{body}");
    assert!(
        since.elapsed() < Duration::from_secs(15),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn a_caller_that_closes_its_half_wants_no_answer() {
    let folder = folder();
    let hang = [("KEBNE__BACKENDS__0__SIMULATION__FAULT", "hang")];
    let program = Program::start(folder.path(), &hang);
    let body = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;
    let mut socket = TcpStream::connect(program.address).unwrap();
    socket.write_all(&post(body.as_bytes())).unwrap();
    program.await_metric(r#"kebne_in_flight{lane="simulated"} 1.0"#);
    let since = Instant::now();
    socket.shutdown(Shutdown::Write).unwrap();
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="cancelled"} 1"#);
    program.await_metric(r#"kebne_in_flight{lane="simulated"} 0.0"#);
    println!(
        "a half-closed caller was noticed within {:?}",
        since.elapsed()
    );
}

#[test]
fn the_callers_deadline_is_obeyed_and_a_wrong_one_is_named() {
    let folder = folder();
    let hang = [("KEBNE__BACKENDS__0__SIMULATION__FAULT", "hang")];
    let program = Program::start(folder.path(), &hang);
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    for header in [
        ("x-kebne-deadline-ms", "300"),
        ("x-stainless-read-timeout", "0.3"),
    ] {
        let since = Instant::now();
        let answer = program.send("POST", CHAT, &[header], &body);
        assert_eq!(
            answer.code(),
            (504, "upstream_timeout".to_owned()),
            "{header:?}"
        );
        let took = since.elapsed();
        assert!(
            took >= Duration::from_millis(300) && took < Duration::from_secs(15),
            "{took:?}"
        );
    }
    for wrong in ["0", "-1", "soon"] {
        let answer = program.send("POST", CHAT, &[("x-kebne-deadline-ms", wrong)], &body);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["param"], "x-kebne-deadline-ms");
    }
}

#[test]
fn a_stream_that_waits_is_kept_alive_by_comments() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "1500ms"),
        ("KEBNE__SERVER__STREAM_OPENS_AFTER", "200ms"),
        ("KEBNE__SERVER__KEEP_ALIVE_COMMENT", "200ms"),
    ];
    let program = Program::start(folder.path(), &variables);
    let body = json!({"model": "simulated", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", CHAT, &[("x-request-id", "mine")], &body);
    assert!(
        answer.has("x-request-id: mine") && answer.has("content-type: text/event-stream"),
        "{}",
        answer.head
    );
    let comments = answer.body.matches(": waiting for the backend\n\n").count();
    assert!(comments >= 2, "{}", answer.body);
    assert!(answer.body.contains("data: [DONE]\n\n"), "{}", answer.body);
    assert!(answer.body.contains("\"usage\":{"), "{}", answer.body);
    for line in answer.body.lines() {
        assert!(
            !line.starts_with("id:") && !line.starts_with("retry:"),
            "{line}"
        );
    }
}

#[test]
fn without_keys_only_loopback_is_listened_on() {
    let folder = folder();
    let public = [("KEBNE__SERVER__LISTEN", "0.0.0.0:0")];
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_kebne"));
    let ended = check
        .arg("serve")
        .envs(public)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(3));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("server.listen") && said.contains("loopback"),
        "{said}"
    );
}

#[test]
fn without_a_key_nothing_but_health_is_answered() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let hash = kebne::api_key::hash("the-key");
    fs::write(
        &config,
        format!("[[server.keys]]\nname = \"a\"\nhash = \"{hash}\"\n"),
    )
    .unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let body = json!({"model": "simulated", "messages": []});
    for (method, path) in [
        ("POST", CHAT),
        ("POST", "/v1/completions"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/simulated"),
        ("POST", "/v1/sessions"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/prompts"),
        ("GET", "/metrics"),
        ("GET", "/state"),
    ] {
        for headers in [
            vec![],
            vec![("authorization", "Bearer wrong")],
            vec![("authorization", "the-key")],
        ] {
            let answer = program.send(method, path, &headers, &body);
            assert_eq!(answer.status, 401, "{method} {path} {headers:?}");
            assert!(answer.has("www-authenticate: bearer"), "{}", answer.head);
        }
    }
    let key = [("authorization", "bearer the-key")];
    let models = program.send("GET", "/v1/models", &key, &Value::Null).json();
    assert_eq!(models["data"][0]["id"], "simulated");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            program.send("GET", path, &[], &Value::Null).status,
            200,
            "{path}"
        );
    }
}

#[test]
fn optional_fields_may_be_null() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let fields = [
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "n",
        "stop",
        "seed",
        "tools",
        "tool_choice",
        "response_format",
        "logprobs",
        "user",
        "metadata",
        "store",
        "reasoning_effort",
    ];
    let mut body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    for field in fields {
        body[field] = Value::Null;
    }
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}
