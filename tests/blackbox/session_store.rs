//! A session store that cannot be used costs 503 for the calls of sessions, and nothing else.

use std::{
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::Stdio,
    thread,
};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Answer, CHAT, Program, SESSION, folder};

const UNAVAILABLE: &str = "session_store_unavailable";

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("kebne-data/sessions.sqlite")
}

/// Sends `count` calls of a session side by side and returns their answers.
fn calls_at_once(program: &Program, session: &str, count: usize) -> Vec<Answer> {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || match number % 4 {
                    0 => program.send("POST", "/v1/sessions", &[], &Value::Null),
                    1 => {
                        let path = format!("/v1/sessions/{session}");
                        program.send("POST", &path, &[], &json!({"system_prompt": "a"}))
                    }
                    2 => program.send("POST", "/v1/sessions", &[], &json!({"metadata": {}})),
                    _ => {
                        let path = format!("/v1/sessions/{session}");
                        program.send("POST", &path, &[], &json!({"metadata": {"a": "b"}}))
                    }
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

/// Asserts that the process lives and that what needs no session is served.
fn serves_all_else(program: &Program) {
    assert_eq!(
        program.send("GET", "/healthz", &[], &Value::Null).status,
        200
    );
    assert_eq!(
        program.send("GET", "/readyz", &[], &Value::Null).status,
        200
    );
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_blocked_store_costs_503_for_session_calls_and_nothing_else() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let session = program.session();
    assert_eq!(program.chat(&session, "one").status, 200);
    let lock = rusqlite::Connection::open(file(&folder)).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        for answer in calls_at_once(&program, &session, 20) {
            assert_eq!(answer.code(), (503, UNAVAILABLE.to_owned()));
            assert!(answer.head.contains("\r\nretry-after: "), "{}", answer.head);
        }
        serves_all_else(&program);
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        assert_eq!(state["sessions"]["store"], "unavailable", "{state}");
        let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
        assert!(metrics.contains("kebne_session_store_up 0.0"), "{metrics}");
        assert!(
            !metrics.contains("kebne_session_store_failures_total 0\n"),
            "{metrics}"
        );
        // Readers do not wait for a writer.
        assert_eq!(program.texts(&session).len(), 2);
    }
    lock.execute_batch("ROLLBACK").unwrap();
    let answer = program.chat(&session, "two");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(program.texts(&session).len(), 4);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["sessions"]["store"], "available", "{state}");
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    assert!(metrics.contains("kebne_session_store_up 1.0"), "{metrics}");
}

#[test]
fn a_store_whose_file_is_gone_is_unavailable_until_it_is_back() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let session = program.session();
    assert_eq!(program.chat(&session, "one").status, 200);
    let (data, away) = (folder.path().join("kebne-data"), folder.path().join("away"));
    fs::rename(&data, &away).unwrap();
    for answer in calls_at_once(&program, &session, 8) {
        assert_eq!(answer.code(), (503, UNAVAILABLE.to_owned()));
    }
    serves_all_else(&program);
    assert!(!file(&folder).exists(), "no empty store takes its place");
    fs::remove_dir_all(&data).ok();
    fs::rename(&away, &data).unwrap();
    let answer = program.chat(&session, "two");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(program.texts(&session).len(), 4);
}

#[test]
fn a_store_that_cannot_be_made_does_not_stop_the_start() {
    let folder = folder();
    fs::write(
        folder.path().join("kebne-data"),
        "a file where a folder is needed",
    )
    .unwrap();
    let program = Program::start(folder.path(), &[("KEBNE__SERVER__LEARNED_PATH", "")]);
    for answer in [
        program.send("POST", "/v1/sessions", &[], &Value::Null),
        program.send("GET", "/v1/sessions", &[], &Value::Null),
    ] {
        assert_eq!(answer.code(), (503, UNAVAILABLE.to_owned()));
    }
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", CHAT, &[(SESSION, "sess_a")], &body);
    assert_eq!(answer.code(), (503, UNAVAILABLE.to_owned()));
    serves_all_else(&program);
    fs::remove_file(folder.path().join("kebne-data")).unwrap();
    let session = program.session();
    assert_eq!(program.chat(&session, "one").status, 200);
}

