//! A lane whose actors hang is shown at once, with its last known numbers, wherever an operator looks.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    page::Live,
    program::{CHAT, Program, folder},
};

#[test]
fn a_lane_that_hangs_is_shown_with_its_last_numbers_and_their_age() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let get = |path: &str| program.send("GET", path, &[], &Value::Null);
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &[], &body).status, 200);
    program.await_metric(r#"kebne_report_age_seconds{lane="simulated"} 0.0"#);
    let before = get("/state").json()["lanes"][0].clone();
    assert_eq!(before["stale"], false, "{before}");
    let json = [("content-type", "application/json")];
    let hung = program.send("POST", "/lab/simulated/hang", &json, &Value::Null);
    assert_eq!(hung.status, 202, "{}", hung.body);

    let mut live = Live::open(&program, "");
    let lane = loop {
        let sample = live.next("sample");
        let lane = &sample["lanes"][0];
        if lane["label"] == "not answering" {
            let overall = sample["overall"]["sentence"].as_str().unwrap();
            assert!(
                overall.starts_with("“simulated” is not answering"),
                "{overall}"
            );
            break lane.clone();
        }
    };
    assert_eq!(lane["level"], "bad");
    assert!(lane["stale_ms"].as_u64().unwrap() >= 3000, "{lane}");
    let sentence = lane["sentence"].as_str().unwrap();
    assert!(sentence.contains("have not answered for"), "{sentence}");

    let now = get("/state").json()["lanes"][0].clone();
    assert_eq!(now["stale"], true, "{now}");
    assert!(now["age_ms"].as_u64().unwrap() >= 3000, "{now}");
    for field in ["state_changes", "workers", "endings"] {
        assert_eq!(now[field], before[field], "{field}");
    }
    let grant = |lane: &Value| lane["controller"]["grant"]["concurrency"].clone();
    assert_eq!(grant(&now), grant(&before));

    let metrics = get("/metrics").body;
    let value = |name: &str| -> f64 {
        let start = format!("{name}{{lane=\"simulated\"}} ");
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(&start));
        lines.next().unwrap().parse().unwrap()
    };
    assert!(value("kebne_report_age_seconds") >= 3.0, "{metrics}");
    assert!(value("kebne_limit") >= 1.0, "{metrics}");

    let backend = get("/admin/v1/backends/simulated").json();
    assert_eq!(backend["stale"], true, "{backend}");
    let url = format!("http://{}", program.address);
    let mut top = Command::new(env!("CARGO_BIN_EXE_kebne"));
    let top = top.args(["top", "--once", "--url", &url]).output().unwrap();
    let shown = String::from_utf8(top.stdout).unwrap();
    assert!(shown.contains("no answer"), "{shown}");
    assert!(
        shown.contains("its actors have not answered for"),
        "{shown}"
    );

    // An operation that the lane has not carried out is not reported as done.
    let path = "/admin/v1/backends/simulated/drain";
    let drained = program.send("POST", path, &[], &Value::Null);
    assert_eq!(
        drained.code(),
        (503, "no_answer".to_owned()),
        "{}",
        drained.body
    );
}
