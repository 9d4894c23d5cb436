//! Calls that are carried out as jobs: queued, cancelled, expired, killed in the middle.

mod batches;
mod webhooks;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{in_front_of, upstream, upstream_that, whole},
};

const JOBS: &str = "/v1/jobs";
/// Beyond what a busy machine needs.
const AMPLE: Duration = Duration::from_mins(1);

fn chat(text: &str) -> Value {
    json!({"model": "simulated", "messages": [{"role": "user", "content": text}]})
}

fn job(text: &str) -> Value {
    json!({"url": CHAT, "body": chat(text)})
}

/// Queues a job; returns its id.
fn queue(program: &Program, body: &Value) -> String {
    let answer = program.send("POST", JOBS, &[], body);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("{JOBS}/{id}")));
    id
}

fn get(program: &Program, path: &str) -> Answer {
    program.send("GET", path, &[], &Value::Null)
}

fn read(program: &Program, id: &str) -> Value {
    get(program, &format!("{JOBS}/{id}")).json()
}

/// Waits until a job has a status.
fn until(program: &Program, id: &str, status: &str) -> Value {
    let since = Instant::now();
    loop {
        let job = read(program, id);
        if job["status"] == status {
            return job;
        }
        assert!(since.elapsed() < AMPLE, "not {status}: {job}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn text_of(job: &Value) -> &str {
    let choice = &job["response"]["body"]["choices"][0];
    choice["message"]["content"].as_str().unwrap()
}

#[test]
fn a_call_is_queued_carried_out_and_kept_with_its_answer() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    assert_eq!(get(&program, JOBS).json()["data"], json!([]));
    assert!(!folder.path().join("kebne-data/jobs.sqlite").exists());
    let mut body = job("Hello");
    body["custom_id"] = json!("mine");
    let id = queue(&program, &body);
    let done = until(&program, &id, "succeeded");
    assert_eq!(done["request"], json!({"method": "POST", "url": CHAT}));
    assert_eq!(done["custom_id"], "mine");
    assert_eq!(
        (&done["response"]["status_code"], &done["attempts"]),
        (&json!(200), &json!(1))
    );
    assert!(text_of(&done).contains("Hello"), "{done}");
    let answer = get(&program, &format!("{JOBS}/{id}/response"));
    assert_eq!(
        (answer.status, &answer.json()),
        (200, &done["response"]["body"])
    );
    // The events of a job that has ended are its end.
    let events = get(&program, &format!("{JOBS}/{id}/events"));
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(
        events.body.matches("event: job").count(),
        1,
        "{}",
        events.body
    );
    // Streams are kept as a whole.
    let mut stream = job("Hello");
    stream["body"]["stream"] = json!(true);
    let streamed = queue(&program, &stream);
    until(&program, &streamed, "succeeded");
    let answer = get(&program, &format!("{JOBS}/{streamed}/response"));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(answer.body.contains("data: [DONE]"), "{}", answer.body);
    let list = get(&program, &format!("{JOBS}?limit=1")).json();
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"]),
        (&json!(streamed), &json!(true))
    );
    let rest = get(
        &program,
        &format!("{JOBS}?after={streamed}&status=succeeded"),
    )
    .json();
    assert_eq!(rest["data"][0]["id"], json!(id));
    // Each call is counted once, as all calls are.
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="success"} 2"#);
    program.await_metric(r#"kebne_job_events_total{event="succeeded"} 2"#);
    let state = get(&program, "/state").json();
    assert_eq!(state["jobs"]["since_start"]["queued"], 2);
}

