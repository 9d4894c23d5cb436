//! The keys that may use a route.

use serde_json::{Value, json};

use super::{RULES, bearer, chat, explained, key, models, start};
use crate::{
    program::{CHAT, folder},
    upstream::{upstream, whole},
};

#[test]
fn a_key_that_names_only_the_route_gets_its_sources() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let keys = [
        key("of-route", "models = [\"support\"]\ntenant = \"shop\"\n"),
        key("of-all", "tenant = \"shop\"\n"),
    ];
    let program = start(
        folder.path(),
        &models(&url, &format!("{}{RULES}", keys.concat())),
    );
    let send = |name: &str, path: &str, more: &[(&str, &str)], body: &Value| {
        let own = bearer(name);
        let mut headers = vec![("authorization", own.as_str())];
        headers.extend(more);
        let answer = program.send("POST", path, &headers, body);
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        answer
    };
    let store = send("of-all", "/v1/vector_stores", &[], &json!({"name": "s"})).json();
    let id = store["id"].as_str().unwrap();
    let own = bearer("of-all");
    let headers = [
        ("authorization", own.as_str()),
        ("content-type", "multipart/form-data; boundary=xyz"),
    ];
    let text = "Kebnekaise is the highest mountain of Sweden.";
    let form = crate::collections::form(None, &[("m.txt", text)]);
    let path = format!("/v1/vector_stores/{id}/documents");
    let added = program.try_send("POST", &path, &headers, &form).unwrap();
    assert_eq!(added.status, 200, "{}", added.body);
    let question = chat("Which mountain is the highest?", json!({}));
    let since = std::time::Instant::now();
    for name in ["of-all", "of-route"] {
        loop {
            let answer = send(name, CHAT, &[("x-kebne-collections", id)], &question);
            let sent = crate::upstream::asked_raw(&requests).to_string();
            if sent.contains("Kebnekaise") {
                assert!(answer.header("x-kebne-sources").is_some(), "{name}");
                break;
            }
            // The document may not have been read yet; the second key finds it at once.
            assert!(name == "of-all", "{name}: no sources: {}", answer.head);
            assert!(since.elapsed() < std::time::Duration::from_mins(1));
        }
    }
}

#[test]
fn a_key_may_use_a_route_that_it_names_or_whose_model_it_names() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("ok")));
    let keys = [
        key("of-route", "models = [\"support\"]\n"),
        key("of-model", "models = [\"small\"]\n"),
        key("of-other", "models = [\"judge\"]\n"),
    ];
    let more = format!(
        "[[models]]\nname = \"judge\"\nbackends = [\"b\"]\n{}{RULES}",
        keys.concat()
    );
    let program = start(folder.path(), &models(&url, &more));
    let (plain, german) = (
        chat("Hello there", json!({})),
        chat("Wo ist mein Paket?", json!({})),
    );
    let small = chat("Hello there", json!({"model": "small"}));
    for (name, body, status) in [
        ("of-route", &plain, 200),
        ("of-route", &german, 200),
        ("of-route", &small, 403),
        ("of-model", &plain, 200),
        ("of-model", &german, 403),
        ("of-model", &small, 200),
        ("of-other", &plain, 403),
    ] {
        let own = bearer(name);
        let headers = [("authorization", own.as_str())];
        let answer = program.send("POST", CHAT, &headers, body);
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        if status == 403 {
            assert_eq!(answer.code().1, "model_not_allowed");
        }
        if name != "of-other" && body["model"] == "support" {
            let why = explained(&program, &headers, body);
            assert_eq!(why["allowed"], status == 200, "{why}");
        }
    }
    let own = bearer("of-model");
    let refused = program.send("POST", CHAT, &[("authorization", &own)], &german);
    let message = refused.json()["error"]["message"].clone();
    assert!(
        message
            .as_str()
            .unwrap()
            .contains("route `support` leads to the model `middle`"),
        "{message}"
    );
    for (name, listed) in [
        ("of-route", json!(["support"])),
        ("of-model", json!(["small", "support"])),
        ("of-other", json!(["judge"])),
    ] {
        let own = bearer(name);
        let list = program.send(
            "GET",
            "/v1/models",
            &[("authorization", &own)],
            &Value::Null,
        );
        let names: Vec<Value> = list.json()["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].clone())
            .collect();
        assert_eq!(json!(names), listed, "{name}");
    }
}
