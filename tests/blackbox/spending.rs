//! Staged incidents of money: calls that cost more than before, a budget that is nearly used, and a store of accounts that
//! does not work. What the action of each alert says is done, and helps.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    alerts::PATIENCE,
    program::{Answer, CHAT, Program, folder},
    upstream::upstream,
};

/// A server whose answers report 10 tokens of input, and 50 of output or, once `long` is set, 5000.
fn server(long: &Arc<AtomicBool>) -> String {
    let is_long = Arc::clone(long);
    let (url, requests) = upstream(move |_| {
        let tokens = if is_long.load(SeqCst) { 5000 } else { 50 };
        let message = json!({"role": "assistant", "content": "a"});
        let body = json!({"id": "1", "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": tokens}});
        let body = body.to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    url
}

/// Starts a gateway whose only key is `root`, with a priced model `chat`.
fn program(folder: &Path, url: &str, more: &str) -> Program {
    let hash = hex::encode(Sha256::digest(b"root"));
    let text = format!(
        "[cost]\ncurrency = \"EUR\"\n[alerts.rules]\nhistory_min = \"2s\"\nanomaly_for = \"1s\"\n{more}\n\
         [[server.keys]]\nname = \"root\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"read_state\", \"call\"]\n\
         [[backends]]\nname = \"gpu\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"chat\"\nbackends = [\"gpu\"]\n[models.price]\ninput = 10\noutput = 100\n\
         [log]\nformat = \"json\"\n[log.requests]\nfile = \"requests.log\"\n"
    );
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn send(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    program.send(method, path, &[("authorization", &bearer)], body)
}

fn call(program: &Program, key: &str) -> Answer {
    let body =
        json!({"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": "a"}]});
    send(program, key, "POST", CHAT, &body)
}

/// Repeats something until an alert of this rule is in the list.
fn await_alert(program: &Program, list: &str, rule: &str, mut meanwhile: impl FnMut()) -> Value {
    let since = Instant::now();
    loop {
        meanwhile();
        let alerts = send(program, "root", "GET", "/v1/alerts", &Value::Null).json();
        let mut found = alerts[list].as_array().unwrap().iter();
        if let Some(alert) = found.find(|alert| alert["rule"] == rule) {
            return alert.clone();
        }
        assert!(since.elapsed() < PATIENCE, "no `{rule}` in {alerts}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn text<'a>(alert: &'a Value, key: &str) -> &'a str {
    alert[key].as_str().unwrap()
}

/// Returns the path of the first command of an action that uses this method.
fn path_of<'a>(action: &'a str, command: &str) -> &'a str {
    let (_, after) = action.split_once(command).unwrap();
    after.split_once('`').unwrap().0
}

#[test]
fn calls_that_cost_many_times_what_they_did_are_an_alert_and_the_log_names_the_key() {
    let folder = folder();
    let long = Arc::default();
    let program = program(folder.path(), &server(&long), "");
    let since = Instant::now();
    let mut calls = 0;
    // More than 100 calls over more than the time that makes a history.
    while calls < 120 || since.elapsed() < Duration::from_secs(4) {
        assert_eq!(call(&program, "root").status, 200);
        calls += 1;
    }
    long.store(true, SeqCst);
    let alert = await_alert(&program, "active", "cost_unusual", || {
        call(&program, "root");
    });
    assert_eq!(
        (text(&alert, "subject"), text(&alert, "severity")),
        ("gpu", "warning")
    );
    let sentence = text(&alert, "sentence");
    // 10 tokens at 10 and 50 at 100 per million.
    assert!(
        sentence.contains("calls usually cost 0.00") && sentence.contains("EUR each; "),
        "{sentence}"
    );
    // What the action names is in the request log.
    let action = text(&alert, "action");
    let log = fs::read_to_string(folder.path().join("requests.log")).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    for field in ["lane", "key", "cost", "input_tokens", "output_tokens"] {
        assert!(action.contains(&format!("`{field}`")), "{action}");
        assert!(!last[field].is_null(), "{field} in {last}");
    }
    assert_eq!(
        (&last["lane"], &last["key"]),
        (&json!("gpu"), &json!("root"))
    );
}

