//! A backend out of service: its callers, its model's other backend, its operator.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::program::{Answer, CHAT, Program, folder};

/// Starts the program with the backends `a` and `b`; the model `both` has the two, `only-a` the first.
fn start(folder: &Path) -> Program {
    let config = folder.join("kebne.toml");
    let backend = |name: &str| {
        format!(
            "[[backends]]\nname = \"{name}\"\nkind = \"simulated\"\nsimulation = {{preset = \"instant\"}}\n"
        )
    };
    let model = |name: &str, backends: &str| {
        format!("[[models]]\nname = \"{name}\"\nbackends = {backends}\n")
    };
    let parts = [
        backend("a"),
        backend("b"),
        model("both", "[\"a\", \"b\"]"),
        model("only-a", "[\"a\"]"),
    ];
    fs::write(&config, parts.concat()).unwrap();
    Program::start_plain(folder, &config)
}

fn ask(program: &Program, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

fn operate(program: &Program, path: &str) -> (u16, Value) {
    let answer = program.send("POST", path, &[], &Value::Null);
    (answer.status, answer.json())
}

fn ready(program: &Program) -> u16 {
    program.send("GET", "/readyz", &[], &Value::Null).status
}

#[test]
fn a_closed_lane_is_seen_its_calls_fall_back_and_it_serves_again_when_it_is_reopened() {
    let folder = folder();
    let mut program = start(folder.path());
    assert!(ask(&program, "both").has("x-kebne-lane: a"));
    for _ in 0..2 {
        let closed = operate(&program, "/backends/a/close");
        assert_eq!(closed, (200, json!({"backend": "a", "lane": "closed"})));
    }
    let refused = ask(&program, "only-a");
    assert_eq!(refused.code(), (503, "lane_closed".to_owned()));
    assert!(
        refused.has("x-kebne-reason: lane_closed"),
        "{}",
        refused.head
    );
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    let fell_back = ask(&program, "both");
    assert_eq!(fell_back.status, 200, "{}", fell_back.body);
    assert!(fell_back.has("x-kebne-lane: b"), "{}", fell_back.head);
    let prewarm = program.send("POST", "/backends/a/prewarm", &[], &Value::Null);
    assert_eq!(prewarm.code(), (503, "lane_closed".to_owned()));
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["lanes"][0]["name"], "a");
    assert_eq!(state["lanes"][0]["closed"], "closed by an operator");
    assert_eq!(state["lanes"][1]["closed"], Value::Null);
    program.await_metric(r#"kebne_closed{lane="a"} 1.0"#);
    program.await_metric(r#"kebne_closed{lane="b"} 0.0"#);
    program.await_metric(r#"kebne_calls_total{lane="a",ending="shed"} 1"#);
    assert_eq!(ready(&program), 200, "the other lane serves");
    operate(&program, "/backends/b/close");
    assert_eq!(ready(&program), 503);
    for _ in 0..2 {
        let open = operate(&program, "/backends/a/reopen");
        assert_eq!(open, (200, json!({"backend": "a", "lane": "open"})));
    }
    assert_eq!(ready(&program), 200);
    assert_eq!(ask(&program, "only-a").status, 200);
    assert!(ask(&program, "both").has("x-kebne-lane: a"));
    program.await_metric(r#"kebne_closed{lane="a"} 0.0"#);
    program.await_metric(r#"kebne_calls_total{lane="a",ending="success"} 3"#);
    // A closed lane does not hold the stop back.
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn only_an_operator_of_an_existing_backend_closes_a_lane() {
    let folder = folder();
    let program = start(folder.path());
    for action in ["close", "reopen"] {
        let path = format!("/backends/none/{action}");
        let unknown = program.send("POST", &path, &[], &Value::Null);
        assert_eq!(unknown.code(), (404, "backend_not_found".to_owned()));
        let path = format!("/backends/a/{action}");
        assert_eq!(program.send("GET", &path, &[], &Value::Null).status, 405);
    }
    let hash = "a".repeat(64);
    let keys = format!("[{{name = \"a\", hash = \"{hash}\"}}]");
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__KEYS", &keys)]);
    for action in ["close", "reopen"] {
        let path = format!("/backends/simulated/{action}");
        let answer = program.send("POST", &path, &[], &Value::Null);
        assert_eq!(answer.code(), (401, "invalid_api_key".to_owned()));
    }
}
