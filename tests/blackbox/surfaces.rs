//! The Messages API and the Responses API.

#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "JSON and tables of it read better where they are passed by value"
)]

use std::fs;

use serde_json::{Value, json};

use crate::{
    program::{Program, SESSION, folder},
    upstream::{asked, asked_raw, in_front_of, upstream, whole},
};

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

fn message(more: Value) -> Value {
    with(
        json!({"model": "simulated", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}),
        more,
    )
}

fn response(more: Value) -> Value {
    with(json!({"model": "simulated", "input": "hello"}), more)
}

fn with(mut request: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    request.as_object_mut().unwrap().extend(more);
    request
}

/// Returns the names of the events of a stream.
fn names(body: &str) -> Vec<&str> {
    let names = body.lines().filter_map(|line| line.strip_prefix("event: "));
    names.collect()
}

#[test]
fn messages_are_answered_whole_and_streamed() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let answer = program.send("POST", MESSAGES, &[], &message(json!({"top_k": 3})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        answer.head.contains("\nrequest-id: req_"),
        "{}",
        answer.head
    );
    let answer = answer.json();
    assert_eq!(
        (&answer["type"], &answer["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert!(
        answer["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("hello")
    );
    let hint = json!([{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]);
    let streamed = message(json!({"stream": true, "system": hint}));
    let streamed = program.send("POST", MESSAGES, &[], &streamed);
    assert!(
        streamed.has("x-kebne-omitted: cache_control"),
        "{}",
        streamed.head
    );
    let names = names(&streamed.body);
    assert_eq!(names[..3], ["message_start", "ping", "content_block_start"]);
    assert!(
        names.ends_with(&["content_block_stop", "message_delta", "message_stop"]),
        "{names:?}"
    );
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="success"} 2"#);
    let count = message(json!({}));
    let count = program
        .send("POST", "/v1/messages/count_tokens", &[], &count)
        .json();
    assert!(count["input_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn errors_on_the_messages_surface_have_its_shape() {
    let folder = folder();
    let hash = kebne::api_key::hash("k");
    let config = format!(
        "[[server.keys]]\nname = 'k'\nhash = '{hash}'\n[[backends]]\nname = 'simulated'\nsimulation = {{ preset = 'instant', fault = 'loading' }}\n"
    );
    let path = folder.path().join("kebne.toml");
    fs::write(&path, config).unwrap();
    let program = Program::start_plain(folder.path(), &path);
    let key = ("x-api-key", "k");
    let short = ("x-kebne-deadline-ms", "300");
    let table = [
        (
            "POST",
            MESSAGES,
            vec![],
            message(json!({})),
            401,
            "authentication_error",
        ),
        (
            "POST",
            MESSAGES,
            vec![key],
            message(json!({"model": "none"})),
            404,
            "not_found_error",
        ),
        (
            "POST",
            MESSAGES,
            vec![key],
            message(json!({"max_tokens": 0})),
            400,
            "invalid_request_error",
        ),
        (
            "POST",
            MESSAGES,
            vec![key, short],
            message(json!({})),
            529,
            "overloaded_error",
        ),
        (
            "GET",
            MESSAGES,
            vec![key],
            Value::Null,
            405,
            "invalid_request_error",
        ),
        (
            "POST",
            "/v1/messages/batches",
            vec![key],
            Value::Null,
            404,
            "not_found_error",
        ),
    ];
    for (method, path, headers, body, status, kind) in table {
        let answer = program.send(method, path, &headers, &body);
        assert_eq!(answer.status, status, "{}", answer.body);
        let body = answer.json();
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!(kind))
        );
        assert!(body["request_id"].as_str().unwrap().starts_with("req_"));
    }
    // The same lack of capacity is 503 everywhere else.
    let key = ("authorization", "Bearer k");
    let answer = program.send("POST", RESPONSES, &[key, short], &response(json!({})));
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (503, &json!("model_loading"))
    );
}

#[test]
fn responses_are_answered_retrieved_continued_and_deleted() {
    let folder = folder();
    let (url, requests) = upstream(|number| whole(&format!("answer {number}")));
    let program = in_front_of(folder.path(), &url, "");
    let ask = |more: Value| {
        let answer = program.send("POST", RESPONSES, &[], &response(more));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let first = ask(json!({"instructions": "once"}));
    let id = first["id"].as_str().unwrap();
    assert_eq!(first["output"][0]["content"][0]["text"], "answer 0");
    assert_eq!(asked(&requests), ["s once", "u hello"]);
    let path = format!("{RESPONSES}/{id}");
    assert_eq!(program.send("GET", &path, &[], &Value::Null).json(), first);

    let next = json!({"previous_response_id": id, "input": "more"});
    let second = ask(next.clone());
    assert_eq!(second["previous_response_id"], *id);
    assert_eq!(asked(&requests), ["u hello", "a answer 0", "u more"]);
    let other = program.send("POST", RESPONSES, &[], &response(next));
    assert!(other.has("x-kebne-history-turns: 1"), "{}", other.head);
    assert_eq!(asked(&requests), ["u hello", "a answer 0", "u more"]);

    let gone = program.send("DELETE", &path, &[], &Value::Null);
    assert_eq!((gone.status, &gone.json()["deleted"]), (200, &json!(true)));
    for (method, path) in [("GET", path.as_str()), ("DELETE", path.as_str())] {
        assert_eq!(program.send(method, path, &[], &Value::Null).status, 404);
    }
    let orphan = response(json!({"previous_response_id": id}));
    let orphan = program.send("POST", RESPONSES, &[], &orphan);
    assert_eq!(
        (orphan.status, &orphan.json()["error"]["param"]),
        (404, &json!("previous_response_id"))
    );

    let unkept = ask(json!({"store": false}));
    assert_eq!(unkept["store"], false);
    let path = format!("{RESPONSES}/{}", unkept["id"].as_str().unwrap());
    assert_eq!(program.send("GET", &path, &[], &Value::Null).status, 404);
}

#[test]
fn a_response_too_large_to_be_kept_is_answered_unless_it_must_be_kept() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole(&"long ".repeat(800)));
    let config = folder.path().join("kebne.toml");
    let text = format!(
        "[context]\nturn_size_max = \"1KiB\"\n[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n"
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let ask = |more| program.send("POST", RESPONSES, &[], &response(more));
    let answer = ask(json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["store"], false);
    let streamed = ask(json!({"stream": true}));
    let names = names(&streamed.body);
    assert!(names.contains(&"response.output_text.delta"), "{names:?}");
    let data = streamed.body.lines();
    let mut data = data.filter_map(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(data.next_back().unwrap()).unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["store"], false);
    let required = ask(json!({"store": true}));
    assert_eq!(required.status, 500, "{}", required.body);
    assert_eq!(required.json()["error"]["code"], "turn_not_kept");
}

#[test]
fn a_streamed_response_is_there_when_its_end_is_seen() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let streamed = program.send("POST", RESPONSES, &[], &response(json!({"stream": true})));
    let names = names(&streamed.body);
    assert_eq!(names[..2], ["response.created", "response.in_progress"]);
    assert_eq!(names.last(), Some(&"response.completed"));
    let last = streamed
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .next_back();
    let last: Value = serde_json::from_str(last.unwrap()).unwrap();
    let path = format!("{RESPONSES}/{}", last["response"]["id"].as_str().unwrap());
    let kept = program.send("GET", &path, &[], &Value::Null);
    assert_eq!(kept.json(), last["response"]);
    // Responses survive the process.
    drop(program);
    let program = Program::start(folder.path(), &[]);
    let kept = program.send("GET", &path, &[], &Value::Null);
    assert_eq!(kept.json(), last["response"]);
}

#[test]
fn a_stream_that_is_lost_ends_with_the_surfaces_own_error() {
    let folder = folder();
    let fault = [("KEBNE__BACKENDS__0__SIMULATION__FAULT", "half-stream")];
    let program = Program::start(folder.path(), &fault);
    let lost = program.send(
        "POST",
        MESSAGES,
        &[],
        &message(json!({"stream": true, "max_tokens": 200})),
    );
    assert_eq!(names(&lost.body).last(), Some(&"error"));
    assert!(lost.body.contains(r#""type":"api_error""#), "{}", lost.body);
    let lost = program.send("POST", RESPONSES, &[], &response(json!({"stream": true})));
    assert!(
        names(&lost.body).ends_with(&["error", "response.failed"]),
        "{}",
        lost.body
    );
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="error"} 2"#);
}

#[test]
fn sessions_hold_the_turns_of_every_surface() {
    let folder = folder();
    let (url, requests) = upstream(|number| whole(&number.to_string()));
    let program = in_front_of(folder.path(), &url, "");
    let session = program.session();
    program.send(
        "POST",
        MESSAGES,
        &[(SESSION, &session)],
        &message(json!({})),
    );
    assert_eq!(asked(&requests), ["u hello"]);
    let next = response(json!({"conversation": session, "store": false}));
    assert_eq!(program.send("POST", RESPONSES, &[], &next).status, 200);
    assert_eq!(asked(&requests), ["u hello", "a 0", "u hello"]);
    program.chat(&session, "and");
    assert_eq!(
        asked(&requests),
        ["u hello", "a 0", "u hello", "a 1", "u and"]
    );
    let both = program.send("POST", RESPONSES, &[(SESSION, &session)], &next);
    assert_eq!(
        (both.status, &both.json()["error"]["param"]),
        (400, &json!(SESSION))
    );
    assert!(requests.try_recv().is_err());
}

#[test]
fn a_backend_of_the_messages_api_gets_and_gives_messages_as_they_are() {
    let folder = folder();
    let said = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "signed"}],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    });
    let answer = said.to_string();
    let (url, requests) = upstream(move |_| {
        let length = answer.len();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}")
    });
    let config = folder.path().join("kebne.toml");
    let text =
        format!("[[backends]]\nname = \"simulated\"\nkind = \"anthropic\"\nbase_url = \"{url}\"\n");
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    // Only such a backend can run this tool.
    let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    let call = message(json!({"tools": search, "top_k": 1}));
    let answer = program.send("POST", MESSAGES, &[], &call);
    assert_eq!((answer.status, answer.json()), (200, said));
    assert_eq!(requests.recv().unwrap(), call);
    // The history of a session goes before a chat call, and a chat call has no such tool.
    let session = program.session();
    let refused = program.send("POST", MESSAGES, &[(SESSION, &session)], &call);
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("tools[0].type"), "{}", refused.body);
    let kept = program.send(
        "POST",
        MESSAGES,
        &[(SESSION, &session)],
        &message(json!({})),
    );
    assert_eq!(kept.status, 200, "{}", kept.body);
    let chat = json!({"model": "simulated", "messages": [{"role": "user", "content": "hi"}]});
    let chat = program
        .send("POST", "/v1/chat/completions", &[], &chat)
        .json();
    assert_eq!(chat["choices"][0]["message"]["reasoning_content"], "hm");
}

