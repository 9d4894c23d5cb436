//! Forked and rewound sessions, and other tenants.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{dechunked, get, of, post, start};
use crate::{
    program::{Program, folder},
    upstream::{upstream, whole},
};

#[test]
fn a_session_is_forked_and_rewound() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let program = start(folder.path(), &url, &url, "");
    let wanted = json!({"system_prompt": "Be brief.", "metadata": {"city": "Kiruna"}});
    let id = post(&program, "/v1/sessions", &wanted)["id"].clone();
    let id = id.as_str().unwrap();
    for text in ["one", "two", "three"] {
        program.chat(id, text);
    }
    post(&program, &of(id, "/facts"), &json!({"text": "Likes tea"}));
    let forked = post(&program, &of(id, "/fork"), &json!({"turn": 2}));
    assert_eq!(
        (&forked["turns"], &forked["metadata"]["city"]),
        (&json!(2), &json!("Kiruna"))
    );
    let fork = forked["id"].as_str().unwrap();
    assert_eq!(program.texts(fork), program.texts(id)[..4]);
    assert_eq!(
        get(&program, &of(fork, "/facts"))["data"][0]["text"],
        "Likes tea"
    );
    let answer = program.chat(fork, "another way");
    assert!(answer.has("x-kebne-session-turn: 3"), "{}", answer.head);
    assert_eq!(program.texts(id)[4], "u three");
    let rewound = post(&program, &of(id, "/rewind"), &json!({"turn": 1}));
    assert_eq!(rewound["turns"], 1);
    assert!(program.chat(id, "again").has("x-kebne-session-turn: 2"));
    assert_eq!(program.texts(id)[2], "u again");
    for (rest, body) in [
        ("/rewind", json!({})),
        ("/rewind", json!({"turn": 9})),
        ("/fork", json!({"turn": 9})),
        ("/fork", json!({"turn": -1})),
    ] {
        let wrong = program.send("POST", &of(id, rest), &[], &body);
        assert_eq!(wrong.status, 400, "{rest} {body}: {}", wrong.body);
    }
    let whole_fork = post(&program, &of(id, "/fork"), &Value::Null);
    assert_eq!(whole_fork["turns"], 2);
    assert_eq!(
        get(&program, "/v1/sessions")["data"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn no_other_tenant_sees_or_changes_what_a_session_remembers() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let config = folder.path().join("kebne.toml");
    let keys = ["ann", "bob"].map(|name| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n")
    });
    let backend = "[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = ";
    fs::write(&config, format!("{backend}\"{url}\"\n{}", keys.concat())).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let (ann, bob) = (
        [("authorization", "Bearer ann")],
        [("authorization", "Bearer bob")],
    );
    let made = program
        .send("POST", "/v1/sessions", &ann, &Value::Null)
        .json();
    let id = made["id"].as_str().unwrap();
    let fact = program.send(
        "POST",
        &of(id, "/facts"),
        &ann,
        &json!({"text": "the secret fact"}),
    );
    assert_eq!(fact.status, 200, "{}", fact.body);
    for (method, rest, body) in [
        ("GET", "/facts", Value::Null),
        ("POST", "/facts", json!({"text": "a"})),
        ("GET", "/facts/1", Value::Null),
        ("POST", "/facts/1", json!({"text": "a"})),
        ("DELETE", "/facts/1", Value::Null),
        ("GET", "/summaries", Value::Null),
        ("DELETE", "/summaries", Value::Null),
        ("POST", "/search", json!({"query": "secret"})),
        ("POST", "/fork", Value::Null),
        ("POST", "/rewind", json!({"turn": 0})),
        ("GET", "/export", Value::Null),
    ] {
        let answer = program.send(method, &of(id, rest), &bob, &body);
        assert_eq!(
            answer.code(),
            (404, "session_not_found".to_owned()),
            "{method} {rest}"
        );
    }
    let all = program.send("GET", "/v1/sessions/export", &bob, &Value::Null);
    assert!(
        !dechunked(&all).contains("\"type\":\"session\""),
        "{}",
        all.body
    );
    let all = program.send("GET", "/v1/sessions/export", &ann, &Value::Null);
    assert!(dechunked(&all).contains("the secret fact"));
}