#[test]
fn an_encryption_key_that_is_not_utf8_is_an_error_and_not_plain_text() {
    for variable in ["KEBNE_CONTEXT_KEY", "KEBNE_CONTEXT_OLD_KEYS"] {
        let folder = folder();
        let mut command = Program::command(folder.path(), &[]);
        command.env(variable, OsStr::from_bytes(b"\xff"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(variable), "{complaint}");
        assert!(complaint.contains("not UTF-8"), "{complaint}");
    }
}

#[test]
fn a_page_of_large_turns_is_bounded_and_goes_on_where_it_ended() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__CONTEXT__PAGE_BYTES_MAX", "256KiB")],
    );
    let session = program.session();
    // The simulated model repeats what it is told.
    for _ in 0..5 {
        let answer = program.chat(&session, &"a".repeat(50 << 10));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let path = format!("/v1/sessions/{session}/turns?limit=100&after=");
    let (mut after, mut seen) = (0, Vec::<Vec<u64>>::new());
    loop {
        let answer = program.send("GET", &format!("{path}{after}"), &[], &Value::Null);
        assert!(answer.body.len() < 257 << 10, "{}", answer.body.len());
        let page = answer.json();
        let numbers = page["data"].as_array().unwrap().iter();
        seen.push(
            numbers
                .map(|turn| turn["number"].as_u64().unwrap())
                .collect(),
        );
        if page["has_more"] == false {
            assert_eq!(page["next_after"], Value::Null);
            break;
        }
        after = page["next_after"].as_u64().unwrap();
    }
    assert_eq!(seen, [vec![1, 2], vec![3, 4], vec![5]]);
}

#[test]
fn a_rotated_key_keeps_the_sessions_of_its_tenant_and_those_of_earlier_versions() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let configure = |key: &str| {
        let hash = kebne::api_key::hash(key);
        let text = format!(
            "[[server.keys]]\nname = \"{key}\"\ntenant = \"ann\"\nhash = \"{hash}\"\n\
            [[backends]]\nname = \"simulated\"\nsimulation = {{ preset = \"instant\" }}\n"
        );
        fs::write(&config, text).unwrap();
        hash
    };
    let hash = configure("first");
    let mut program = Program::start_plain(folder.path(), &config);
    let authorized = |key: &str| format!("Bearer {key}");
    let read = |program: &Program, key: &str, path: &str| {
        let key = authorized(key);
        program.send("GET", path, &[("authorization", &key)], &Value::Null)
    };
    let key = authorized("first");
    let headers = [("authorization", key.as_str())];
    let made = program.send("POST", "/v1/sessions", &headers, &Value::Null);
    let path = format!("/v1/sessions/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(program.terminate(), Some(0));
    // As an earlier version kept it: the owner is the key's hash.
    let connection = rusqlite::Connection::open(file(&folder)).unwrap();
    let set = "UPDATE sessions SET owner = ?1";
    assert_eq!(connection.execute(set, [hash]).unwrap(), 1);
    drop(connection);
    let mut program = Program::start_plain(folder.path(), &config);
    assert_eq!(read(&program, "first", &path).status, 200);
    assert_eq!(program.terminate(), Some(0));
    configure("second");
    let program = Program::start_plain(folder.path(), &config);
    assert_eq!(read(&program, "first", &path).status, 401);
    assert_eq!(read(&program, "second", &path).status, 200);
    let list = read(&program, "second", "/v1/sessions").json();
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_tenant_holds_no_more_bytes_than_it_may() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__CONTEXT__OWNER_BYTES_MAX", "64KiB")],
    );
    let (first, second) = (program.session(), program.session());
    assert_eq!(program.chat(&first, &"a".repeat(20 << 10)).status, 200);
    let large = json!({"system_prompt": "a".repeat(40 << 10)});
    let path = format!("/v1/sessions/{second}");
    let full = program.send("POST", &path, &[], &large);
    assert_eq!(full.code(), (429, "session_bytes_full".to_owned()));
    assert!(
        full.body.contains("context.owner_bytes_max"),
        "{}",
        full.body
    );
    let kept = program.send("GET", &path, &[], &Value::Null).json();
    assert_eq!(kept["system_prompt"], Value::Null);
    let removed = program.send(
        "DELETE",
        &format!("/v1/sessions/{first}"),
        &[],
        &Value::Null,
    );
    assert_eq!(removed.status, 200);
    assert_eq!(program.send("POST", &path, &[], &large).status, 200);
}