/// A search and a text, as a provider that runs its tools itself answers.
fn searched(number: usize) -> Value {
    json!({
        "id": format!("resp_{number}"), "object": "response", "status": "completed", "model": "m", "store": false,
        "output": [
            {"id": "ws_1", "type": "web_search_call", "status": "completed"},
            {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": format!("answer {number}"), "annotations": []},
            ]},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    })
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn a_backend_of_the_responses_api_gets_and_gives_responses_as_they_are() {
    let folder = folder();
    let (url, requests) = upstream(|number| ok(&searched(number).to_string()));
    let program = in_front_of(folder.path(), &url, "apis = [\"responses\"]\n");
    let search = json!([{"type": "web_search"}]);
    let first = program.send(
        "POST",
        RESPONSES,
        &[],
        &response(json!({"tools": search, "store": true})),
    );
    assert_eq!(first.status, 200, "{}", first.body);
    let first = first.json();
    let expected = json!({"model": "simulated", "input": "hello", "tools": search, "store": false});
    assert_eq!(asked_raw(&requests), expected);
    let id = first["id"].as_str().unwrap();
    let labels = json!({"id": id, "previous_response_id": null, "store": true});
    assert_eq!(first, with(searched(0), labels));
    let path = format!("{RESPONSES}/{id}");
    assert_eq!(program.send("GET", &path, &[], &Value::Null).json(), first);

    let more = json!({"previous_response_id": id, "input": "more", "tools": search});
    let next = program.send("POST", RESPONSES, &[], &response(more.clone()));
    assert_eq!(next.status, 200, "{}", next.body);
    assert!(next.has("x-kebne-history-turns: 1"), "{}", next.head);
    assert_eq!(next.json()["previous_response_id"], *id);
    let input = json!([
        {"role": "user", "content": "hello"}, first["output"][0],
        {"role": "assistant", "content": "answer 0"}, {"role": "user", "content": "more"},
    ]);
    let expected = json!({"model": "simulated", "input": input, "tools": search, "store": false});
    assert_eq!(asked_raw(&requests), expected);
    // The turns of a conversation are chats, and a chat has no such tool.
    let session = program.session();
    let refused = json!({"conversation": session, "tools": search});
    let refused = program.send("POST", RESPONSES, &[], &response(refused));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("tools[0].type"), "{}", refused.body);
    let refused = program.send(
        "POST",
        RESPONSES,
        &[],
        &response(json!({"background": true})),
    );
    assert_eq!(refused.json()["error"]["param"], "background");
    assert!(requests.try_recv().is_err());
}

