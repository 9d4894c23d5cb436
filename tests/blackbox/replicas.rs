//! Several backends of one model that are used as equals.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Answer, CHAT, Program, folder};

const FIXED: &str = "limits = {law = \"fixed\", limit_initial = 2, limit_max = 2}\n";

/// Starts the program with the backends `a`, `b`, … of the model `m`, each with its own keys.
fn start(backends: &[&str], model: &str) -> (TempDir, Program) {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let names = ["a", "b", "c"];
    let parts = names
        .iter()
        .zip(backends)
        .map(|(name, keys)| format!("[[backends]]\nname = \"{name}\"\n{keys}{FIXED}"));
    let mut text: String = parts.collect();
    text.push_str("[[models]]\nname = \"m\"\n");
    text.push_str(model);
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    (folder, program)
}

fn ask_with(program: &Program, headers: &[(&str, &str)], text: &str) -> Answer {
    let body =
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": text}]});
    program.send("POST", CHAT, headers, &body)
}

/// Makes calls at once; returns the lanes that answered.
fn ask_at_once(program: &Program, count: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..count)
            .map(|_| scope.spawn(|| lane(&ask_with(program, &[], "a"))))
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// Returns the lane of an answer, which must be a success.
fn lane(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.header("x-kebne-lane").unwrap().to_owned()
}

fn count(lanes: &[String], name: &str) -> usize {
    lanes.iter().filter(|lane| *lane == name).count()
}

fn endings(program: &Program, lane: usize) -> Value {
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    state["lanes"][lane]["endings"]["ended"].clone()
}

fn steady(latency: &str) -> String {
    format!("simulation = {{preset = \"instant\", latency = \"{latency}\", latency_spread = 0}}\n")
}

const GROUP: &str = "backends = [[\"a\", \"b\"]]\n";

#[test]
fn equal_replicas_share_the_calls() {
    let keys = steady("60ms");
    let (_folder, program) = start(&[&keys, &keys], GROUP);
    let lanes = ask_at_once(&program, 16);
    for name in ["a", "b"] {
        assert!(count(&lanes, name) >= 5, "{lanes:?}");
    }
}

#[test]
fn a_slow_replica_gets_what_it_can_carry() {
    let (fast, slow) = (steady("20ms"), steady("300ms"));
    let (_folder, program) = start(&[&slow, &fast], GROUP);
    // Both have served, so that their times are known.
    ask_at_once(&program, 8);
    let lanes = ask_at_once(&program, 40);
    let share = count(&lanes, "a");
    assert!(
        (1..=12).contains(&share),
        "{share} of 40 went to the slow one"
    );
}

#[test]
fn a_dead_replica_costs_no_call() {
    let dead = "kind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";
    let alive = steady("5ms");
    let (_folder, program) = start(&[dead, &alive], GROUP);
    for _ in 0..20 {
        assert_eq!(lane(&ask_with(&program, &[], "a")), "b");
    }
    assert_eq!(count(&ask_at_once(&program, 20), "b"), 20);
}

#[test]
fn a_replica_that_sleeps_is_woken_by_a_crowd_and_takes_over_what_waits() {
    let awake = steady("400ms");
    let sleeps = "simulation = {preset = \"instant\", cold_start = \"300ms\", latency = \"20ms\", capacity_start = 8}\n";
    let (_folder, program) = start(&[&awake, sleeps], GROUP);
    // One call at a time never wakes it.
    for _ in 0..3 {
        assert_eq!(lane(&ask_with(&program, &[], "a")), "a");
    }
    assert_eq!(endings(&program, 1)["success"], 0);
    let lanes = ask_at_once(&program, 14);
    assert!(count(&lanes, "b") >= 4, "{lanes:?}");
    let left = endings(&program, 0);
    assert!(left["withdrawn"].as_u64().unwrap() >= 1, "{left}");
    // Each call has one ending in each lane that it entered, and one answer.
    let served = |lane| endings(&program, lane)["success"].as_u64().unwrap();
    assert_eq!(served(0) + served(1), 17);
}

