//! Sessions and prompts.

use std::fs;

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, SESSION, folder},
    upstream::{asked, in_front_of, upstream, whole},
};

#[test]
fn a_session_is_made_used_read_changed_and_deleted() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let wanted = json!({"metadata": {"city": "Kiruna"}, "system_prompt": "Be brief."});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}");
    assert_eq!(made["metadata"]["city"], "Kiruna");
    assert!(made["expires_at"].as_u64() > made["created_at"].as_u64());

    let whole = program.chat(id, "one");
    assert_eq!(whole.status, 200, "{}", whole.body);
    assert!(whole.has("x-kebne-session-turn: 1"), "{}", whole.head);
    let said = whole.json()["choices"][0]["message"]["content"].clone();
    let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": "two"}]});
    let streamed = program.send("POST", CHAT, &[(SESSION, id)], &body);
    assert!(
        streamed.body.contains("data: [DONE]\n\n"),
        "{}",
        streamed.body
    );
    assert!(
        streamed.has("x-kebne-history-turns: 1"),
        "{}",
        streamed.head
    );
    let texts = program.texts(id);
    assert_eq!(texts.len(), 4);
    assert_eq!(
        texts[..3],
        [
            "u one".to_owned(),
            format!("a {}", said.as_str().unwrap()),
            "u two".to_owned()
        ]
    );
    let pieces = streamed
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let pieces = pieces.map(|rest| serde_json::from_str::<Value>(&format!("{{{rest}")).unwrap());
    let text: String = pieces
        .filter_map(|piece| {
            piece["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect();
    assert_eq!(texts[3], format!("a {text}"));

    let read = program.send("GET", &path, &[], &Value::Null).json();
    assert_eq!(read["turns"], 2);
    assert!(read["tokens"].as_u64().unwrap() > 10);
    let change = json!({"metadata": {"city": "Luleå"}, "system_prompt": null});
    let changed = program.send("POST", &path, &[], &change).json();
    assert_eq!(changed["metadata"], json!({"city": "Luleå"}));
    assert_eq!(changed["system_prompt"], Value::Null);
    let listed = program
        .send("GET", "/v1/sessions", &[], &Value::Null)
        .json();
    assert_eq!(listed["data"], json!([changed]));
    let deleted = program.send("DELETE", &path, &[], &Value::Null).json();
    assert_eq!(deleted["deleted"], true);
    for answer in [
        program.send("GET", &path, &[], &Value::Null),
        program.chat(id, "three"),
    ] {
        assert_eq!(answer.code(), (404, "session_not_found".to_owned()));
    }
}

#[test]
fn what_is_wrong_is_told_by_its_field() {
    let folder = folder();
    let variables = [
        ("KEBNE__CONTEXT__SESSIONS_MAX", "2"),
        ("KEBNE__CONTEXT__TURNS_MAX", "1"),
        ("KEBNE__CONTEXT__TURN_SIZE_MAX", "1KiB"),
    ];
    let program = Program::start(folder.path(), &variables);
    for (body, param) in [
        (json!({"metadata": {"a": 1}}), json!("metadata")),
        (json!({"metadata": "a"}), json!("metadata")),
        (
            json!({"metadata": {"a": "x".repeat(513)}}),
            json!("metadata"),
        ),
        (json!({"system_prompt": 7}), json!("system_prompt")),
        (json!({"prompt": "nope"}), json!("prompt")),
        (json!({"colour": "red"}), json!("colour")),
        (json!([]), Value::Null),
    ] {
        let answer = program.send("POST", "/v1/sessions", &[], &body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let (first, second) = (program.session(), program.session());
    let full = program.send("POST", "/v1/sessions", &[], &Value::Null);
    assert_eq!(full.code(), (429, "too_many_sessions".to_owned()));
    assert!(full.has("x-should-retry: false"), "{}", full.head);
    assert_eq!(program.chat(&first, "a").status, 200);
    let full = program.chat(&first, "b");
    assert_eq!(full.code(), (409, "session_full".to_owned()));
    let large = program.chat(&second, &"x".repeat(2000));
    assert_eq!(large.json()["error"]["param"], "messages");
    let two = json!({"model": "simulated", "n": 2, "messages": [{"role": "user", "content": "a"}]});
    let two = program.send("POST", CHAT, &[(SESSION, &second)], &two);
    assert_eq!(two.json()["error"]["param"], "n");
    let embed = json!({"model": "simulated", "input": "a"});
    let embed = program.send("POST", "/v1/embeddings", &[(SESSION, &second)], &embed);
    assert_eq!(embed.json()["error"]["param"], SESSION);
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "colour=red",
        "after=none",
    ] {
        let path = format!("/v1/sessions/{first}/turns?{query}");
        let answer = program.send("GET", &path, &[], &Value::Null);
        assert_eq!(answer.status, 400, "{query}");
    }
    for (query, param) in [("limit=0", "limit"), ("after=none", "after")] {
        let path = format!("/v1/sessions?{query}");
        let answer = program.send("GET", &path, &[], &Value::Null);
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["error"]["param"], param, "{query}");
    }
    assert_eq!(program.texts(&second), Vec::<String>::new());
}

#[test]
fn a_session_belongs_to_the_key_that_made_it() {
    let folder = folder();
    let hash = |key: &str| kebne::api_key::hash(key);
    let config = folder.path().join("kebne.toml");
    let keys = ["ann", "bob"].map(|name| {
        let hash = hash(&format!("key-of-{name}"));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n")
    });
    let backend = "[[backends]]\nname = \"simulated\"\nsimulation = { preset = \"instant\" }\n";
    fs::write(&config, keys.concat() + backend).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let (ann, bob) = (
        [("authorization", "Bearer key-of-ann")],
        [("authorization", "Bearer key-of-bob")],
    );
    let nobody = program.send("POST", "/v1/sessions", &[], &Value::Null);
    assert_eq!(nobody.status, 401);
    let made = program
        .send("POST", "/v1/sessions", &ann, &Value::Null)
        .json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/sessions/{id}");
    let message = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let turns = format!("{path}/turns");
    for (method, path, body) in [
        ("GET", path.as_str(), Value::Null),
        ("POST", &path, json!({"system_prompt": "mine"})),
        ("DELETE", &path, Value::Null),
        ("GET", &turns, Value::Null),
        ("POST", CHAT, message),
    ] {
        let headers = [bob[0], (SESSION, id)];
        let answer = program.send(method, path, &headers, &body);
        assert_eq!(
            answer.code(),
            (404, "session_not_found".to_owned()),
            "{method} {path}"
        );
    }
    let of_bob = program
        .send("GET", "/v1/sessions", &bob, &Value::Null)
        .json();
    assert_eq!(of_bob["data"], json!([]));
    assert_eq!(program.send("GET", &path, &ann, &Value::Null).status, 200);
}

#[test]
fn the_model_gets_the_system_prompt_the_history_that_fits_and_the_new_message() {
    let folder = folder();
    let (url, requests) = upstream(|number| whole(&format!("answer {number}")));
    let program = in_front_of(folder.path(), &url, "");
    let wanted = json!({"system_prompt": "Be brief."});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(program.chat(id, "first").status, 200);
    assert_eq!(asked(&requests), ["s Be brief.", "u first"]);
    assert_eq!(program.chat(id, "second").status, 200);
    let expected = ["s Be brief.", "u first", "a answer 0", "u second"];
    assert_eq!(asked(&requests), expected);
    let long = "word ".repeat(35);
    let trimmed = program.chat(id, &long);
    assert!(trimmed.has("x-kebne-history-turns: 1"), "{}", trimmed.head);
    assert!(
        trimmed.has("x-kebne-history-left-out: 1"),
        "{}",
        trimmed.head
    );
    let sent = asked(&requests);
    assert_eq!(sent[..3], ["s Be brief.", "u second", "a answer 1"]);
    assert_eq!(sent[3], format!("u {long}"));
    // Instructions of the call's own stand in place of the session's, and are not kept.
    let body = json!({"model": "simulated", "messages": [
        {"role": "system", "content": "Sing."}, {"role": "user", "content": "x"}
    ]});
    assert_eq!(
        program.send("POST", CHAT, &[(SESSION, id)], &body).status,
        200
    );
    let sent = asked(&requests);
    assert!(sent.contains(&"s Sing.".to_owned()), "{sent:?}");
    assert!(!sent.contains(&"s Be brief.".to_owned()), "{sent:?}");
    assert_eq!(program.texts(id)[6..], ["u x", "a answer 3"]);
}

#[test]
fn a_cut_stream_keeps_nothing_and_a_clean_one_is_kept_before_its_end() {
    let folder = folder();
    let (url, _requests) = upstream(|number| {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let piece = |text: &str| {
            let chunk =
                json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}]});
            format!("data: {chunk}\n\n")
        };
        let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        let end = format!("data: {stop}\n\ndata: [DONE]\n\n");
        let end = if number == 0 { "" } else { end.as_str() };
        format!("{head}{}{}{end}", piece("He"), piece("j"))
    });
    let program = in_front_of(folder.path(), &url, "");
    let id = program.session();
    let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": "a"}]});
    let cut = program.send("POST", CHAT, &[(SESSION, &id)], &body);
    assert!(
        cut.body.contains("\"error\"") && !cut.body.contains("[DONE]"),
        "{}",
        cut.body
    );
    assert_eq!(program.texts(&id), Vec::<String>::new());
    let clean = program.send("POST", CHAT, &[(SESSION, &id)], &body);
    assert!(clean.body.contains("data: [DONE]\n\n"), "{}", clean.body);
    assert_eq!(program.texts(&id), ["u a", "a Hej"]);
}

