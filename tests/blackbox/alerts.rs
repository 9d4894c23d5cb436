//! The gateway watches itself: each staged fault is an alert whose sentence and action name it.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{in_front_of, read_parts, upstream, upstream_that, whole},
};

/// The longest wait for an alert; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

fn call(program: &Program) -> Answer {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let headers = [("x-kebne-deadline-ms", "1000")];
    program.send("POST", CHAT, &headers, &body)
}

pub(crate) fn alerts(program: &Program) -> Value {
    program.send("GET", "/v1/alerts", &[], &Value::Null).json()
}

fn find(alerts: &Value, list: &str, rule: &str) -> Option<Value> {
    let mut alerts = alerts[list].as_array().unwrap().iter();
    alerts.find(|alert| alert["rule"] == rule).cloned()
}

/// Repeats something until an alert of this rule is in the list.
pub(crate) fn await_alert(
    program: &Program,
    list: &str,
    rule: &str,
    mut meanwhile: impl FnMut(),
) -> Value {
    let since = Instant::now();
    loop {
        meanwhile();
        let seen = alerts(program);
        if let Some(alert) = find(&seen, list, rule) {
            return alert;
        }
        assert!(since.elapsed() < PATIENCE, "no `{rule}` in {seen}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn text<'a>(alert: &'a Value, key: &str) -> &'a str {
    alert[key].as_str().unwrap()
}

#[test]
fn a_healthy_gateway_has_no_alerts() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for _ in 0..20 {
        assert_eq!(call(&program).status, 200);
    }
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(
        alerts(&program),
        json!({"active": [], "recent": [], "actions": []})
    );
}

#[test]
fn a_dead_backend_is_an_alert_that_names_its_server_and_the_error() {
    let folder = folder();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", port.local_addr().unwrap());
    drop(port);
    let program = in_front_of(folder.path(), &url, "[alerts.rules]\ndown_after = \"1s\"\n");
    let alert = await_alert(&program, "active", "backend_down", || {
        assert_eq!(call(&program).code().1, "backend_unreachable");
    });
    assert_eq!(alert["severity"], "critical");
    assert_eq!(alert["subject"], "simulated");
    assert!(alert["since"].as_u64().unwrap() > 1_700_000_000);
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("`simulated` cannot be reached"),
        "{sentence}"
    );
    assert!(sentence.contains("Connection refused"), "{sentence}");
    assert!(text(&alert, "action").contains("`base_url` of the backend `simulated`"));
}

#[test]
fn a_wrong_key_is_an_alert_that_names_the_setting() {
    let folder = folder();
    let body = r#"{"error":{"message":"Incorrect API key provided: sk-very-secret","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let refusal = format!(
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let (url, _requests) = upstream(move |_| refusal.clone());
    let program = in_front_of(folder.path(), &url, "");
    assert_eq!(call(&program).status, 502);
    let alert = await_alert(&program, "active", "misconfigured", || {});
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("does not accept") && sentence.contains("401"),
        "{sentence}"
    );
    assert!(!sentence.contains("very-secret"), "{sentence}");
    assert!(text(&alert, "action").contains("`api_key_env` of the backend `simulated`"));
}

#[test]
fn a_closed_lane_is_an_alert_until_it_is_opened_and_both_are_in_the_log() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut command = Program::command(folder.path(), &[]);
    let program = Program::spawn_with(&mut command, Stdio::from(fs::File::create(&log).unwrap()));
    let operate = |action: &str| {
        let path = format!("/admin/v1/backends/simulated/{action}");
        assert_eq!(program.send("POST", &path, &[], &Value::Null).status, 200);
    };
    operate("disable");
    let alert = await_alert(&program, "active", "lane_closed", || {});
    assert!(text(&alert, "sentence").contains("closed by an operator"));
    assert!(text(&alert, "action").contains("/admin/v1/backends/simulated/reopen"));
    assert_eq!(alert["until"], Value::Null);
    operate("reopen");
    let closed = await_alert(&program, "recent", "lane_closed", || {});
    assert_eq!(closed["id"], alert["id"]);
    assert!(closed["until"].as_u64() >= closed["since"].as_u64());
    assert_eq!(alerts(&program)["active"], json!([]));
    let since = Instant::now();
    loop {
        let lines = fs::read_to_string(&log).unwrap();
        let has = |words: &str| {
            lines
                .lines()
                .any(|line| line.contains(words) && line.contains("lane_closed"))
        };
        if has("an alert was opened") && has("an alert was closed") {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{lines}");
    }
}