#[test]
fn a_stream_of_the_responses_api_has_our_ids_and_is_kept() {
    let folder = folder();
    let begun = with(searched(0), json!({"status": "in_progress", "output": []}));
    let events = [
        json!({"type": "response.created", "sequence_number": 0, "response": begun}),
        json!({"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_1", "delta": "answer 0"}),
        json!({"type": "response.completed", "sequence_number": 2, "response": searched(0)}),
    ];
    let event = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap()
        )
    };
    let stream: String = events.iter().map(event).collect();
    let lost = stream[..stream.rfind("event: ").unwrap()].to_owned();
    let (url, _requests) = upstream(move |number| {
        let events = if number == 0 { &stream } else { &lost };
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}"
        )
    });
    let program = in_front_of(folder.path(), &url, "apis = [\"responses\"]\n");
    let streamed = program.send("POST", RESPONSES, &[], &response(json!({"stream": true})));
    assert_eq!(streamed.status, 200, "{}", streamed.body);
    let data: Vec<Value> = streamed
        .body
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    assert_eq!((data.len(), &data[1]), (3, &events[1]));
    let id = data[2]["response"]["id"].as_str().unwrap();
    assert_eq!(data[0]["response"]["id"], *id);
    let path = format!("{RESPONSES}/{id}");
    let kept = program.send("GET", &path, &[], &Value::Null).json();
    assert_eq!(kept, data[2]["response"]);
    assert_eq!(kept["store"], true);

    let lost = program.send("POST", RESPONSES, &[], &response(json!({"stream": true})));
    let expected = [
        "response.created",
        "response.output_text.delta",
        "error",
        "response.failed",
    ];
    assert_eq!(names(&lost.body), expected);
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="error"} 1"#);
}

