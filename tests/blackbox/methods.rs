//! Methods, ids and the log, as tools around the gateway expect them.

use std::{io::Read, process::Stdio};

use serde_json::Value;

use crate::program::{CHAT, Program, folder, send_signal};

#[test]
fn head_is_get_without_the_body() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for path in ["/healthz", "/readyz", "/v1/models", "/metrics"] {
        let answer = program.send("HEAD", path, &[], &Value::Null);
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
        let length = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_ne!(length, Some("0"), "{path}: {}", answer.head);
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for (method, path, allow) in [
        ("GET", CHAT, "POST"),
        ("PUT", "/healthz", "GET, HEAD"),
        ("DELETE", "/v1/sessions", "POST, GET, HEAD"),
        ("PUT", "/v1/sessions/x", "GET, HEAD, POST, DELETE"),
        ("GET", "/backends/simulated/prewarm", "POST"),
    ] {
        let answer = program.send(method, path, &[], &Value::Null);
        assert_eq!(answer.status, 405, "{path}");
        let line = format!("allow: {}", allow.to_lowercase());
        assert!(answer.has(&line), "no `{line}` in {}", answer.head);
        assert!(answer.head.contains("\nx-request-id: "), "{}", answer.head);
    }
}

#[test]
fn a_redirected_log_has_no_escape_codes() {
    let folder = folder();
    let variables = [("KEBNE__LOG__FILTER", "debug")];
    let mut child = Program::command(folder.path(), &variables)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    std::io::BufRead::read_line(&mut output, &mut said).unwrap();
    let address = said.trim().strip_prefix("kebne on http://").unwrap();
    let address = address.strip_suffix("/v1").unwrap().parse().unwrap();
    // Once it answers, it listens for signals.
    let alive = Program::exchange(address, "GET", "/healthz", &[], "").unwrap();
    assert_eq!(alive.status, 200);
    send_signal("TERM", child.id());
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    child.wait().unwrap();
    assert!(log.contains("draining"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
}