#[test]
fn a_closed_replica_is_left_out_and_the_next_group_is_for_what_no_replica_serves() {
    let keys = steady("5ms");
    let (_folder, program) = start(
        &[&keys, &keys, &keys],
        "backends = [[\"a\", \"b\"], \"c\"]\n",
    );
    let close = |name: &str| {
        let path = format!("/backends/{name}/close");
        let answer = program.send("POST", &path, &[], &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    close("a");
    assert_eq!(count(&ask_at_once(&program, 10), "b"), 10);
    close("b");
    assert_eq!(lane(&ask_with(&program, &[], "a")), "c");
}

#[test]
fn a_session_stays_with_its_replica() {
    let keys = steady("5ms");
    let model = format!("{GROUP}affinity = \"session\"\n");
    let (_folder, program) = start(&[&keys, &keys], &model);
    // Both are awake, so that neither waits for the other.
    ask_at_once(&program, 16);
    let mut used = Vec::new();
    for _ in 0..12 {
        let session = program.session();
        let ask = || lane(&ask_with(&program, &[("x-kebne-session", &session)], "a"));
        let first = ask();
        assert!((0..3).all(|_| ask() == first), "a session moved");
        used.push(first);
    }
    assert!(count(&used, "a") > 0 && count(&used, "b") > 0, "{used:?}");
}

#[test]
fn a_session_waits_for_its_replica_as_long_as_its_model_accepts() {
    let keys = steady("800ms");
    let model = format!("{GROUP}affinity = \"session\"\naffinity_wait = \"30s\"\n");
    let (_folder, program) = start(&[&keys, &keys], &model);
    ask_at_once(&program, 6);
    let session = program.session();
    let ask = || lane(&ask_with(&program, &[("x-kebne-session", &session)], "a"));
    let first = ask();
    let withdrawn = || [0, 1].map(|lane| endings(&program, lane)["withdrawn"].as_u64().unwrap());
    let before = withdrawn();
    // Two slots: the other two calls wait, while both slots of the other replica are free.
    let lanes: Vec<_> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    assert_eq!(count(&lanes, &first), 4, "{lanes:?}");
    assert_eq!(withdrawn(), before);
}

#[test]
fn prompts_that_begin_alike_stay_together() {
    let keys = steady("5ms");
    let model = format!("{GROUP}affinity = \"prefix\"\n");
    let (_folder, program) = start(&[&keys, &keys], &model);
    for number in 0..6 {
        let begin = format!("{number}").repeat(2000);
        let ask = |end: &str| lane(&ask_with(&program, &[], &format!("{begin}{end}")));
        let first = ask("a");
        assert!(["b", "c", "d"].iter().all(|end| ask(end) == first));
    }
}

#[test]
fn weights_divide_calls_whatever_the_load() {
    let keys = steady("5ms");
    let model = format!("{GROUP}balance = \"weighted\"\nweights = {{a = 1000, b = 0.001}}\n");
    let (_folder, program) = start(&[&keys, &keys], &model);
    assert_eq!(count(&ask_at_once(&program, 20), "a"), 20);
}

#[test]
fn wrong_groups_are_named() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let cases = [
        (
            "backends = [[]]",
            "models[0].backends[0]: a group needs at least one backend",
        ),
        (
            "backends = [[\"a\", \"a\"]]",
            "`a` is listed more than once",
        ),
        (
            "backends = [[\"x\"]]",
            "models[0].backends[0]: there is no backend named `x`",
        ),
        ("backends = [3]", "the name of a backend or a list of names"),
        ("backends = [[3]]", "models[0].backends[0][0]"),
        (
            "backends = [\"a\"]\nweights = {b = 1}",
            "`b` is not among the model's backends",
        ),
        (
            "backends = [\"a\"]\nweights = {a = 0}",
            "models[0].weights.a: 0 is not from 0.001 to 1000",
        ),
        (
            "backends = [\"a\"]\naffinity_wait = \"2m\"",
            "affinity_wait: must be at most 1m",
        ),
        (
            "backends = [\"a\"]\nbalance = \"random\"",
            "allowed: `least_loaded`, `weighted`",
        ),
    ];
    for (text, message) in cases {
        let all = format!("[[backends]]\nname = \"a\"\n[[models]]\nname = \"m\"\n{text}\n");
        fs::write(&config, all).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kebne"));
        let output = command
            .arg("check")
            .arg("--config")
            .arg(&config)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(message),
            "{text}: {said}"
        );
    }
}
