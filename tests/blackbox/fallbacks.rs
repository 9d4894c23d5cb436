//! The rules by which a call leaves a backend for the next one of its model.

use std::{fs, io::Write as _, process::Command, thread};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{upstream, upstream_that, whole},
};

/// A server that nothing listens for.
const DEAD: &str = "kind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";
const INSTANT: &str = "simulation = {preset = \"instant\"}\n";

/// Starts the program with the backends `a`, `b`, … in order of preference, and rules.
fn start(backends: &[&str], rules: &str) -> (TempDir, Program) {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let names = ["a", "b", "c"];
    let parts = names.iter().zip(backends);
    let parts = parts.map(|(name, keys)| format!("[[backends]]\nname = \"{name}\"\n{keys}"));
    let mut parts: Vec<String> = parts.collect();
    let listed: Vec<_> = names.iter().take(backends.len()).collect();
    let upstream = ["a = \"big\"", "b = \"small\""].get(..backends.len().min(2));
    let upstream = upstream.unwrap_or_default().join(", ");
    parts.push(format!("[[models]]\nname = \"m\"\nbackends = {listed:?}\n"));
    parts.push(format!(
        "upstream = {{{upstream}}}\n[models.fallback]\n{rules}"
    ));
    let text = parts.concat();
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    (folder, program)
}

fn ask(program: &Program, headers: &[(&str, &str)]) -> Answer {
    let body =
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, headers, &body)
}

/// Returns the backend that answered and why the first did not; the call has four seconds.
fn served(program: &Program) -> (String, String) {
    served_within(program, "4000")
}

fn served_within(program: &Program, milliseconds: &str) -> (String, String) {
    let answer = ask(program, &[("x-kebne-deadline-ms", milliseconds)]);
    assert_eq!(answer.status, 200, "{}\n{}", answer.head, answer.body);
    let header = |name| answer.header(name).unwrap_or_default().to_owned();
    (header("x-kebne-lane"), header("x-kebne-fallback"))
}

fn by(lane: &str, kind: &str) -> (String, String) {
    (lane.to_owned(), kind.to_owned())
}

/// A server that answers everything with a status and a body.
fn refusing(status: &'static str, body: &Value) -> String {
    let body = body.to_string();
    let (url, requests) = upstream(move |_| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    format!("kind = \"openai\"\nbase_url = \"{url}\"\n")
}

fn error(message: &str, code: &str) -> Value {
    json!({"error": {"message": message, "type": "x", "code": code}})
}

#[test]
fn a_dead_first_backend_costs_no_call_its_answer() {
    let (_folder, program) = start(&[DEAD, INSTANT], "");
    for _ in 0..60 {
        assert_eq!(served(&program), by("b", "unreachable"));
    }
    let at_once: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..20).map(|_| scope.spawn(|| served(&program))).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert!(
        at_once
            .iter()
            .all(|served| *served == by("b", "unreachable"))
    );
    program.await_metric(r#"kebne_fallbacks_total{model="m",lane="a",kind="unreachable"} 80"#);
}

#[test]
fn a_first_backend_that_dies_costs_no_call_its_answer() {
    let (url, requests) = upstream_that(|number, socket| {
        match number {
            0 => socket.write_all(whole("yes").as_bytes()),
            // The connection is closed without an answer.
            _ => Ok(()),
        }
    });
    thread::spawn(move || for _ in requests {});
    let dies = format!("kind = \"openai\"\nbase_url = \"{url}\"\n");
    let (_folder, program) = start(&[&dies, INSTANT], "");
    assert_eq!(served(&program), by("a", ""));
    for number in 0..60 {
        let (lane, kind) = served(&program);
        assert_eq!(lane, "b", "call {number}: {kind}");
    }
}

#[test]
fn a_call_that_does_not_wait_goes_on_or_is_refused() {
    let no_wait = [
        ("x-wait-for-model", "false"),
        ("x-kebne-deadline-ms", "50000"),
    ];
    let (_folder, program) = start(&[DEAD, INSTANT], "");
    let answer = ask(&program, &no_wait);
    assert!(answer.has("x-kebne-lane: b"), "{}", answer.body);
    let (_folder, program) = start(&[DEAD], "");
    for _ in 0..2 {
        let answer = ask(&program, &no_wait);
        assert_eq!(answer.code(), (503, "backend_unreachable".to_owned()));
    }
}

#[test]
fn a_first_backend_that_was_loading_and_now_fails_keeps_no_caller() {
    let (url, requests) = upstream_that(|number, socket| {
        let (status, body) = match number {
            0 | 1 => ("503 No", error("Loading model", "x")),
            _ => ("500 No", error("out of memory", "x")),
        };
        let body = body.to_string();
        let length = body.len();
        write!(
            socket,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    thread::spawn(move || for _ in requests {});
    let loads = format!("kind = \"openai\"\nbase_url = \"{url}\"\n");
    let (_folder, program) = start(&[&loads, INSTANT], "cold = \"30s\"\n");
    // The other backend is awake, so that failures are repeated there.
    program.send("POST", "/admin/v1/backends/b/prewarm", &[], &Value::Null);
    let lanes: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| served(&program))).collect();
        let calls = calls.into_iter().map(|call| call.join().unwrap());
        calls.map(|(lane, _)| lane).collect()
    });
    assert_eq!(lanes, ["b"; 8]);
}