#[test]
fn a_backend_that_became_slow_is_an_alert_with_both_times() {
    let folder = folder();
    let slow = Arc::new(AtomicBool::new(false));
    let is_slow = Arc::clone(&slow);
    let (url, requests) = upstream_that(move |_, socket| {
        let millis = if is_slow.load(SeqCst) { 400 } else { 20 };
        thread::sleep(Duration::from_millis(millis));
        socket.write_all(whole("a").as_bytes())
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    let rules = "[alerts.rules]\nhistory_min = \"2s\"\nanomaly_for = \"1s\"\n";
    let program = in_front_of(folder.path(), &url, rules);
    let many = |calls: usize| {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..calls).for_each(|_| assert_eq!(call(&program).status, 200)));
            }
        });
    };
    let since = Instant::now();
    let mut rounds = 0;
    // More than 100 calls over more than the time that makes a history.
    while rounds < 4 || since.elapsed() < Duration::from_secs(5) {
        many(10);
        rounds += 1;
    }
    assert!(find(&alerts(&program), "active", "slower").is_none());
    slow.store(true, SeqCst);
    let alert = await_alert(&program, "active", "slower", || many(2));
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains(" took about ")
            && sentence.contains(" times as long as answers of the same kind usually do there."),
        "{sentence}"
    );
    assert_eq!(alert["severity"], "warning");
}

#[test]
fn calls_that_use_many_more_tokens_than_before_are_an_alert() {
    let folder = folder();
    let long = Arc::new(AtomicBool::new(false));
    let is_long = Arc::clone(&long);
    let (url, requests) = upstream(move |_| {
        let tokens = if is_long.load(SeqCst) { 5000 } else { 50 };
        let message = json!({"role": "assistant", "content": "a"});
        let body = json!({"id": "1", "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}});
        let body = body.to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    let rules = "[alerts.rules]\nhistory_min = \"2s\"\nanomaly_for = \"1s\"\n";
    let program = in_front_of(folder.path(), &url, rules);
    let since = Instant::now();
    let mut calls = 0;
    while calls < 150 || since.elapsed() < Duration::from_secs(5) {
        assert_eq!(call(&program).status, 200);
        calls += 1;
        thread::sleep(Duration::from_millis(10));
    }
    long.store(true, SeqCst);
    let alert = await_alert(&program, "active", "tokens_unusual", || {
        call(&program);
    });
    let sentence = text(&alert, "sentence");
    // What is unusual is learned too, slowly.
    let usual = sentence.split_once("usually use ").unwrap().1;
    let usual = usual.trim_end_matches(" there.");
    assert!((60..120).contains(&usual.parse().unwrap()), "{sentence}");
}

#[test]
fn alerts_need_the_scope_to_read_the_state() {
    let folder = folder();
    let key = |name: &str, scopes: &str| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("{{name = \"{name}\", hash = \"{hash}\", scopes = [\"{scopes}\"]}}")
    };
    let keys = format!(
        "[{}, {}]",
        key("caller", "call"),
        key("reader", "read_state")
    );
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__KEYS", &keys)]);
    for (key, status) in [("none", 401), ("caller", 403), ("reader", 200)] {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let answer = program.send("GET", "/v1/alerts", &headers, &Value::Null);
        assert_eq!(answer.status, status, "{key}: {}", answer.body);
    }
}

/// One request to the receiver of a webhook.
struct Posted {
    head: String,
    body: String,
}

impl Posted {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .unwrap()
            .1
    }
}

/// A receiver that answers the first requests with 500.
fn receiver(failures: usize) -> (String, mpsc::Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?token=t0ken", listener.local_addr().unwrap());
    let (send, posted) = mpsc::channel();
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let (head, body) = read_parts(&socket);
            let status = if number < failures {
                "500 Error"
            } else {
                "204 No Content"
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.write_all(answer.as_bytes()).unwrap();
            if send.send(Posted { head, body }).is_err() {
                return;
            }
        }
    });
    (url, posted)
}

const SECRET: &str = "a secret of some length";

fn with_webhook(folder: &Path, url: &str, more: &[(&str, &str)]) -> Program {
    let mut variables = vec![
        ("KEBNE__ALERTS__WEBHOOK__URL", url),
        ("KEBNE__ALERTS__WEBHOOK__SECRET_ENV", "HOOK_SECRET"),
        ("KEBNE__ALERTS__WEBHOOK__BACKOFF", "50ms"),
        ("HOOK_SECRET", SECRET),
    ];
    variables.extend_from_slice(more);
    Program::start(folder, &variables)
}

