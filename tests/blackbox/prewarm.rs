//! Waking a backend before any caller asks, by setting and by request.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{Backend, simulated},
};

const PREWARM: &str = "/backends/b/prewarm";
const INSTANT: (&str, &str) = ("KEBNE__SIMULATION__PRESET", "instant");

fn loading(time: &str) -> (Backend, String) {
    let ready_at_once = ("KEBNE__SIMULATION__CAPACITY_START", "8");
    let cold_start = ("KEBNE__SIMULATION__COLD_START", time);
    simulated(&[], &[INSTANT, ready_at_once, cold_start])
}

/// Starts the program in front of a server; `more` is added to its backend `b`, which serves the model `m`.
fn in_front_of(folder: &std::path::Path, kind: &str, url: &str, more: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"b\"\nkind = \"{kind}\"\n{url}{more}\n[[models]]\nname = \"m\"\nbackends = [\"b\"]\n"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn at(url: &str) -> String {
    format!("base_url = \"{url}\"\n")
}

fn ask(program: &Program) -> Answer {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

fn prewarm(program: &Program) -> (u16, String) {
    let answer = program.send("POST", PREWARM, &[], &Value::Null);
    let body = answer.json();
    assert_eq!(body["backend"], "b", "{body}");
    (answer.status, body["prewarm"].as_str().unwrap().to_owned())
}

fn ended(count: u32) -> String {
    format!(r#"kebne_prewarms_total{{lane="b",ending="success"}} {count}"#)
}

/// Returns how many calls the server was sent.
fn arrived(url: &str) -> Value {
    let address: SocketAddr = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next())
        .unwrap()
        .parse()
        .unwrap();
    let state = Program::exchange(address, "GET", "/simulate/state", &[], "");
    state.unwrap().json()["arrived"].clone()
}

#[test]
fn a_server_that_holds_its_wake_call_is_sent_one_and_the_callers_wait_for_it() {
    let (_server, url) = loading("4s");
    let folder = folder();
    let holds = "wake_headers = {x-scale-up-timeout = \"60\"}\nlimits = {attempt_timeout = \"1s\"}";
    let program = in_front_of(folder.path(), "openai", &at(&url), holds);
    assert_eq!(prewarm(&program), (202, "sent".to_owned()));
    assert_eq!(prewarm(&program), (202, "joined".to_owned()));
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..6).map(|_| scope.spawn(|| ask(&program))).collect();
        program.await_metric(r#"kebne_queue{lane="b"} 6.0"#);
        assert_eq!(arrived(&url), 1, "the callers are held");
        assert_eq!(prewarm(&program), (202, "joined".to_owned()));
        for call in calls {
            let answer = call.join().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    });
    program.await_metric(&ended(1));
    assert_eq!(
        arrived(&url),
        7,
        "one woke it, and each caller was served at once"
    );
    assert_eq!(prewarm(&program), (200, "awake".to_owned()));
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    let calls = r#"kebne_calls_total{lane="b",ending="success"} 6"#;
    assert!(metrics.contains(calls), "{metrics}");
}

#[test]
fn a_backend_of_each_kind_is_warm_before_the_first_caller_comes() {
    let at_start = "[backends.prewarm]\nat_start = true\n";
    let embeds = "[backends.prewarm]\nat_start = true\noperation = \"embeddings\"\n";
    let inside = "simulation = {preset = \"instant\", cold_start = \"300ms\"}\n";
    let cases = [
        ("simulated", inside, at_start),
        ("openai", "", at_start),
        ("openai", "", embeds),
        ("huggingface", "", at_start),
    ];
    for (kind, own, at_start) in cases {
        let (_server, url) = loading("300ms");
        let url = match kind {
            "simulated" => String::new(),
            "huggingface" => at(url.trim_end_matches("/v1")),
            _ => at(&url),
        };
        let folder = folder();
        let program = in_front_of(folder.path(), kind, &format!("{url}{own}"), at_start);
        program.await_metric(&ended(1));
        program.await_metric(r#"kebne_calls_total{lane="b",ending="success"} 0"#);
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        let lane = &state["lanes"][0];
        assert_eq!(lane["endings"]["calls"], 0, "{lane}");
        assert_eq!(lane["prewarms"]["calls"], 1, "{lane}");
        assert_eq!(lane["prewarms"]["ended"]["success"], 1, "{lane}");
        assert_ne!(lane["controller"]["load_time_p50"], Value::Null, "{lane}");
        assert_eq!(prewarm(&program), (200, "awake".to_owned()), "{kind}");
        assert_eq!(ask(&program).status, 200, "{kind}");
    }
}

#[test]
fn nothing_is_woken_unless_it_is_asked_for() {
    let (_server, url) = loading("300ms");
    let folder = folder();
    let program = in_front_of(folder.path(), "openai", &at(&url), "");
    program.await_metric(r#"kebne_state{lane="b",state="idle"} 1"#);
    assert_eq!(arrived(&url), 0);
}

#[test]
fn a_backend_that_is_not_there_and_a_wake_call_that_is_not_understood_are_told_apart() {
    let (_server, url) = simulated(&[], &[INSTANT]);
    let folder = folder();
    let body = "[backends.prewarm]\nbody = '{\"messages\": 1}'\n";
    let program = in_front_of(folder.path(), "openai", &at(&url), body);
    let unknown = program.send("POST", "/backends/no%20such/prewarm", &[], &Value::Null);
    assert_eq!(unknown.code(), (404, "backend_not_found".to_owned()));
    assert!(unknown.body.contains("`no such`"), "{}", unknown.body);
    assert!(unknown.head.contains("x-request-id: "), "{}", unknown.head);
    let method = program.send("GET", PREWARM, &[], &Value::Null);
    assert_eq!(method.status, 405);
    assert_eq!(prewarm(&program), (202, "sent".to_owned()));
    program.await_metric(r#"kebne_prewarms_total{lane="b",ending="rejected"} 1"#);
}

#[test]
fn a_prewarm_wants_a_key_where_keys_are_set() {
    let folder = folder();
    let hash = "a".repeat(64);
    let keys = format!("[{{name = \"a\", hash = \"{hash}\"}}]");
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__KEYS", &keys)]);
    let answer = program.send("POST", "/backends/simulated/prewarm", &[], &Value::Null);
    assert_eq!(answer.code(), (401, "invalid_api_key".to_owned()));
}