const LOADS: &str = "simulation = {preset = \"instant\", cold_start = \"60s\"}\n";

#[test]
fn a_loading_backend_is_waited_for_as_long_as_the_rules_allow() {
    for wait in ["at_once", "300ms", "10s"] {
        // It announces a minute, so that no wait helps.
        let (_folder, program) = start(&[LOADS, INSTANT], &format!("cold = \"{wait}\"\n"));
        for _ in 0..3 {
            assert_eq!(served(&program), by("b", "cold"), "{wait}");
        }
    }
    let quick = "simulation = {preset = \"instant\", cold_start = \"500ms\"}\n";
    for wait in ["never", "30s"] {
        let (_folder, program) = start(&[quick, INSTANT], &format!("cold = \"{wait}\"\n"));
        assert_eq!(served_within(&program, "30000"), by("a", ""), "{wait}");
    }
}

#[test]
fn a_loading_backend_that_was_left_is_woken_and_serves_again() {
    let loads = "simulation = {preset = \"instant\", cold_start = \"1500ms\"}\n";
    let (_folder, program) = start(&[loads, INSTANT], "cold = \"at_once\"\n");
    assert_eq!(served(&program), by("b", "cold"));
    // Nobody calls it meanwhile.
    program.await_metric(r#"kebne_prewarms_total{lane="a",ending="success"} 1"#);
    assert_eq!(served(&program), by("a", ""));
}

#[test]
fn a_backend_without_a_free_slot_is_waited_for_as_long_as_the_rules_allow() {
    let slow = "simulation = {preset = \"instant\", latency = \"1500ms\", latency_spread = 0}\n\
        limits = {law = \"fixed\", limit_initial = 1, limit_max = 1}\n";
    for (wait, least) in [("at_once", 2), ("200ms", 2), ("never", 0)] {
        let (_folder, program) = start(&[slow, INSTANT], &format!("overload = \"{wait}\"\n"));
        assert_eq!(ask(&program, &[]).header("x-kebne-lane"), Some("a"));
        let lanes: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&program, &[]))).collect();
            let calls = calls.into_iter().map(|call| call.join().unwrap());
            calls
                .map(|call| call.header("x-kebne-lane").unwrap().to_owned())
                .collect()
        });
        let moved = lanes.iter().filter(|lane| *lane == "b").count();
        assert!(
            moved >= least && (least > 0 || moved == 0),
            "{wait}: {lanes:?}"
        );
    }
}

#[test]
fn what_cannot_be_waited_for_goes_on_or_not_as_the_rules_say() {
    let quota = refusing(
        "429 No",
        &error("You exceeded your current quota", "insufficient_quota"),
    );
    let key = refusing("401 No", &error("Incorrect API key", "invalid_api_key"));
    let broken = refusing("500 No", &error("oops", "x"));
    let policy = refusing(
        "400 No",
        &error("Your prompt was filtered", "content_filter"),
    );
    let long = refusing(
        "400 No",
        &error("maximum context length is 10", "context_length_exceeded"),
    );
    for (backend, kind, status) in [
        (&quota, "quota", 429),
        (&key, "misconfigured", 502),
        (&broken, "failed", 502),
        (&policy, "content_policy", 400),
        (&long, "context_length", 400),
    ] {
        let limits = "limits = {attempts_max = 1}\n";
        let backend = format!("{backend}{limits}");
        let (_folder, program) = start(&[&backend, INSTANT], &format!("{kind} = \"at_once\"\n"));
        assert_eq!(served(&program), by("b", kind));
        let (_folder, program) = start(&[&backend, INSTANT], &format!("{kind} = \"never\"\n"));
        assert_eq!(ask(&program, &[]).status, status, "{kind}");
    }
    // The content of a prompt stays with one provider unless the operator says otherwise.
    let (_folder, program) = start(&[&policy, INSTANT], "");
    assert_eq!(ask(&program, &[]).status, 400);
}

