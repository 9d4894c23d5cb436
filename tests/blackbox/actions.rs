//! What the gateway does by itself about its alerts, and how that is undone.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    alerts::{PATIENCE, alerts, await_alert},
    program::{Answer, CHAT, Program, folder},
    upstream::upstream,
};

/// Starts the program with the backend `bad`, whose key is wrong, and `good`; the model `both` has the two.
fn start(folder: &std::path::Path, policy: &str) -> Program {
    let body = r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (url, requests) = upstream(move |_| refusal.clone());
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    let config = folder.join("kebne.toml");
    let text = format!(
        "[alerts.actions]\ntake_out = \"{policy}\"\nretry_after = \"1s\"\n\
         [[backends]]\nname = \"bad\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[backends]]\nname = \"good\"\nkind = \"simulated\"\nsimulation = {{preset = \"instant\"}}\n\
         [[models]]\nname = \"both\"\nbackends = [\"bad\", \"good\"]\n\
         [[models]]\nname = \"one\"\nbackends = [\"good\"]\n"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn ask(program: &Program, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

fn closed(program: &Program) -> Value {
    let since = Instant::now();
    loop {
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        let mut lanes = state["lanes"].as_array().unwrap().iter();
        if let Some(lane) = lanes.find(|lane| lane["name"] == "bad") {
            return lane["closed"].clone();
        }
        // A lane that gets new actors may not answer in time on a busy machine.
        assert!(since.elapsed() < PATIENCE, "{state}");
    }
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn undo(program: &Program, id: &str) -> Answer {
    let path = format!("/v1/alerts/actions/{id}/undo");
    program.send("POST", &path, &[], &Value::Null)
}

#[test]
fn a_replica_whose_key_is_wrong_is_taken_out_tried_again_and_let_in_by_an_undo() {
    let folder = folder();
    let program = start(folder.path(), "act");
    assert_eq!(ask(&program, "one").status, 200);
    ask(&program, "both");
    await_alert(&program, "active", "misconfigured", || {});
    await_that("it is taken out", || closed(&program) != Value::Null);
    let reason = closed(&program);
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("taken out by the gateway"),
        "{reason}"
    );
    let answer = ask(&program, "both");
    assert!(
        answer.status == 200 && answer.has("x-kebne-lane: good"),
        "{}",
        answer.head
    );
    let action = alerts(&program)["actions"][0].clone();
    assert_eq!(
        (&action["kind"], &action["state"]),
        (&json!("take_out"), &json!("active"))
    );
    assert_eq!(action["subject"], "bad");
    // It is tried, its first call is refused, and it is taken out again.
    await_that("it is tried again", || closed(&program) == Value::Null);
    await_that("it is taken out again", || closed(&program) != Value::Null);
    let id = action["id"].to_string();
    let undone = undo(&program, &id);
    assert_eq!(
        (undone.status, &undone.json()["state"]),
        (200, &json!("undone"))
    );
    await_that("it is open", || closed(&program) == Value::Null);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(closed(&program), Value::Null, "it is left alone");
    assert_eq!(
        undo(&program, &id).code(),
        (409, "action_not_active".to_owned())
    );
    for unknown in ["77", "x"] {
        assert_eq!(
            undo(&program, unknown).code(),
            (404, "action_not_found".to_owned())
        );
    }
}

#[test]
fn a_suggestion_changes_nothing_and_nothing_is_done_by_default() {
    for (policy, expected) in [("suggest", 1), ("off", 0)] {
        let folder = folder();
        let program = start(folder.path(), policy);
        assert_eq!(ask(&program, "one").status, 200);
        ask(&program, "both");
        await_alert(&program, "active", "misconfigured", || {});
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(closed(&program), Value::Null);
        let seen = alerts(&program)["actions"].clone();
        assert_eq!(seen.as_array().unwrap().len(), expected, "{seen}");
        if expected == 1 {
            assert_eq!(seen[0]["state"], "suggested");
            let reason = seen[0]["reason"].as_str().unwrap();
            assert!(
                reason.contains("Another backend serves the models of `bad`"),
                "{reason}"
            );
            assert_eq!(undo(&program, "1").code().0, 409);
        }
    }
}