#[test]
fn prompts_are_previewed_and_lead_calls() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("yes"));
    let prompt = "[[prompts]]\nname = \"guide\"\n\
        template = \"You know {{ session.city }}. {{ request.user }} asks: {{ input }}\"\n";
    let program = in_front_of(folder.path(), &url, prompt);
    let wanted = json!({"prompt": "guide", "metadata": {"city": "Kiruna"}});
    let made = program.send("POST", "/v1/sessions", &[], &wanted).json();
    let id = made["id"].as_str().unwrap();
    let render = "/v1/prompts/guide/render";
    let body = json!({"session": id, "request": {"user": "ann"}, "input": "why?"});
    let text = program.send("POST", render, &[], &body).json();
    assert_eq!(text["text"], "You know Kiruna. ann asks: why?");
    let undefined = program.send("POST", render, &[], &json!({"input": "why?"}));
    assert_eq!(undefined.code(), (400, "prompt_failed".to_owned()));
    assert!(
        undefined.body.contains("request.user, session.city"),
        "{}",
        undefined.body
    );
    let unknown = program.send("POST", "/v1/prompts/nope/render", &[], &Value::Null);
    assert_eq!(unknown.code(), (404, "prompt_not_found".to_owned()));
    let listed = program.send("GET", "/v1/prompts", &[], &Value::Null).json();
    assert_eq!(
        listed["data"][0]["variables"],
        json!(["input", "request.user", "session.city"])
    );

    let message = |user: &str| json!({"model": "simulated", "user": user, "messages": [{"role": "user", "content": "why?"}]});
    let answered = program.send("POST", CHAT, &[(SESSION, id)], &message("ann"));
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(
        asked(&requests),
        ["s You know Kiruna. ann asks: why?", "u why?"]
    );
    // Without a session the prompt's name comes with the call, and what it needs of a session is missing.
    let alone = program.send(
        "POST",
        CHAT,
        &[("x-kebne-prompt", "guide")],
        &message("ann"),
    );
    assert_eq!(alone.code(), (400, "prompt_failed".to_owned()));
    assert!(alone.body.contains("session.city"), "{}", alone.body);
}
