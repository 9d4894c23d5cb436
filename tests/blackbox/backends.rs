//! Backends that an operator drains, disables and reopens by the API.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::program::{Answer, CHAT, Program, folder};

const BACKENDS: &str = "/admin/v1/backends";

/// Writes the settings: the model `both` has the backends `a`, whose answers take 600 ms, and `b`; `only-a` has the first.
fn settings(folder: &Path) -> std::path::PathBuf {
    let config = folder.join("kebne.toml");
    let text = "[[backends]]\nname = \"a\"\nsimulation = {preset = \"instant\", latency = \"600ms\", latency_spread = 0}\n\
        limits = {law = \"fixed\", limit_initial = 1, limit_max = 1}\n\
        [[backends]]\nname = \"b\"\nsimulation = {preset = \"instant\"}\n\
        [[models]]\nname = \"both\"\nbackends = [\"a\", \"b\"]\n\
        [[models]]\nname = \"only-a\"\nbackends = [\"a\"]\n";
    fs::write(&config, text).unwrap();
    config
}

fn ask(program: &Program, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

fn operate(program: &Program, action: &str) -> Value {
    let answer = program.send("POST", &format!("{BACKENDS}/{action}"), &[], &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn service(program: &Program) -> Value {
    program
        .send("GET", &format!("{BACKENDS}/a"), &[], &Value::Null)
        .json()["service"]
        .clone()
}

#[test]
fn a_drained_backend_serves_what_it_has_and_gets_no_more() {
    let folder = folder();
    let program = Program::start_plain(folder.path(), &settings(folder.path()));
    assert!(ask(&program, "both").has("x-kebne-lane: a"));
    thread::scope(|scope| {
        // One runs and one waits: both were admitted.
        let admitted: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| ask(&program, "only-a")))
            .collect();
        program.await_metric(r#"kebne_calls_live{lane="a"} 2.0"#);
        let draining = operate(&program, "a/drain");
        assert_eq!(
            (&draining["service"], &draining["live"]),
            (&json!("draining"), &json!(2))
        );
        program.await_metric(r#"kebne_service{lane="a",service="draining"} 1"#);
        let elsewhere = ask(&program, "both");
        assert!(elsewhere.has("x-kebne-lane: b"), "{}", elsewhere.head);
        let refused = ask(&program, "only-a");
        assert_eq!(refused.code(), (503, "lane_closed".to_owned()));
        for call in admitted {
            let served = call.join().unwrap();
            assert!(served.has("x-kebne-lane: a"), "{}", served.body);
        }
    });
    program.await_metric(r#"kebne_calls_live{lane="a"} 0.0"#);
    assert_eq!(service(&program), "drained");
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["lanes"][0]["service"], "drained");
    assert_eq!(state["lanes"][1]["service"], "open");
    assert_eq!(operate(&program, "a/reopen")["service"], "open");
    assert!(ask(&program, "both").has("x-kebne-lane: a"));
    // Nothing was lost or counted twice.
    program.await_metric(r#"kebne_calls_total{lane="a",ending="success"} 4"#);
}

#[test]
fn a_disabled_backend_is_reopened_and_every_backend_is_listed() {
    let folder = folder();
    let program = Program::start_plain(folder.path(), &settings(folder.path()));
    // Drained and then disabled, it is in service again after one reopening.
    operate(&program, "a/drain");
    assert_eq!(operate(&program, "a/disable")["service"], "closed");
    assert_eq!(ask(&program, "only-a").code().1, "lane_closed");
    let list = program.send("GET", BACKENDS, &[], &Value::Null).json();
    let named: Vec<_> = list["data"].as_array().unwrap().iter().collect();
    assert_eq!(named.len(), 2);
    assert_eq!(named[0]["name"], "a");
    assert_eq!(named[0]["reason"], "closed by an operator");
    assert_eq!(operate(&program, "a/reopen")["service"], "open");
    assert_eq!(ask(&program, "only-a").status, 200);
    // The lane may learn later than the caller that the first call has been answered.
    let since = Instant::now();
    let woken = loop {
        let woken = program.send("POST", &format!("{BACKENDS}/a/prewarm"), &[], &Value::Null);
        let woken = woken.json()["prewarm"].clone();
        if woken != "joined" || since.elapsed() > Duration::from_secs(20) {
            break woken;
        }
    };
    assert_eq!(woken, "awake");
    for action in ["drain", "disable", "reopen", "prewarm"] {
        let path = format!("{BACKENDS}/none/{action}");
        let unknown = program.send("POST", &path, &[], &Value::Null);
        assert_eq!(unknown.code(), (404, "backend_not_found".to_owned()));
    }
}

#[test]
fn only_a_key_with_the_scope_admin_changes_backends_and_each_change_is_logged() {
    let folder = folder();
    let config = settings(folder.path());
    let hash = hex::encode(Sha256::digest(b"alice"));
    let keys = format!(
        "\n[[server.keys]]\nname = \"reader\"\nhash = \"{hash}\"\nscopes = [\"read_state\"]\n"
    );
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}{keys}")).unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Program::configured(folder.path(), &config);
    let program = Program::spawn_with(&mut command, Stdio::from(log));
    let key = [("authorization", "Bearer alice")];
    let path = format!("{BACKENDS}/a/drain");
    let refused = program.send("POST", &path, &key, &Value::Null);
    assert_eq!(refused.code(), (403, "insufficient_scope".to_owned()));
    let unknown = program.send("POST", &path, &[], &Value::Null);
    assert_eq!(unknown.status, 401);
    let read = program.send("GET", BACKENDS, &key, &Value::Null);
    assert_eq!(read.status, 200, "{}", read.body);
    for _ in 0..200 {
        let log = fs::read_to_string(folder.path().join("log")).unwrap();
        let line = log.lines().find(|line| line.contains("kebne::audit"));
        if let Some(line) = line {
            assert!(line.contains("/admin/v1/backends/a/drain"), "{line}");
            assert!(line.contains("reader"), "{line}");
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("no line in the audit log");
}