#[test]
fn a_budget_that_is_nearly_used_is_an_alert_until_it_is_raised_as_the_action_says() {
    let folder = folder();
    let long = Arc::default();
    let group = "[[accounts.groups]]\nname = \"research lab\"\n[[accounts.groups.limits.budgets]]\ntokens = 100000\nper = \"day\"\n";
    let program = program(folder.path(), &server(&long), group);
    let limits = json!({"budgets": [{"tokens": 640, "per": "day"}]});
    let body = json!({"name": "ann", "group": "research lab", "limits": limits});
    let made = send(&program, "root", "POST", "/admin/v1/keys", &body);
    assert_eq!(made.status, 200, "{}", made.body);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    // Ten calls of 60 tokens are 93 % of 640.
    for _ in 0..10 {
        assert_eq!(call(&program, &key).status, 200);
    }
    let alert = await_alert(&program, "active", "budget_nearly_used", || {});
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("for this day is used to 93 %"),
        "{sentence}"
    );
    let action = text(&alert, "action");
    // Keys are set, so the command has one.
    let here = format!(
        "curl -H \"authorization: Bearer $KEBNE_API_KEY\" http://{}",
        program.address
    );
    let usage = path_of(action, &here);
    let usage = send(&program, "root", "GET", usage, &Value::Null);
    assert_eq!(usage.status, 200, "{}", usage.body);
    assert_eq!(
        usage.json()["usage"]["today"]["tokens"],
        600,
        "{}",
        usage.body
    );
    let raise = path_of(action, "POST ");
    let limits = json!({"limits": {"budgets": [{"tokens": 6400, "per": "day"}]}});
    let raised = send(&program, "root", "POST", raise, &limits);
    assert_eq!(raised.status, 200, "{}", raised.body);
    for _ in 0..5 {
        assert_eq!(call(&program, &key).status, 200);
    }
    // The path of a group is made in the same way.
    let path = "/admin/v1/keys/group%2Fresearch%20lab/usage";
    let usage = send(&program, "root", "GET", path, &Value::Null);
    assert_eq!(usage.status, 200, "{}", usage.body);
    assert_eq!(
        usage.json()["usage"]["today"]["tokens"],
        900,
        "{}",
        usage.body
    );
    let unknown = send(
        &program,
        "root",
        "GET",
        "/admin/v1/keys/group%2Fx/usage",
        &Value::Null,
    );
    assert_eq!(unknown.code(), (404, "not_found".to_owned()));
}

#[test]
fn a_store_of_accounts_that_is_locked_is_an_alert_until_the_lock_is_gone() {
    let folder = folder();
    let long = Arc::default();
    let program = program(folder.path(), &server(&long), "");
    let body = json!({"name": "ann", "limits": {"budgets": [{"tokens": 64000, "per": "day"}]}});
    let made = send(&program, "root", "POST", "/admin/v1/keys", &body);
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let path = folder.path().join("kebne-data/accounts.sqlite");
    let lock = rusqlite::Connection::open(path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let alert = await_alert(&program, "active", "account_store_down", || {
        assert_eq!(call(&program, &key).status, 200, "calls go on");
    });
    let sentence = text(&alert, "sentence");
    assert!(sentence.contains("locked"), "{sentence}");
    assert!(text(&alert, "action").contains("the process that locks the file"));
    lock.execute_batch("ROLLBACK").unwrap();
    let closed = await_alert(&program, "recent", "account_store_down", || {
        assert_eq!(call(&program, &key).status, 200);
    });
    assert_eq!(closed["id"], alert["id"]);
    let state = send(&program, "root", "GET", "/state", &Value::Null).json();
    assert_eq!(state["accounts"]["store"], "available", "{state}");
}
