//! Guards: rules on both sides of all surfaces, whole and streamed, and sizes.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    path::Path,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, SESSION, folder},
    upstream::{asked_raw, upstream, whole},
};

pub(crate) const CARD: &str = "4111 1111 1111 1111";

/// Settings of a guard `g` that holds for the model.
pub(crate) fn start(folder: &Path, url: &str, rules: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"m\"\nbackends = [\"b\"]\nguards = [\"g\"]\n\
         [[guards]]\nname = \"g\"\n{rules}"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

pub(crate) fn rule(pattern: &str, action: &str, sides: &str) -> String {
    format!("[[guards.rules]]\npattern = \"{pattern}\"\naction = \"{action}\"\nsides = {sides}\n")
}

pub(crate) fn http(kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Chunks of a stream with these pieces of text.
pub(crate) fn chunks(pieces: &[&str]) -> String {
    let mut body = String::new();
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    body += &chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    for piece in pieces {
        body += &chunk(json!({"content": piece}), Value::Null);
    }
    body += &chunk(json!({}), json!("stop"));
    body + "data: [DONE]\n\n"
}

pub(crate) fn streamed(pieces: &'static [&'static str]) -> (String, Receiver<Value>) {
    upstream(move |_| http("text/event-stream", &chunks(pieces)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "JSON reads better where it is passed by value"
)]
pub(crate) fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

/// Returns the text of a streamed answer of any surface.
pub(crate) fn text_of(body: &str) -> String {
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let pointers = [
        "/choices/0/delta/content",
        "/choices/0/text",
        "/delta/text",
        "/delta",
    ];
    let texts = events.filter_map(|event| {
        let found = pointers
            .iter()
            .find_map(|pointer| event.pointer(pointer)?.as_str());
        found.map(str::to_owned)
    });
    texts.collect()
}

#[test]
fn requests_of_every_surface_are_masked_before_they_are_sent() {
    let folder = folder();
    let (url, requests) = upstream(|number| match number {
        3 => http(
            "application/json",
            &json!({"choices": [{"index": 0, "text": "ok", "finish_reason": "stop"}]}).to_string(),
        ),
        4 => http(
            "application/json",
            &json!({"data": [{"index": 0, "embedding": [0.5]}]}).to_string(),
        ),
        _ => whole("ok"),
    });
    let rules = rule("card", "mask", "[\"input\"]") + &rule("email", "tag", "[\"input\"]");
    let program = start(folder.path(), &url, &rules);
    let text = format!("pay {CARD} for ann@example.com");
    let masked = "pay [CARD] for ann@example.com";
    let part = json!({"type": "text", "text": text});
    let table = [
        (
            CHAT,
            chat(&text, json!({"seed": 1e2})),
            "/messages/0/content",
        ),
        (
            "/v1/messages",
            json!({"model": "m", "max_tokens": 5, "system": text, "messages": [{"role": "user", "content": [part]}]}),
            "/messages/0/content",
        ),
        (
            "/v1/responses",
            json!({"model": "m", "instructions": text, "input": text}),
            "/messages/1/content",
        ),
        (
            "/v1/completions",
            json!({"model": "m", "prompt": [text]}),
            "/prompt/0",
        ),
        (
            "/v1/embeddings",
            json!({"model": "m", "input": [text, "x"]}),
            "/input/0",
        ),
    ];
    for (path, body, pointer) in &table {
        let answer = program.send("POST", path, &[], body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let sent = asked_raw(&requests);
        assert_eq!(
            sent.pointer(pointer),
            Some(&json!(masked)),
            "{path}: {sent}"
        );
        assert!(!sent.to_string().contains("4111"), "{path}: {sent}");
        // A response repeats its instructions.
        assert!(!answer.body.contains("4111"), "{path}: {}", answer.body);
        assert!(
            answer.has("x-kebne-guard: input:g/card=mask, input:g/email=tag"),
            "{path}: {}",
            answer.head
        );
    }
    program
        .await_metric(r#"kebne_guard_total{guard="g",rule="card",action="mask",side="input"} 5"#);
    program
        .await_metric(r#"kebne_guard_total{guard="g",rule="email",action="tag",side="input"} 5"#);
}

#[test]
fn what_goes_along_with_a_request_is_masked_too() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("ok"));
    let program = start(folder.path(), &url, &rule("card", "mask", "[\"input\"]"));
    let wide = "４１１１\u{a0}1111\u{2011}1111\u{3000}1111";
    let tool = json!({"type": "function", "function": {"name": "f", "description": CARD,
        "parameters": {"type": "object", "properties": {"url": {"type": "string", "default": CARD}}}}});
    let more = json!({"user": CARD, "stop": [CARD, wide], "tools": [tool], "metadata": {"id": wide, "number": 4_111_111_111_111_111_u64},
        "seed": 4_111_111_111_111_111_u64, "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": {"title": CARD}}}});
    let body = chat(wide, more);
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = asked_raw(&requests);
    let mut expected = body
        .to_string()
        .replace(CARD, "[CARD]")
        .replace(wide, "[CARD]");
    expected = expected.replacen("\"number\":4111111111111111", "\"number\":\"[CARD]\"", 1);
    assert_eq!(sent, serde_json::from_str::<Value>(&expected).unwrap());
    let asked = json!({"model": "m", "max_tokens": 5, "stop_sequences": [CARD], "metadata": {"user_id": CARD},
        "messages": [{"role": "user", "content": "a"}], "tools": [{"name": "t", "description": CARD, "input_schema": {"type": "object"}}]});
    let answer = program.send("POST", "/v1/messages", &[], &asked);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = asked_raw(&requests).to_string();
    assert!(sent.contains("[CARD]") && !sent.contains("4111"), "{sent}");
}

#[test]
fn only_the_text_of_a_body_changes() {
    let folder = folder();
    let (url, requests) = raw(whole("ok"));
    let program = start(folder.path(), &url, &rule("card", "mask", "[\"input\"]"));
    let body = format!(
        r#"{{ "x":1.50e2,"messages":[{{"role":"user","content" : "a\u0042 {CARD}"}},{{"role":"assistant","content":null,"tool_calls":[{{"id":"c","type":"function","function":{{"name":"f","arguments":"{{\"n\": 4111111111111111, \"m\":1}}"}}}}]}}], "model":"m" }}"#
    );
    let answer = program.try_send("POST", CHAT, &[], &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    let expected = body
        .replace(&format!(r#""a\u0042 {CARD}""#), r#""aB [CARD]""#)
        .replace("4111111111111111", r#"\"[CARD]\""#);
    assert_eq!(sent, expected);
}

/// A backend that passes on bodies as they came.
fn raw(answer: String) -> (String, Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, bodies) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket: TcpStream = socket.unwrap();
            let (_, body) = crate::upstream::read_parts(&socket);
            tell.send(body).ok();
            socket.write_all(answer.as_bytes()).ok();
        }
    });
    (url, bodies)
}

#[test]
fn what_is_refused_is_never_sent_and_never_retried() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("ok"));
    let rules = rule("api_key", "refuse", "[\"input\"]")
        + "[guards.sizes]\nmessages_max = 2\ncharacters_max = 200\nimages_max = 1\ntokens_max = 300\n";
    let program = start(folder.path(), &url, &rules);
    let secret = concat!("my key is hf", "_0123456789abcdefghijklmnopqrstuvwx");
    let image = json!({"type": "image_url", "image_url": {"url": "https://a/b.png"}});
    let many = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]);
    let cases = [
        (chat(secret, json!({})), "content_filter"),
        (chat(secret, json!({"stream": true})), "content_filter"),
        (json!({"model": "m", "messages": many}), "guard_refused"),
        (chat(&"x ".repeat(101), json!({})), "guard_refused"),
        (
            json!({"model": "m", "messages": [{"role": "user", "content": [image, image]}]}),
            "guard_refused",
        ),
    ];
    for (body, code) in &cases {
        let answer = program.send("POST", CHAT, &[], body);
        assert_eq!(answer.code(), (400, (*code).to_owned()), "{}", answer.body);
        assert!(answer.has("x-should-retry: false"), "{}", answer.head);
        assert!(!answer.body.contains("hf_0"), "{}", answer.body);
    }
    let ids = json!({"model": "m", "input": [[1, 2], [3]]});
    let answer = program.send("POST", "/v1/embeddings", &[], &ids);
    assert_eq!(answer.code(), (400, "guard_refused".to_owned()));
    let message =
        json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": secret}]});
    let answer = program.send("POST", "/v1/messages", &[], &message);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert!(requests.try_recv().is_err());
    program.await_metric(r#"kebne_requests_total{model="m",ending="rejected"} 7"#);
    program.await_metric(
        r#"kebne_guard_total{guard="g",rule="api_key",action="refuse",side="input"} 3"#,
    );
}