#[test]
fn a_request_that_cannot_succeed_is_refused_at_once() {
    let folder = folder();
    let program = Program::start(folder.path(), &[("KEBNE__JOBS__WAITING_MAX", "1")]);
    let with = |key: &str, value: Value| {
        let mut body = job("a");
        body[key] = value;
        body
    };
    for (body, status, param) in [
        (with("url", json!("/v1/models")), 400, "url"),
        (with("method", json!("GET")), 400, "method"),
        (with("priority", json!(10)), 400, "priority"),
        (
            with("expires_in_seconds", json!(0)),
            400,
            "expires_in_seconds",
        ),
        (
            with("headers", json!({"authorization": "Bearer x"})),
            400,
            "headers",
        ),
        (
            with("body", json!({"model": "none", "messages": []})),
            404,
            "model",
        ),
        (with("other", json!(1)), 400, "other"),
    ] {
        let answer = program.send("POST", JOBS, &[], &body);
        assert_eq!(answer.status, status, "{param}: {}", answer.body);
        assert_eq!(answer.json()["error"]["param"], param, "{}", answer.body);
    }
    for path in ["job_1", "job_1/response", "job_1/events"] {
        let missing = get(&program, &format!("{JOBS}/{path}"));
        assert_eq!(missing.code(), (404, "job_not_found".to_owned()));
    }
    assert_eq!(get(&program, &format!("{JOBS}?after=job_1")).status, 400);
}

#[test]
fn a_caller_may_prefer_an_answer_later() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let send = |prefer: &str, key: &str, text: &str| {
        let headers = [("prefer", prefer), ("idempotency-key", key)];
        program.send("POST", CHAT, &headers, &chat(text))
    };
    let later = send("respond-async", "one", "a");
    assert_eq!(later.status, 202, "{}", later.body);
    assert_eq!(later.header("preference-applied"), Some("respond-async"));
    let id = later.json()["id"].as_str().unwrap().to_owned();
    until(&program, &id, "succeeded");
    // The same key and request are the same job; its answer is there.
    let waited = send("respond-async, wait=30", "one", "a");
    assert_eq!(waited.status, 200, "{}", waited.body);
    assert_eq!(waited.header("location"), Some(&*format!("{JOBS}/{id}")));
    assert_eq!(waited.json()["object"], "chat.completion");
    let other = send("respond-async", "one", "b");
    assert_eq!(other.code(), (409, "idempotency_key_reused".to_owned()));
    let fresh = send("wait=30, respond-async", "two", "b");
    assert_eq!(
        (fresh.status, &fresh.json()["object"]),
        (200, &json!("chat.completion"))
    );
    // Without the preference it is a call like all others.
    let live = program.send("POST", CHAT, &[("prefer", "wait=5")], &chat("c"));
    assert_eq!((live.status, live.header("location")), (200, None));
    let wrong = program.send("POST", CHAT, &[("prefer", "respond-async")], &json!({}));
    assert_eq!(wrong.status, 400);
    assert_eq!(
        get(&program, JOBS).json()["data"].as_array().unwrap().len(),
        2
    );
}

/// A server that answers after a while, with the text that it was asked for, and counts.
fn slow(time: Duration) -> (String, mpsc::Receiver<Value>) {
    upstream_that(move |_, socket| {
        thread::sleep(time);
        socket.write_all(whole("done").as_bytes())
    })
}