#[test]
fn a_webhook_whose_receiver_fails_twice_gets_each_event_signed_and_in_order() {
    let folder = folder();
    let (url, posted) = receiver(2);
    let program = with_webhook(folder.path(), &url, &[]);
    let operate = |action: &str| {
        let path = format!("/backends/simulated/{action}");
        assert_eq!(program.send("POST", &path, &[], &Value::Null).status, 200);
    };
    operate("close");
    let tries: Vec<Posted> = (0..3)
        .map(|_| posted.recv_timeout(PATIENCE).unwrap())
        .collect();
    for posted in &tries {
        assert!(
            posted.head.starts_with("POST /hook?token=t0ken HTTP/1.1"),
            "{}",
            posted.head
        );
        assert_eq!(posted.header("content-type"), "application/json");
        assert_eq!(
            posted.header("webhook-id"),
            tries[0].header("webhook-id"),
            "the same event"
        );
        let timestamp = posted.header("webhook-timestamp");
        assert!(timestamp.parse::<u64>().unwrap() > 1_700_000_000);
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        let signed = format!(
            "{}.{timestamp}.{}",
            posted.header("webhook-id"),
            posted.body
        );
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(posted.header("webhook-signature"), expected);
        let event: Value = serde_json::from_str(&posted.body).unwrap();
        assert_eq!(event["type"], "alert.opened");
        assert_eq!(event["data"]["rule"], "lane_closed");
        assert!(event["data"]["action"].as_str().unwrap().contains("reopen"));
    }
    operate("reopen");
    let closed = posted.recv_timeout(PATIENCE).unwrap();
    let event: Value = serde_json::from_str(&closed.body).unwrap();
    assert_eq!(event["type"], "alert.closed");
    assert_eq!(event["timestamp"], event["data"]["until"]);
    assert_ne!(closed.header("webhook-id"), tries[0].header("webhook-id"));
}

#[test]
fn a_dead_webhook_costs_no_call_and_no_stop_and_its_address_is_not_logged() {
    let folder = folder();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret-path", port.local_addr().unwrap());
    drop(port);
    let log = folder.path().join("log");
    let mut command = Program::command(
        folder.path(),
        &[
            ("KEBNE__ALERTS__WEBHOOK__URL", &url),
            ("KEBNE__ALERTS__WEBHOOK__SECRET_ENV", "HOOK_SECRET"),
            ("KEBNE__ALERTS__WEBHOOK__BACKOFF", "10ms"),
            ("KEBNE__ALERTS__WEBHOOK__TRIES", "2"),
            ("HOOK_SECRET", SECRET),
        ],
    );
    let file = fs::File::create(&log).unwrap();
    let mut program = Program::spawn_with(&mut command, Stdio::from(file));
    for action in ["close", "reopen"] {
        let path = format!("/backends/simulated/{action}");
        assert_eq!(program.send("POST", &path, &[], &Value::Null).status, 200);
        let list = if action == "close" {
            "active"
        } else {
            "recent"
        };
        await_alert(&program, list, "lane_closed", || {});
    }
    assert_eq!(call(&program).status, 200);
    let since = Instant::now();
    while !fs::read_to_string(&log)
        .unwrap()
        .contains("did not take an event")
    {
        assert!(since.elapsed() < PATIENCE);
    }
    assert_eq!(program.terminate(), Some(0));
    let lines = fs::read_to_string(&log).unwrap();
    assert!(
        !lines.contains("secret-path") && !lines.contains(SECRET),
        "{lines}"
    );
}

#[test]
fn a_webhook_without_a_secret_stops_the_start_with_the_reason() {
    let folder = folder();
    let check = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kebne"));
        command.arg("check").current_dir(folder.path());
        let ended = command.envs(variables.iter().copied()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        (
            ended.status.code(),
            said,
            String::from_utf8(ended.stdout).unwrap(),
        )
    };
    let url = ("KEBNE__ALERTS__WEBHOOK__URL", "http://127.0.0.1:9/t0ken");
    let variable = ("KEBNE__ALERTS__WEBHOOK__SECRET_ENV", "HOOK_SECRET");
    for variables in [
        &[url][..],
        &[url, variable],
        &[url, variable, ("HOOK_SECRET", "short")],
    ] {
        let (code, said, _) = check(variables);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("alerts.webhook.secret_env"), "{said}");
    }
    let (code, said, shown) = check(&[url, variable, ("HOOK_SECRET", SECRET)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        shown.contains("[alerts.webhook]") && !shown.contains("t0ken"),
        "{shown}"
    );
}
