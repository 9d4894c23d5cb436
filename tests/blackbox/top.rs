//! `kebne top --once`: the live view as plain text.

use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    alerts::await_alert,
    program::{CHAT, Program, folder},
};

fn top(url: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kebne"))
        .args(["top", "--once", "--url", url])
        .env_remove("KEBNE_API_KEY")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn one_view_shows_the_lanes_and_the_alerts_as_state_does() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &[], &body).status, 200);
    let url = format!("http://{}/v1", program.address);
    let shown = text(&top(&url, &[]).stdout);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let lane = shown
        .lines()
        .find(|line| line.starts_with("│simulated"))
        .unwrap();
    assert!(
        lane.contains(state["lanes"][0]["state"].as_str().unwrap()),
        "{shown}"
    );
    assert!(
        shown.contains("no alerts") && shown.contains("Nothing is wrong."),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "no control sequences: {shown}");
    let path = "/admin/v1/backends/simulated/disable";
    program.send("POST", path, &[], &Value::Null);
    await_alert(&program, "active", "lane_closed", || {});
    let shown = text(&top(&url, &[]).stdout);
    assert!(
        shown.contains("1 alert") && shown.contains("critical: The lane of `simulated` is closed"),
        "{shown}"
    );
    assert!(
        shown.contains("do: When the reason is over, open it"),
        "{shown}"
    );
}

#[test]
fn what_keeps_it_from_looking_is_said() {
    let folder = folder();
    let hash = hex::encode(Sha256::digest(b"reader"));
    let keys = format!("[{{name = \"reader\", hash = \"{hash}\", scopes = [\"read_state\"]}}]");
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__KEYS", &keys)]);
    let url = format!("http://{}", program.address);
    let refused = top(&url, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(
        said.contains("KEBNE_API_KEY") && said.contains("read_state"),
        "{said}"
    );
    assert_eq!(
        top(&url, &[("KEBNE_API_KEY", "reader")]).status.code(),
        Some(0)
    );
    drop(program);
    for (url, expected) in [
        (url.as_str(), "no answer from"),
        ("nonsense", "is not an address"),
    ] {
        let failed = top(url, &[]);
        let said = text(&failed.stderr);
        assert!(said.contains(expected), "{said}");
        assert_eq!(failed.status.code(), Some(1));
    }
    // Standard output is not a terminal.
    let screen = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .arg("top")
        .output()
        .unwrap();
    assert!(
        text(&screen.stderr).contains("--once"),
        "{}",
        text(&screen.stderr)
    );
}