#[test]
fn answers_of_every_surface_are_masked_whole_and_streamed() {
    let folder = folder();
    let pieces: &'static [&str] = &["pay with 41", "11 1111 ", "1111 1", "111 now"];
    let (url, _requests) = upstream(move |_| http("text/event-stream", &chunks(pieces)));
    let program = start(folder.path(), &url, &rule("card", "mask", "[\"output\"]"));
    let stream = json!({"stream": true});
    let table = [
        (CHAT, chat("a", stream.clone())),
        (
            "/v1/messages",
            json!({"model": "m", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "a"}]}),
        ),
        (
            "/v1/responses",
            json!({"model": "m", "stream": true, "input": "a"}),
        ),
    ];
    for (path, body) in &table {
        let answer = program.send("POST", path, &[], body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(
            text_of(&answer.body).contains("pay with [CARD] now"),
            "{path}: {}",
            answer.body
        );
        assert!(!answer.body.contains("1111"), "{path}: {}", answer.body);
    }
    drop(program);

    let (url, _requests) = upstream(|_| whole(&format!("pay with {CARD} now")));
    let again = crate::program::folder();
    let program = start(again.path(), &url, &rule("card", "mask", "[\"output\"]"));
    for (path, mut body) in table {
        body["stream"] = json!(false);
        let answer = program.send("POST", path, &[], &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(
            answer.body.contains("pay with [CARD] now"),
            "{path}: {}",
            answer.body
        );
        assert!(
            answer.has("x-kebne-guard: output:g/card=mask"),
            "{}",
            answer.head
        );
    }
    program
        .await_metric(r#"kebne_guard_total{guard="g",rule="card",action="mask",side="output"} 3"#);
}

#[test]
fn completions_are_masked_whole_and_streamed() {
    let folder = folder();
    let (url, _requests) = upstream(|number| {
        let text = |text: &str, finish: Value| json!({"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": finish}]});
        if number == 0 {
            return http(
                "application/json",
                &text(&format!("a {CARD}"), json!("stop")).to_string(),
            );
        }
        let body = format!(
            "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
            text("a 4111 1111 1", Value::Null),
            text("111 1111", json!("stop"))
        );
        http("text/event-stream", &body)
    });
    let program = start(folder.path(), &url, &rule("card", "mask", "[\"output\"]"));
    let mut body = json!({"model": "m", "prompt": "a"});
    let answer = program.send("POST", "/v1/completions", &[], &body);
    assert_eq!(answer.json()["choices"][0]["text"], "a [CARD]");
    body["stream"] = json!(true);
    let answer = program.send("POST", "/v1/completions", &[], &body);
    assert_eq!(text_of(&answer.body), "a [CARD]");
    assert!(answer.body.contains("data: [DONE]\n\n"));
}