#[test]
fn a_call_whose_turn_has_no_room_is_refused_before_the_model_is_called() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__CONTEXT__OWNER_BYTES_MAX", "64KiB")],
    );
    let session = program.session();
    let text = "a".repeat(20 << 10);
    // The simulated model repeats the text, so less than 24 KiB are left: messages of 20 KiB fit alone, but not with an
    // answer of some length.
    assert_eq!(program.chat(&session, &text).status, 200);
    let full = (429, "session_bytes_full".to_owned());
    for text in [&text, &"a".repeat(22 << 10)] {
        let refused = program.chat(&session, text);
        assert_eq!(refused.code(), full, "{}", refused.body);
    }
    // These messages and a short answer fit, but the answer repeats them.
    let refused = program.chat(&session, &"a".repeat(18 << 10));
    assert_eq!(refused.code(), full, "{}", refused.body);
    assert!(refused.has("x-should-retry: false"), "{}", refused.head);
    assert_eq!(program.chat(&session, "short").status, 200);
    // Kept responses have a quota of the same size.
    let respond = |body: Value| program.send("POST", "/v1/responses", &[], &body);
    let wide = "a".repeat(62 << 10);
    let refused = respond(json!({"model": "simulated", "input": wide, "store": true}));
    assert_eq!(refused.code(), full, "{}", refused.body);
    let answered = respond(json!({"model": "simulated", "input": wide}));
    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!(answered.json()["store"], false);
}

#[test]
fn a_page_that_its_caller_does_not_read_takes_part_in_the_budget_of_answers() {
    const SESSIONS: usize = 12;
    const PROMPT: usize = 1_000_000;
    let folder = folder();
    let variables = [
        ("KEBNE__CONTEXT__PAGE_BYTES_MAX", "16MiB"),
        ("KEBNE__CONTEXT__ANSWER_TIMEOUT", "2s"),
        ("KEBNE__SERVER__ANSWERS_SIZE_MAX", "16MiB"),
    ];
    let program = Program::start(folder.path(), &variables);
    let body = json!({"system_prompt": "a".repeat(PROMPT)});
    for _ in 0..SESSIONS {
        let made = program.send("POST", "/v1/sessions", &[], &body);
        assert_eq!(made.status, 200, "{}", made.body);
    }
    // More than the sockets between program and caller can hold.
    let path = "/v1/sessions?limit=100";
    let mut stalled = TcpStream::connect(program.address).unwrap();
    write!(
        stalled,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    stalled.read_exact(&mut [0; 12]).unwrap();
    let refused = program.send("GET", path, &[], &Value::Null);
    assert_eq!(refused.code(), (503, "answers_full".to_owned()));
    let mut page = String::new();
    stalled.read_to_string(&mut page).unwrap();
    assert!(page.len() > SESSIONS * PROMPT, "{}", page.len());
    assert_eq!(program.send("GET", path, &[], &Value::Null).status, 200);
    program.await_metric("kebne_answer_bytes 0.0");
}

/// Questions at once, more than the store answers in their time.
const BURST: usize = 600;

#[test]
fn a_burst_of_questions_ends_no_store_and_what_is_refused_is_not_done() {
    let folder = folder();
    let variables = [("KEBNE__CONTEXT__ANSWER_TIMEOUT", "1s")];
    let program = Program::start(folder.path(), &variables);
    program.session();
    let address = program.address;
    let callers: Vec<_> = (0..BURST)
        .map(|_| {
            thread::spawn(move || {
                let body = json!({"system_prompt": "a".repeat(50_000)}).to_string();
                let made = Program::exchange(address, "POST", "/v1/sessions", &[], &body).unwrap();
                if made.status == 503 {
                    assert_eq!(made.code().1, "session_store_unavailable");
                }
                made.status
            })
        })
        .collect();
    let statuses: Vec<u16> = callers
        .into_iter()
        .map(|caller| caller.join().unwrap())
        .collect();
    let made = statuses.iter().filter(|status| **status == 200);
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 503)),
        "{statuses:?}"
    );
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let actors = state["actors"].as_array().unwrap().iter();
    let mut manager =
        actors.filter(|actor| actor["path"].as_str().unwrap().ends_with("context-manager"));
    assert_eq!(manager.next().unwrap()["restarts"], 0);
    let database = Connection::open(folder.path().join("kebne-data/sessions.sqlite")).unwrap();
    let count = "SELECT count(*) FROM sessions";
    let kept: i64 = database.query_row(count, [], |row| row.get(0)).unwrap();
    let (kept, made) = (usize::try_from(kept).unwrap(), 1 + made.count());
    // A step that is being done at the moment at which its caller's time ends is done.
    assert!(
        (made..=made + 2).contains(&kept),
        "{kept} kept, {made} made, of {BURST}"
    );
}
