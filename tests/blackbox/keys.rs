//! What each key may do.

use std::{fmt::Write as _, fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Answer, CHAT, Program, folder};

const MODELS: &str = "[[backends]]\nname = \"b\"\nsimulation = {preset = \"instant\"}\n\
    [[models]]\nname = \"m\"\naliases = [\"short\"]\nbackends = [\"b\"]\n[[models]]\nname = \"n\"\nbackends = [\"b\"]\n";

/// Writes settings with keys, each named and keyed by one word.
fn settings(folder: &Path, keys: &[(&str, &str)]) -> std::path::PathBuf {
    let mut text = String::new();
    for (name, more) in keys {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        writeln!(
            text,
            "[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}"
        )
        .unwrap();
    }
    let config = folder.join("kebne.toml");
    fs::write(&config, format!("{text}{MODELS}")).unwrap();
    config
}

fn send(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    program.send(method, path, &[("authorization", &bearer)], body)
}

fn chat(program: &Program, key: &str, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    send(program, key, "POST", CHAT, &body)
}

#[test]
fn a_key_does_what_its_scopes_name_and_nothing_else() {
    let folder = folder();
    let config = settings(
        folder.path(),
        &[
            ("plain", ""),
            ("reader", "scopes = [\"read_state\"]\n"),
            ("operator", "scopes = [\"admin\"]\n"),
        ],
    );
    let program = Program::start_plain(folder.path(), &config);
    let paths = [
        ("POST", CHAT, "call"),
        ("GET", "/v1/models", "call"),
        ("GET", "/v1/sessions", "call"),
        ("GET", "/v1/prompts", "call"),
        ("GET", "/state", "read_state"),
        ("GET", "/metrics", "read_state"),
        ("POST", "/backends/b/prewarm", "admin"),
    ];
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    for (key, scope) in [
        ("plain", "call"),
        ("reader", "read_state"),
        ("operator", "admin"),
    ] {
        for (method, path, needed) in paths {
            let body = if path == CHAT { &body } else { &Value::Null };
            let answer = send(&program, key, method, path, body);
            if scope == needed {
                assert!(
                    (200..300).contains(&answer.status),
                    "{key} {path}: {}",
                    answer.body
                );
            } else {
                assert_eq!(
                    answer.code(),
                    (403, "insufficient_scope".to_owned()),
                    "{key} {path}"
                );
                let message = answer.json()["error"]["message"].to_string();
                assert!(message.contains(needed), "{message}");
            }
        }
        assert_eq!(
            send(&program, "unknown", "GET", "/state", &Value::Null).status,
            401
        );
    }
}

#[test]
fn every_path_takes_a_key_from_each_of_the_three_headers() {
    let folder = folder();
    let scopes = "scopes = [\"call\", \"read_state\", \"admin\"]\n";
    let config = settings(folder.path(), &[("all", scopes)]);
    let program = Program::start_plain(folder.path(), &config);
    let messages = json!([{"role": "user", "content": "a"}]);
    let chat = json!({"model": "m", "messages": messages});
    let message = json!({"model": "m", "max_tokens": 5, "messages": messages});
    let paths = [
        ("POST", CHAT, &chat),
        (
            "POST",
            "/v1/completions",
            &json!({"model": "m", "prompt": "a"}),
        ),
        (
            "POST",
            "/v1/embeddings",
            &json!({"model": "m", "input": "a"}),
        ),
        ("POST", "/openai/deployments/m/chat/completions", &chat),
        ("POST", "/v1/messages", &message),
        ("POST", "/v1/messages/count_tokens", &message),
        (
            "POST",
            "/v1/responses",
            &json!({"model": "m", "input": "a"}),
        ),
        ("GET", "/v1/models", &Value::Null),
        ("GET", "/v1/sessions", &Value::Null),
        ("GET", "/v1/prompts", &Value::Null),
        ("GET", "/state", &Value::Null),
        ("GET", "/metrics", &Value::Null),
        ("POST", "/backends/b/prewarm", &Value::Null),
    ];
    for (method, path, body) in paths {
        for (header, prefix) in [
            ("authorization", "Bearer "),
            ("x-api-key", ""),
            ("api-key", ""),
        ] {
            let key = format!("{prefix}all");
            let answer = program.send(method, path, &[(header, &key)], body);
            assert!(
                (200..300).contains(&answer.status),
                "{path} {header}: {} {}",
                answer.status,
                answer.body
            );
            for wrong in [prefix.to_owned(), format!("{prefix}other")] {
                let answer = program.send(method, path, &[(header, &wrong)], body);
                assert_eq!(answer.status, 401, "{path} {header}: {wrong}");
            }
        }
    }
}

#[test]
fn a_key_reaches_only_its_models() {
    let folder = folder();
    let config = settings(folder.path(), &[("all", ""), ("one", "models = [\"m\"]\n")]);
    let program = Program::start_plain(folder.path(), &config);
    for (key, model, status) in [
        ("all", "m", 200),
        ("all", "n", 200),
        ("one", "m", 200),
        ("one", "short", 200),
        ("one", "n", 403),
        ("one", "none", 404),
    ] {
        let answer = chat(&program, key, model);
        assert_eq!(answer.status, status, "{key} {model}: {}", answer.body);
        // Counting a model's tokens is a use of it too.
        let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
        let path = "/v1/messages/count_tokens";
        let counted = send(&program, key, "POST", path, &body);
        assert_eq!(counted.status, status, "{key} {model}: {}", counted.body);
        if status == 403 {
            assert_eq!(answer.code().1, "model_not_allowed");
            assert_eq!(answer.json()["error"]["param"], "model");
        }
    }
    let listed = send(&program, "one", "GET", "/v1/models", &Value::Null).json();
    let names: Vec<&str> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["m"]);
    assert_eq!(
        send(&program, "one", "GET", "/v1/models/n", &Value::Null).status,
        403
    );
}