#[test]
fn a_killed_process_loses_no_job_and_repeats_only_what_was_not_confirmed() {
    let folder = folder();
    let (url, requests) = slow(Duration::from_millis(40));
    let more = "[jobs]\nlease = \"1s\"\nat_once = 4\nat_once_per_tenant = 4\n";
    let program = in_front_of(folder.path(), &url, more);
    let ids: Vec<String> = (0..60)
        .map(|at| queue(&program, &job(&at.to_string())))
        .collect();
    // The first kill is in the middle of the jobs, the next one in the middle of what is left.
    let mut program = program;
    let mut asked = BTreeMap::<String, usize>::new();
    let mut take = |count: usize| {
        for _ in 0..count {
            let request = requests.recv_timeout(AMPLE).unwrap();
            let text = request["messages"][0]["content"].as_str().unwrap();
            *asked.entry(text.to_owned()).or_default() += 1;
        }
    };
    for _ in 0..2 {
        take(15);
        program.signal("KILL");
        program.child.wait().unwrap();
        program = in_front_of(folder.path(), &url, more);
    }
    for id in &ids {
        let done = until(&program, id, "succeeded");
        assert_eq!(text_of(&done), "done");
    }
    let seen = get(&program, &format!("{JOBS}?limit=100&status=succeeded")).json();
    let seen = seen["data"].as_array().unwrap().iter();
    let seen: BTreeSet<&str> = seen.map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(seen, ids.iter().map(String::as_str).collect());
    let rest = requests.try_iter().count() + 30;
    // Each kill repeats at most what ran: four jobs.
    assert!((60..=68).contains(&rest), "{rest} calls for 60 jobs");
    program.await_metric(r#"kebne_jobs{status="running"} 0.0"#);
}

#[test]
fn a_cold_backend_is_waited_for_and_a_stop_loses_nothing() {
    let folder = folder();
    let is_warm = Arc::new(AtomicBool::new(false));
    let warm = Arc::clone(&is_warm);
    let (url, _requests) = upstream(move |_| {
        if warm.load(SeqCst) {
            whole("warm")
        } else {
            let body =
                r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
            let length = body.len();
            format!(
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
    });
    let more = "[jobs]\nlease = \"1s\"\nattempt_time_max = \"1s\"\nattempts_max = 1\n";
    let mut program = in_front_of(folder.path(), &url, more);
    let ids: Vec<String> = (0..3).map(|_| queue(&program, &job("a"))).collect();
    // Attempts that are refused because the model loads do not count.
    program.await_metric(r#"kebne_jobs{status="queued"} 0.0"#);
    thread::sleep(Duration::from_millis(2500));
    for id in &ids {
        let status = read(&program, id)["status"].clone();
        assert!(status == "queued" || status == "running", "{status}");
    }
    assert_eq!(program.terminate(), Some(0));
    is_warm.store(true, SeqCst);
    let program = in_front_of(folder.path(), &url, more);
    for id in &ids {
        assert_eq!(text_of(&until(&program, id, "succeeded")), "warm");
    }
}

#[test]
fn live_callers_have_precedence_and_what_waits_is_bounded() {
    let folder = folder();
    let (url, requests) = slow(Duration::from_millis(300));
    let more = "[backends.limits]\nlimit_initial = 1\nlimit_max = 1\n[jobs]\nat_once = 8\nat_once_per_tenant = 8\nwaiting_max = 8\n";
    let program = in_front_of(folder.path(), &url, more);
    let ids: Vec<String> = (0..8).map(|_| queue(&program, &job("job"))).collect();
    let full = program.send("POST", JOBS, &[], &job("more"));
    assert_eq!(full.code(), (429, "jobs_full".to_owned()));
    assert!(full.body.contains("`jobs.waiting_max`"), "{}", full.body);
    assert!(full.header("retry-after").is_some());
    requests.recv_timeout(AMPLE).unwrap();
    let live = program.send("POST", CHAT, &[], &chat("live"));
    assert_eq!(live.status, 200);
    // It was the second or third of nine: one attempt ran, and one may have begun meanwhile.
    let order = requests
        .try_iter()
        .map(|request| request["messages"][0]["content"].clone());
    let place = order.into_iter().position(|text| text == "live").unwrap();
    assert!(place <= 1, "{place}");
    // One that waits and one that runs are cancelled.
    let states: Vec<Value> = ids
        .iter()
        .map(|id| read(&program, id)["status"].clone())
        .collect();
    let last = ids
        .iter()
        .zip(&states)
        .rev()
        .find(|(_, state)| **state == "running");
    let (running, _) = last.unwrap();
    let cancelled = program.send(
        "POST",
        &format!("{JOBS}/{running}/cancel"),
        &[],
        &Value::Null,
    );
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    until(&program, running, "cancelled");
    let none = get(&program, &format!("{JOBS}/{running}/response"));
    assert_eq!(none.code(), (409, "job_has_no_response".to_owned()));
    for id in ids.iter().filter(|id| *id != running) {
        until(&program, id, "succeeded");
    }
}

#[test]
fn the_progress_of_a_job_is_sent_as_events() {
    let folder = folder();
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let (url, requests) = upstream_that(move |_, socket| {
        while !gate.load(SeqCst) {
            thread::sleep(Duration::from_millis(10));
        }
        socket.write_all(whole("done").as_bytes())
    });
    let program = in_front_of(folder.path(), &url, "");
    let id = queue(&program, &job("a"));
    requests.recv_timeout(AMPLE).unwrap();
    let mut socket = TcpStream::connect(program.address).unwrap();
    write!(
        socket,
        "GET {JOBS}/{id}/events HTTP/1.0\r\nhost: localhost\r\n\r\n"
    )
    .unwrap();
    let mut states = Vec::new();
    for line in BufReader::new(socket).lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            let job: Value = serde_json::from_str(data).unwrap();
            states.push(job["status"].as_str().unwrap().to_owned());
            go.store(true, SeqCst);
        }
    }
    assert_eq!(states, ["running", "succeeded"]);
}

#[test]
fn a_job_expires_and_a_backend_that_fails_is_tried_again() {
    let folder = folder();
    let failures = AtomicUsize::new(0);
    let (url, _requests) = upstream(move |_| {
        if failures.fetch_add(1, SeqCst) < 2 {
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned()
        } else {
            whole("at last")
        }
    });
    let more = "[backends.limits]\nattempts_max = 1\n";
    let program = in_front_of(folder.path(), &url, more);
    let done = until(&program, &queue(&program, &job("a")), "succeeded");
    assert_eq!((text_of(&done), &done["attempts"]), ("at last", &json!(3)));
    let folder = crate::program::folder();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", nobody.local_addr().unwrap());
    drop(nobody);
    let program = in_front_of(folder.path(), &url, "");
    let mut short = job("a");
    short["expires_in_seconds"] = json!(2);
    let expired = until(&program, &queue(&program, &short), "expired");
    // Both are whole seconds. What would end later than it may has ended a moment before.
    let second = |name: &str| expired[name].as_u64().unwrap();
    assert!(second("ended_at") + 1 >= second("expires_at"), "{expired}");
}

#[test]
fn a_call_whose_wait_would_be_too_long_becomes_a_job_if_that_is_set() {
    let folder = folder();
    let (url, _requests) = slow(Duration::from_millis(400));
    let more = "[backends.limits]\nlimit_initial = 1\nlimit_max = 1\n[jobs]\non_long_wait = true\n";
    let program = in_front_of(folder.path(), &url, more);
    // The lane learns how long a call takes.
    assert_eq!(program.send("POST", CHAT, &[], &chat("a")).status, 200);
    let short = [("x-kebne-deadline-ms", "500")];
    let answers: Vec<Answer> = thread::scope(|scope| {
        let send = || scope.spawn(|| program.send("POST", CHAT, &short, &chat("b")));
        let calls: Vec<_> = (0..8).map(|_| send()).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    let later: Vec<&Answer> = answers
        .iter()
        .filter(|answer| answer.status == 202)
        .collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert!(!later.is_empty(), "{statuses:?}");
    for answer in later {
        until(&program, answer.json()["id"].as_str().unwrap(), "succeeded");
    }
}

fn keys(folder: &Path, url: &str) -> Program {
    let key = |name: &str, more: &str| {
        let hash = hex::encode(Sha256::digest(format!("key of {name}")));
        format!(
            "[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [\"call\"]\n{more}\n"
        )
    };
    let text = [
        format!("[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n"),
        key("ann", ""),
        key("bob", "limits.budgets = [{ tokens = 1, per = \"day\" }]"),
    ];
    let config = folder.join("kebne.toml");
    fs::write(&config, text.concat()).unwrap();
    let mut command = Program::configured(folder, &config);
    command.env("KEBNE_CONTEXT_KEY", "a1".repeat(32));
    Program::spawn_with(&mut command, std::process::Stdio::null())
}

#[test]
fn a_job_counts_for_its_key_and_is_erased_with_its_tenant() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("the secret answer"));
    let program = keys(folder.path(), &url);
    let send = |who: &str, method: &str, path: &str, body: &Value| {
        let key = format!("Bearer key of {who}");
        program.send(method, path, &[("authorization", &key)], body)
    };
    let until = |who: &str, id: &str, status: &str| {
        let since = Instant::now();
        loop {
            let job = send(who, "GET", &format!("{JOBS}/{id}"), &Value::Null).json();
            if job["status"] == status {
                return job;
            }
            assert!(since.elapsed() < AMPLE, "{job}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let made = send("ann", "POST", JOBS, &job("the secret question")).json();
    let id = made["id"].as_str().unwrap().to_owned();
    let done = until("ann", &id, "succeeded");
    assert_eq!(text_of(&done), "the secret answer");
    // It does not exist for others.
    for path in ["", "/response", "/events"] {
        let answer = send("bob", "GET", &format!("{JOBS}/{id}{path}"), &Value::Null);
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!(
        send("bob", "GET", JOBS, &Value::Null).json()["data"],
        json!([])
    );
    // A budget without room ends a job, as it ends a call.
    let made = send("bob", "POST", JOBS, &job("a")).json();
    let failed = until("bob", made["id"].as_str().unwrap(), "failed");
    assert_eq!(failed["response"]["status_code"], 429);
    let code = &failed["response"]["body"]["error"]["code"];
    assert_eq!(code, "insufficient_quota");
    let on_disk = |text: &str| {
        let files = fs::read_dir(folder.path().join("kebne-data")).unwrap();
        let mut files = files.map(|file| fs::read(file.unwrap().path()).unwrap());
        files.any(|file| file.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    assert!(!on_disk("the secret"));
    let export = send("ann", "GET", "/v1/privacy/export", &Value::Null).body;
    assert!(export.contains("the secret question") && export.contains("the secret answer"));
    let kept = send("ann", "GET", "/v1/privacy/data", &Value::Null).body;
    assert!(kept.contains("\"jobs\":1"), "{kept}");
    let erased = send("ann", "DELETE", "/v1/privacy/data", &Value::Null);
    assert_eq!(erased.status, 200, "{}", erased.body);
    assert_eq!(
        send("ann", "GET", &format!("{JOBS}/{id}"), &Value::Null).status,
        404
    );
    assert!(
        !send("ann", "GET", "/v1/privacy/data", &Value::Null)
            .body
            .contains("\"jobs\":1")
    );
    batches_are_their_tenants_too(&program);
}

fn batches_are_their_tenants_too(program: &Program) {
    let send = |who: &str, method: &str, path: &str, body: &Value| {
        let key = format!("Bearer key of {who}");
        program.send(method, path, &[("authorization", &key)], body)
    };
    let form = crate::collections::form(Some("batch"), &[("a.jsonl", &batches::line("a"))]);
    let headers = [
        ("authorization", "Bearer key of ann"),
        ("content-type", "multipart/form-data; boundary=xyz"),
    ];
    let file = program.try_send("POST", "/v1/files", &headers, &form);
    let file = file.unwrap().json()["id"].clone();
    let body = json!({"input_file_id": file, "endpoint": CHAT, "completion_window": "1h"});
    assert_eq!(send("bob", "POST", "/v1/batches", &body).status, 404);
    let batch = send("ann", "POST", "/v1/batches", &body).json();
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    assert_eq!(send("ann", "GET", &path, &Value::Null).status, 200);
    assert_eq!(send("bob", "GET", &path, &Value::Null).status, 404);
    let cancel = format!("{path}/cancel");
    assert_eq!(send("bob", "POST", &cancel, &Value::Null).status, 404);
}