#[test]
fn an_answer_that_is_refused_ends_with_an_error_and_never_with_a_clean_end() {
    let folder = folder();
    let (url, _requests) = streamed(&["one two ", "41", "11 1111 1111 1111", " three"]);
    let program = start(folder.path(), &url, &rule("card", "refuse", "[\"output\"]"));
    let answer = program.send("POST", CHAT, &[], &chat("a", json!({"stream": true})));
    assert_eq!(text_of(&answer.body), "one two ");
    let mut lines = answer.body.lines().rev();
    let last = lines.find_map(|line| line.strip_prefix("data: ")).unwrap();
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["error"]["code"], "content_filter");
    assert!(
        !answer.body.contains("[DONE]") && !answer.body.contains("4111"),
        "{}",
        answer.body
    );
    let message = json!({"model": "m", "max_tokens": 5, "stream": true, "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", "/v1/messages", &[], &message);
    assert!(
        answer.body.contains("event: error\n") && !answer.body.contains("message_stop"),
        "{}",
        answer.body
    );
    let response = json!({"model": "m", "stream": true, "input": "a"});
    let answer = program.send("POST", "/v1/responses", &[], &response);
    assert!(
        answer.body.contains("response.failed") && !answer.body.contains("response.completed"),
        "{}",
        answer.body
    );
    program.await_metric(r#"kebne_requests_total{model="m",ending="rejected"} 3"#);
    drop(program);

    let (url, _requests) = upstream(|_| whole(CARD));
    let again = crate::program::folder();
    let program = start(again.path(), &url, &rule("card", "refuse", "[\"output\"]"));
    let answer = program.send("POST", CHAT, &[], &chat("a", json!({})));
    assert_eq!(
        answer.code(),
        (400, "content_filter".to_owned()),
        "{}",
        answer.body
    );
    assert!(
        answer.has("x-should-retry: false") && answer.has("x-kebne-guard: output:g/card=refuse"),
        "{}",
        answer.head
    );
    assert!(!answer.body.contains("4111"), "{}", answer.body);
}

#[test]
fn a_session_and_a_kept_response_hold_the_masked_texts() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole(&format!("you said {CARD}")));
    let program = start(
        folder.path(),
        &url,
        &rule("card", "mask", "[\"input\", \"output\"]"),
    );
    let id = program.session();
    let session = [(SESSION, id.as_str())];
    let text = format!("it is {CARD}");
    let answer = program.send("POST", CHAT, &session, &chat(&text, json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let turns = program.send(
        "GET",
        &format!("/v1/sessions/{id}/turns"),
        &[],
        &Value::Null,
    );
    assert!(
        turns.body.contains("it is [CARD]") && turns.body.contains("you said [CARD]"),
        "{}",
        turns.body
    );
    assert!(!turns.body.contains("4111"), "{}", turns.body);
    asked_raw(&requests);
    program.send("POST", CHAT, &session, &chat("again", json!({})));
    let sent = asked_raw(&requests).to_string();
    assert!(
        sent.contains("you said [CARD]") && !sent.contains("4111"),
        "{sent}"
    );

    let body = json!({"model": "m", "instructions": text, "input": text, "store": true});
    let first = program.send("POST", "/v1/responses", &[], &body).json();
    let first = first["id"].as_str().unwrap();
    let kept = program.send("GET", &format!("/v1/responses/{first}"), &[], &Value::Null);
    assert!(
        kept.status == 200 && !kept.body.contains("4111"),
        "{}",
        kept.body
    );
    asked_raw(&requests);
    let next = json!({"model": "m", "input": "next", "previous_response_id": first});
    program.send("POST", "/v1/responses", &[], &next);
    let sent = asked_raw(&requests).to_string();
    assert!(
        sent.contains("it is [CARD]") && !sent.contains("4111"),
        "{sent}"
    );
}

#[test]
fn a_key_and_its_group_have_guards_of_their_own() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("ok"));
    let hash = |key: &str| kebne::api_key::hash(key);
    let config = folder.path().join("kebne.toml");
    let text = format!(
        "[[server.keys]]\nname = \"ann\"\nhash = \"{}\"\nguards = [\"cards\"]\ngroup = \"team\"\n\
         [[server.keys]]\nname = \"bob\"\nhash = \"{}\"\n[[accounts.groups]]\nname = \"team\"\nguards = [\"mails\"]\n\
         [[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\n[[models]]\nname = \"m\"\nbackends = [\"m\"]\n\
         [[guards]]\nname = \"cards\"\n[[guards.rules]]\npattern = \"card\"\n\
         [[guards]]\nname = \"mails\"\n[[guards.rules]]\npattern = \"email\"\nreplacement = \"<mail>\"\n",
        hash("a"),
        hash("b")
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let text = format!("{CARD} ann@example.com");
    for (key, expected) in [("a", "[CARD] <mail>"), ("b", text.as_str())] {
        let bearer = format!("Bearer {key}");
        let answer = program.send(
            "POST",
            CHAT,
            &[("authorization", &bearer)],
            &chat(&text, json!({})),
        );
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(asked_raw(&requests)["messages"][0]["content"], expected);
    }
}

#[test]
fn the_request_log_names_rules_and_contains_no_text() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let log = folder.path().join("calls.log");
    let more = rule("card", "mask", "[\"input\"]")
        + &format!(
            "[log.requests]\nformat = \"json\"\nfile = \"{}\"\n",
            log.display()
        );
    let program = start(folder.path(), &url, &more);
    program.send("POST", CHAT, &[], &chat(CARD, json!({})));
    let since = Instant::now();
    let line = loop {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains('\n') {
            break text;
        }
        assert!(since.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    };
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(line["guard"], "input:g/card=mask");
    assert!(!line.to_string().contains("4111"), "{line}");
}