#[test]
fn wrong_keys_stop_the_start_with_the_reason() {
    let folder = folder();
    let hash = hex::encode(Sha256::digest(b"one"));
    for (keys, expected) in [
        (
            vec![
                ("one", String::new()),
                ("two", format!("hash = \"{hash}\"\n")),
            ],
            "server.keys[1].hash",
        ),
        (
            vec![("one", "scopes = []\n".to_owned())],
            "server.keys[0].scopes",
        ),
        (
            vec![("one", "scopes = [\"all\"]\n".to_owned())],
            "server.keys[0].scopes",
        ),
        (
            vec![("one", "models = [\"none\"]\n".to_owned())],
            "server.keys[0].models",
        ),
        (
            vec![("one", "models = []\n".to_owned())],
            "server.keys[0].models",
        ),
    ] {
        let mut text = String::new();
        for (name, more) in &keys {
            let own = hex::encode(Sha256::digest(name.as_bytes()));
            let own = if more.starts_with("hash") {
                String::new()
            } else {
                format!("hash = \"{own}\"\n")
            };
            writeln!(text, "[[server.keys]]\nname = \"{name}\"\n{own}{more}").unwrap();
        }
        let config = folder.path().join("kebne.toml");
        fs::write(&config, format!("{text}{MODELS}")).unwrap();
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_kebne"));
        let ended = check
            .arg("check")
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "{said}");
        assert!(said.contains(expected), "no `{expected}` in {said}");
    }
}

/// Sends an administrative request with the key `root`.
fn admin(program: &Program, method: &str, path: &str, body: &Value) -> Answer {
    send(program, "root", method, &format!("/admin/v1/{path}"), body)
}

/// A gateway with the groups `acme` and `team a` below it.
fn with_groups(folder: &Path) -> (Program, std::path::PathBuf) {
    let config = settings(folder, &[("root", "scopes = [\"admin\"]\n")]);
    let program = Program::start_plain(folder, &config);
    let budgets = json!({"budgets": [{"tokens": 100_000, "per": "day"}]});
    let company = json!({"name": "acme", "limits": budgets});
    let made = admin(&program, "POST", "groups", &company);
    assert_eq!(made.status, 200, "{}", made.body);
    let team = json!({"name": "team a", "parent": "acme"});
    assert_eq!(admin(&program, "POST", "groups", &team).status, 200);
    (program, config)
}

#[test]
fn groups_are_made_by_the_api_and_bound_their_keys() {
    let folder = folder();
    let (mut program, config) = with_groups(folder.path());
    let key = json!({"name": "k", "group": "team a"});
    let key = admin(&program, "POST", "keys", &key).json();
    let key = key["key"].as_str().unwrap().to_owned();
    assert_eq!(chat(&program, &key, "m").status, 200);
    let once = json!({"limits": {"budgets": [{"tokens": 1, "per": "month"}]}});
    let changed = admin(&program, "POST", "groups/acme", &once);
    assert_eq!(changed.status, 200, "{}", changed.body);
    let refused = (429, "insufficient_quota".to_owned());
    assert_eq!(chat(&program, &key, "m").code(), refused);
    // It is the same after a restart.
    assert_eq!(program.terminate(), Some(0));
    let program = Program::start_plain(folder.path(), &config);
    assert_eq!(chat(&program, &key, "m").code(), refused);
    let usage = admin(&program, "GET", "groups/team%20a/usage", &Value::Null).json();
    assert_eq!(
        (&usage["object"], &usage["stored"]),
        (&json!("group.usage"), &json!(true))
    );
    let calls = usage["usage"]["month"]["calls"].as_u64();
    assert!(calls.unwrap() >= 1, "{usage}");
    let free = json!({"limits": {}});
    assert_eq!(admin(&program, "POST", "groups/acme", &free).status, 200);
    assert_eq!(chat(&program, &key, "m").status, 200);
}

#[test]
fn groups_that_cannot_be_are_refused_with_the_field() {
    let folder = folder();
    let (program, _) = with_groups(folder.path());
    for (method, path, body, status, param) in [
        ("POST", "groups", json!({"name": "acme"}), 400, "name"),
        ("POST", "groups", json!({"name": ""}), 400, "name"),
        (
            "POST",
            "groups",
            json!({"name": "x", "parent": "y"}),
            400,
            "parent",
        ),
        (
            "POST",
            "groups",
            json!({"name": "x", "other": 1}),
            400,
            "other",
        ),
        (
            "POST",
            "groups/acme",
            json!({"parent": "team a"}),
            400,
            "parent",
        ),
        ("POST", "groups/acme", json!({"name": "b"}), 400, "name"),
        (
            "POST",
            "groups",
            json!({"name": "x", "guards": ["none"]}),
            400,
            "guards",
        ),
        ("DELETE", "groups/acme", Value::Null, 409, ""),
        ("GET", "groups/none", Value::Null, 404, ""),
        ("DELETE", "groups/team%20a", Value::Null, 200, ""),
    ] {
        let answer = admin(&program, method, path, &body);
        let shown = format!("{method} {path} {body}: {}", answer.body);
        assert_eq!(answer.status, status, "{shown}");
        let found = answer.json();
        let found = found["error"]["param"].as_str().unwrap_or_default();
        assert_eq!(found, param, "{shown}");
    }
    let listed = admin(&program, "GET", "groups", &Value::Null).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed["data"][0]["source"], "store");
}