#[test]
fn a_response_falls_back_from_one_kind_of_backend_to_the_other() {
    let folder = folder();
    let plain = |number: usize| {
        let mut plain = searched(number);
        plain["output"].as_array_mut().unwrap().remove(0);
        plain.to_string()
    };
    let (native_url, natives) = upstream(move |number| match number {
        0 => ok(&plain(0)),
        1 => ok("<html>"),
        _ => ok(&searched(number).to_string()),
    });
    let (chat_url, chats) = upstream(|number| whole(&format!("chat {number}")));
    let config = folder.path().join("kebne.toml");
    let backend = |name: &str, url: &str, more: &str| {
        format!(
            "[[backends]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{more}\n"
        )
    };
    let native = backend("native", &native_url, "apis = [\"responses\"]");
    let chat = backend("chat", &chat_url, "");
    let models = "[[models]]\nname = \"simulated\"\nbackends = [\"native\", \"chat\"]\n[[models]]\nname = \"other\"\nbackends = [\"chat\", \"native\"]\n[[models]]\nname = \"chats\"\nbackends = [\"chat\"]\n";
    fs::write(&config, format!("{native}{chat}{models}")).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let ask = |more: Value| program.send("POST", RESPONSES, &[], &response(more));
    let first = ask(json!({})).json();
    assert_eq!(asked_raw(&natives)["input"], "hello");
    let next = ask(json!({"previous_response_id": first["id"], "input": "more"}));
    assert!(next.has("x-kebne-lane: chat"), "{}", next.head);
    assert_eq!(asked_raw(&natives)["input"].as_array().unwrap().len(), 3);
    assert_eq!(asked(&chats), ["u hello", "a answer 0", "u more"]);
    // What a chat backend has answered is continued at the other.
    let next = next.json();
    let search = json!([{"type": "web_search"}]);
    let third = json!({"model": "other", "previous_response_id": next["id"], "tools": search});
    let third = ask(third);
    assert!(
        third.has("x-kebne-lane: native"),
        "{}{}",
        third.head,
        third.body
    );
    let sent = asked_raw(&natives);
    assert_eq!(
        sent["input"][3],
        json!({"role": "assistant", "content": "chat 0"})
    );
    // The search has no place in a chat, and so the conversation has not.
    let fourth = json!({"model": "other", "previous_response_id": third.json()["id"]});
    let fourth = ask(fourth);
    assert!(
        fourth.has("x-kebne-lane: native"),
        "{}{}",
        fourth.head,
        fourth.body
    );
    assert!(chats.try_recv().is_err());
    for (model, status, param) in [
        ("chats", 400, "previous_response_id"),
        ("none", 404, "model"),
    ] {
        let fifth = ask(json!({"model": model, "previous_response_id": third.json()["id"]}));
        let error = fifth.json()["error"].take();
        assert_eq!((fifth.status, &error["param"]), (status, &json!(param)));
    }
}

#[test]
fn a_response_that_is_too_large_to_be_kept_says_so_before_its_model_is_called() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("answer"));
    let settings = "[context]\nturn_size_max = \"64KiB\"\n[[backends]]\nname = \"simulated\"\nkind = \"openai\"\n";
    let config = folder.path().join("kebne.toml");
    fs::write(&config, format!("{settings}base_url = \"{url}\"\n")).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let input = "word ".repeat(30_000);
    let ask = |more: Value| {
        let mut body = response(more);
        body["input"] = input.clone().into();
        program.send("POST", RESPONSES, &[], &body)
    };
    let refused = ask(json!({"store": true}));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(refused.json()["error"]["param"], "store");
    assert_eq!(requests.try_iter().count(), 0, "the model is not called");
    for more in [json!({}), json!({"store": false})] {
        let answer = ask(more);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["store"], false);
    }
}
