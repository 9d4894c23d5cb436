//! Search in the past of a session, and recall of older turns.

use std::{path::Path, sync::mpsc::Receiver};

use serde_json::{Value, json};

use super::{long, of, post, start};
use crate::{
    program::{CHAT, Program, SESSION, folder},
    upstream::{asked_raw, upstream, whole},
};

/// Starts a program with a session whose first turn has left the budget.
fn with_a_past(folder: &Path) -> (Program, Receiver<Value>, String) {
    let (url, requests) = upstream(|_| whole("fine"));
    let memory = "recall_tokens_max = 200\nhistory_tokens_min = 100";
    let program = start(folder, &url, &url, memory);
    let id = program.session();
    program.chat(&id, "My sister Ylva repairs violins in Cremona");
    for number in 2..=8 {
        program.chat(&id, &long(&format!("turn {number}")));
    }
    (program, requests, id)
}

#[test]
fn the_past_of_a_session_is_searched() {
    let folder = folder();
    let (program, _requests, id) = with_a_past(folder.path());
    let search = of(&id, "/search");
    let found = post(
        &program,
        &search,
        &json!({"query": "who repairs violins?", "limit": 2}),
    );
    let best = &found["data"][0];
    assert_eq!(
        (&best["number"], &best["object"]),
        (&json!(1), &json!("session.turn"))
    );
    assert!(best["score"].as_f64().unwrap() > 0.0);
    assert!(
        best["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("Ylva")
    );
    for (body, param) in [
        (json!({"query": ""}), "query"),
        (json!({"query": "a", "limit": 51}), "limit"),
        (json!({"limit": 1}), "query"),
    ] {
        let wrong = program.send("POST", &search, &[], &body);
        assert_eq!(
            (wrong.status, &wrong.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
    // What is removed is not found.
    post(&program, &of(&id, "/rewind"), &json!({"turn": 0}));
    let found = post(&program, &search, &json!({"query": "who repairs violins?"}));
    assert_eq!(found["data"], json!([]));
}

#[test]
fn older_turns_that_fit_the_question_are_recalled() {
    let folder = folder();
    let (program, requests, id) = with_a_past(folder.path());
    for _ in 0..8 {
        asked_raw(&requests);
    }
    let ask = |recall: &str| {
        let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "Where does Ylva repair violins?"}]});
        let headers = [(SESSION, id.as_str()), ("x-kebne-recall", recall)];
        program.send("POST", CHAT, &headers, &body)
    };
    let without = ask("0");
    assert!(without.header("x-kebne-recalled-turns").is_none());
    assert!(
        !asked_raw(&requests)["messages"]
            .to_string()
            .contains("Cremona")
    );
    let with = ask("4");
    assert!(
        with.header("x-kebne-recalled-turns").is_some(),
        "{}",
        with.head
    );
    let sent = asked_raw(&requests);
    let last = sent["messages"].as_array().unwrap().last().unwrap().clone();
    let last = last["content"].as_str().unwrap();
    assert!(
        last.contains("[turn 1]\nuser: My sister Ylva repairs violins in Cremona"),
        "{last}"
    );
    assert!(
        last.ends_with("\nWhere does Ylva repair violins?"),
        "{last}"
    );
    for wrong in ["33", "-1", "many"] {
        assert_eq!(ask(wrong).json()["error"]["param"], "x-kebne-recall");
    }
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let without_session = program.send("POST", CHAT, &[("x-kebne-recall", "4")], &body);
    assert_eq!(without_session.json()["error"]["param"], "x-kebne-recall");
    // What is recalled is not kept again.
    assert_eq!(program.texts(&id)[18], "u Where does Ylva repair violins?");
}