#[test]
fn a_first_backend_without_the_model_is_asked_now_and_then() {
    let message = "The model `big` does not exist.";
    let body = json!({"error": {"message": message, "type": "NotFoundError", "code": 404}});
    let (_folder, program) = start(&[&refusing("404 No", &body), INSTANT], "");
    for _ in 0..40 {
        assert_eq!(served(&program), by("b", "misconfigured"));
    }
    program.await_metric(r#"kebne_fallbacks_total{model="m",lane="a",kind="misconfigured"} 40"#);
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    let failures = metrics.lines().find_map(|line| {
        let is_it = line.starts_with("kebne_failed_attempts_total{lane=\"a\"");
        is_it.then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    let failures = failures.unwrap();
    assert!((2.0..10.0).contains(&failures), "{failures}");
}

#[test]
fn a_call_that_is_too_long_goes_to_a_longer_context_only() {
    let long = error(
        "maximum context length is 4096 tokens",
        "context_length_exceeded",
    );
    let refused = refusing("400 No", &long);
    let a = format!("context_tokens = 4096\n{refused}");
    let b = format!("context_tokens = 2048\n{INSTANT}");
    let c = format!("context_tokens = 32768\n{INSTANT}");
    let (_folder, program) = start(&[&a, &b, &c], "");
    assert_eq!(served(&program), by("c", "context_length"));
    let (_folder, program) = start(&[&a, &b], "");
    let answer = ask(&program, &[]);
    assert_eq!(answer.code(), (400, "context_length_exceeded".to_owned()));
}

#[test]
fn a_call_is_bounded_in_attempts_over_all_backends() {
    let broken = refusing("500 No", &error("oops", "x"));
    let (_folder, program) = start(&[&broken, &broken, INSTANT], "attempts_max = 2\n");
    assert_eq!(ask(&program, &[]).status, 502);
    let (_folder, program) = start(&[&broken, &broken, INSTANT], "attempts_max = 3\n");
    let answer = ask(&program, &[]);
    assert!(answer.has("x-kebne-lane: c"), "{}", answer.body);
    assert!(answer.has("x-kebne-attempts: 3"), "{}", answer.head);
}

#[test]
fn a_caller_sees_which_model_answered() {
    let (_folder, program) = start(&[INSTANT, INSTANT], "");
    assert!(ask(&program, &[]).has("x-kebne-model: big"));
    program.send("POST", "/admin/v1/backends/a/drain", &[], &Value::Null);
    let answer = ask(&program, &[]);
    assert!(answer.has("x-kebne-model: small"), "{}", answer.head);
    assert!(
        answer.has("x-kebne-fallback: out_of_service"),
        "{}",
        answer.head
    );
    assert_eq!(answer.json()["model"], "small");
}

#[test]
fn the_rules_are_checked_and_explained() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let check = |rules: &str| {
        let text = format!(
            "[[backends]]\nname = \"a\"\n[[backends]]\nname = \"b\"\n[[models]]\nname = \"m\"\nbackends = [\"a\", \"b\"]\n[models.fallback]\n{rules}"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
        let output = command.arg("check").arg("--config").arg(&config).output();
        output.unwrap()
    };
    for (rules, message) in [
        (
            "quota = \"5s\"",
            "models[0].fallback.quota: must be `at_once` or `never`",
        ),
        (
            "cold = \"soon\"",
            "`soon` is not `at_once`, `never` or a duration",
        ),
        (
            "attempts_max = 0",
            "models[0].fallback.attempts_max: must be from 1 to 100",
        ),
        (
            "time_max = \"at_once\"",
            "models[0].fallback.time_max: must be more than 0",
        ),
        ("colt = \"5s\"", "did you mean `cold`?"),
    ] {
        let output = check(rules);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(message),
            "{rules}: {said}"
        );
    }
    let output = check("cold = \"5s\"\n");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(
        said.contains("# The model `m` asks `a`, then `b`."),
        "{said}"
    );
    assert!(
        said.contains("#   cold: it waits for 5s, or goes on at once"),
        "{said}"
    );
}
