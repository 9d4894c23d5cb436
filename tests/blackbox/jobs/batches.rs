//! Batches of calls.

use super::*;

/// Returns a line of a batch.
pub(super) fn line(name: &str) -> String {
    json!({"custom_id": name, "method": "POST", "url": CHAT, "body": chat(name)}).to_string()
}

fn upload_batch(program: &Program, lines: &[String]) -> String {
    let head = ("content-type", "multipart/form-data; boundary=xyz");
    let text = lines.join("\n");
    let form = crate::collections::form(Some("batch"), &[("calls.jsonl", &text)]);
    let answer = program
        .try_send("POST", "/v1/files", &[head], &form)
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["id"].as_str().unwrap().to_owned()
}

pub(super) fn batch(program: &Program, lines: &[String], more: &[(&str, Value)]) -> Value {
    let file = upload_batch(program, lines);
    let mut body = json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"});
    for (key, value) in more {
        body[*key] = value.clone();
    }
    let answer = program.send("POST", "/v1/batches", &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn batch_until(program: &Program, id: &Value, status: &str) -> Value {
    let since = Instant::now();
    loop {
        let batch = get(program, &format!("/v1/batches/{}", id.as_str().unwrap())).json();
        if batch["status"] == status {
            return batch;
        }
        assert!(since.elapsed() < AMPLE, "not {status}: {batch}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn lines_of(program: &Program, file: &Value) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", file.as_str().unwrap());
    let content = get(program, &path).body;
    content
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_batch_survives_a_kill_and_has_each_line_once() {
    let folder = folder();
    let (url, requests) = slow(Duration::from_millis(30));
    let more = "[jobs]\nlease = \"1s\"\n";
    let mut program = in_front_of(folder.path(), &url, more);
    let names: Vec<String> = (0..40).map(|at| format!("line {at}")).collect();
    let lines: Vec<String> = names.iter().map(|name| line(name)).collect();
    let made = batch(&program, &lines, &[("metadata", json!({"team": "search"}))]);
    assert_eq!(
        (&made["object"], &made["errors"]),
        (&json!("batch"), &Value::Null)
    );
    for _ in 0..10 {
        requests.recv_timeout(AMPLE).unwrap();
    }
    program.signal("KILL");
    program.child.wait().unwrap();
    program = in_front_of(folder.path(), &url, more);
    let done = batch_until(&program, &made["id"], "completed");
    let counts = json!({"total": 40, "completed": 40, "failed": 0});
    assert_eq!(
        (&done["request_counts"], &done["error_file_id"]),
        (&counts, &Value::Null)
    );
    assert_eq!(done["metadata"], json!({"team": "search"}));
    let output = lines_of(&program, &done["output_file_id"]);
    let seen: Vec<&str> = output
        .iter()
        .map(|line| line["custom_id"].as_str().unwrap())
        .collect();
    assert_eq!(seen, names);
    let files = get(&program, "/v1/files?purpose=batch_output").json();
    assert_eq!(files["data"][0]["id"], done["output_file_id"]);
    let listed = get(&program, "/v1/batches").json();
    assert_eq!(listed["data"][0]["id"], made["id"]);
    // The lines of a batch are not among the jobs.
    assert_eq!(get(&program, JOBS).json()["data"], json!([]));
}

#[test]
fn a_batch_that_does_not_fit_is_refused_and_one_that_expires_keeps_its_answers() {
    let folder = folder();
    let go = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&go);
    let (url, _requests) = upstream_that(move |_, socket| {
        if !gate.swap(false, SeqCst) {
            thread::sleep(AMPLE);
        }
        socket.write_all(whole("done").as_bytes())
    });
    let program = in_front_of(
        folder.path(),
        &url,
        "[jobs]\nwaiting_max = 3\nat_once = 1\nattempt_time_max = \"1s\"\n",
    );
    let lines: Vec<String> = (0..4).map(|at| line(&at.to_string())).collect();
    let file = upload_batch(&program, &lines);
    let create = |file: &str, endpoint: &str| {
        let body = json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"});
        program.send("POST", "/v1/batches", &[], &body)
    };
    assert_eq!(create(&file, CHAT).code(), (429, "jobs_full".to_owned()));
    let file = upload_batch(&program, &lines[..2]);
    let wrong = create(&file, "/v1/embeddings");
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("line 1: `url`"), "{}", wrong.body);
    let cancelled = batch(&program, &lines[..3], &[]);
    let path = format!("/v1/batches/{}/cancel", cancelled["id"].as_str().unwrap());
    batch_first_done(&program, &cancelled["id"]);
    assert_eq!(program.send("POST", &path, &[], &Value::Null).status, 200);
    let cancelled = batch_until(&program, &cancelled["id"], "cancelled");
    let errors = lines_of(&program, &cancelled["error_file_id"]);
    assert_eq!(
        (errors.len(), &errors[0]["error"]["code"]),
        (2, &json!("batch_cancelled"))
    );
    assert_eq!(lines_of(&program, &cancelled["output_file_id"]).len(), 1);
}

/// Waits until a line of a batch has its answer.
fn batch_first_done(program: &Program, id: &Value) {
    let since = Instant::now();
    let path = format!("/v1/batches/{}", id.as_str().unwrap());
    while get(program, &path).json()["request_counts"]["completed"] != 1 {
        assert!(since.elapsed() < AMPLE);
        thread::sleep(Duration::from_millis(20));
    }
}
