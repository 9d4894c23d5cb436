//! The live page and what it reads, as a browser asks for them.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{CHAT, Program, folder};

/// The first events of a live view.
pub(crate) struct Live(BufReader<TcpStream>);

impl Live {
    /// Opens the view; the status must be 200.
    pub(crate) fn open(program: &Program, headers: &str) -> Self {
        let mut socket = TcpStream::connect(program.address).unwrap();
        let timeout = Some(Duration::from_secs(20));
        socket.set_read_timeout(timeout).unwrap();
        write!(
            socket,
            "GET /live HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"
        )
        .unwrap();
        let mut lines = BufReader::new(socket);
        let mut status = String::new();
        lines.read_line(&mut status).unwrap();
        assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
        Self(lines)
    }

    /// Reads on to the next event of this name.
    pub(crate) fn next(&mut self, name: &str) -> Value {
        let mut found = false;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the view ended");
            if let Some(data) = line.strip_prefix("data: ")
                && found
            {
                return serde_json::from_str(data).unwrap();
            }
            found = line.trim_end() == format!("event: {name}");
        }
    }
}

/// Returns what does not change from one second to the next of the actors.
fn actors(state: &Value) -> Vec<[Value; 4]> {
    let actors = state["actors"].as_array().unwrap().iter();
    let fields = ["path", "state", "restarts", "last_failure"];
    actors
        .map(|actor| fields.map(|field| actor[field].clone()))
        .collect()
}

fn call(program: &Program) {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &[], &body).status, 200);
}

/// Returns the names of the files that a text of the page names.
fn files(text: &str) -> Vec<String> {
    let places = text.split(['"', '\'']);
    let names = places.filter_map(|part| part.strip_prefix("/page/").or(part.strip_prefix("./")));
    names.map(str::to_owned).collect()
}

#[test]
fn the_page_is_whole_and_loads_nothing_else() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let page = program.send("GET", "/", &[], &Value::Null);
    assert_eq!(page.status, 200);
    let mut wanted = files(&page.body);
    let mut seen = Vec::new();
    while let Some(name) = wanted.pop() {
        if seen.contains(&name) {
            continue;
        }
        let file = program.send("GET", &format!("/page/{name}"), &[], &Value::Null);
        assert_eq!(file.status, 200, "{name}");
        let outside = file.body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !outside.contains("http://") && !outside.contains("https://"),
            "{name}"
        );
        wanted.extend(files(&file.body));
        seen.push(name);
    }
    assert!(seen.len() >= 9, "{seen:?}");
    for inline in [
        "<style",
        " style=",
        " onclick=",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!page.body.contains(inline), "{inline}");
    }
    assert_eq!(page.body.matches("<script").count(), 1);
}

#[test]
fn the_page_forbids_what_it_does_not_need_and_is_not_sent_twice() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for path in ["/", "/page/main.js", "/page/style.css"] {
        let answer = program.send("GET", path, &[], &Value::Null);
        for header in [
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
        ] {
            assert!(
                answer.has(header),
                "{path}: no `{header}` in {}",
                answer.head
            );
        }
        let policy = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("content-security-policy: "));
        let policy = policy.unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = answer
            .head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "));
        let tag = tag.unwrap().to_owned();
        let again = program.send(
            "GET",
            path,
            &[("if-none-match", &format!("\"x\", W/{tag}"))],
            &Value::Null,
        );
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        assert!(again.has(&format!("etag: {tag}")), "{}", again.head);
        let other = program.send("GET", path, &[("if-none-match", "\"x\"")], &Value::Null);
        assert_eq!(other.status, 200, "{path}");
        let head = program.send("HEAD", path, &[], &Value::Null);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    let missing = program.send("GET", "/page/nothing.js", &[], &Value::Null);
    assert_eq!(missing.code(), (404, "not_found".to_owned()));
    let up = program.send("GET", "/page/..%2fmain.rs", &[], &Value::Null);
    assert_eq!(up.status, 404);
}

#[test]
fn the_live_view_shows_what_the_state_shows() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let mut live = Live::open(&program, "");
    let history = live.next("history");
    assert_eq!(history["every_ms"], 1000);
    let width = history["columns"].as_array().unwrap().len();
    for _ in 0..5 {
        call(&program);
    }
    let sample = loop {
        let sample = live.next("sample");
        if sample["lanes"][0]["endings"]["ended"]["success"] == 5 {
            break sample;
        }
    };
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    for field in ["version", "draining", "dead_letters"] {
        assert_eq!(sample[field], state[field], "{field}");
    }
    assert_eq!(actors(&sample), actors(&state));
    assert_eq!(sample["sessions"]["store"], state["sessions"]["store"]);
    let (shown, lane) = (&sample["lanes"][0], &state["lanes"][0]);
    for field in [
        "name",
        "state",
        "closed",
        "endings",
        "failures",
        "last_failure",
        "state_changes",
        "worker_restarts",
    ] {
        assert_eq!(shown[field], lane[field], "{field}");
    }
    assert_eq!(shown["limit"], lane["controller"]["grant"]["concurrency"]);
    assert_eq!(shown["in_flight"], lane["pool"]["in_flight"]);
    assert_eq!(shown["queued"], lane["pool"]["queued"]);
    assert_eq!(shown["retry_budget"], lane["pool"]["retry_budget"]);
    assert_eq!(shown["first_token"]["calls"], 5);
    assert_eq!(shown["point"].as_array().unwrap().len(), width);
    assert_eq!(
        shown["sentence"],
        "Nobody waits: 0 of 2 places are taken; the limit is still growing."
    );
    // A new watcher sees the points before it.
    let past = Live::open(&program, "").next("history");
    assert_eq!(past["lanes"][0]["name"], "simulated");
    assert!(!past["lanes"][0]["points"].as_array().unwrap().is_empty());
}

#[test]
fn each_verdict_of_the_state_is_explained_in_a_sentence() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__PRESET", "default"),
        ("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "0s"),
        ("KEBNE__BACKENDS__0__SIMULATION__CAPACITY", "1"),
        ("KEBNE__BACKENDS__0__SIMULATION__FAILURE_SHARE", "0"),
        ("KEBNE__BACKENDS__0__SIMULATION__TOKEN_TIME", "2ms"),
        ("KEBNE__BACKENDS__0__SIMULATION__LATENCY", "50ms"),
    ];
    let program = Program::start(folder.path(), &variables);
    // Calls at once that the model refuses: the limit falls, and a verdict says so.
    let verdicts = || {
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        state["lanes"][0]["verdicts"].as_array().unwrap().clone()
    };
    let since = Instant::now();
    while verdicts().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30), "no verdict");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| call(&program));
            }
        });
    }
    let mut live = Live::open(&program, "");
    let (state, shown) = loop {
        let before = verdicts();
        let sample = live.next("sample");
        let shown = sample["lanes"][0]["verdicts"].as_array().unwrap().clone();
        if before.len() == shown.len() && before == verdicts() {
            break (before, shown);
        }
    };
    for (raw, shown) in state.iter().rev().zip(&shown) {
        assert_eq!(*raw, shown["text"]);
        let sentence = shown["sentence"].as_str().unwrap();
        let begins_well = sentence.starts_with(|letter: char| letter.is_uppercase());
        assert!(begins_well && sentence.ends_with('.'), "{sentence}");
        assert!(!raw.as_str().unwrap().contains(sentence), "{sentence}");
    }
}

#[test]
fn the_files_need_no_key_and_the_live_view_shows_none() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let hash = |key: &str| hex::encode(Sha256::digest(key.as_bytes()));
    let settings = format!(
        "[[server.keys]]\nname = \"team\"\nhash = \"{}\"\n\
         [[server.keys]]\nname = \"operator\"\nhash = \"{}\"\nscopes = [\"read_state\", \"call\"]\n\
         [[backends]]\nname = \"simulated\"\nsimulation = {{preset = \"instant\"}}\n",
        hash("secret-of-team"),
        hash("secret-of-operator"),
    );
    fs::write(&config, settings).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    assert_eq!(program.send("GET", "/", &[], &Value::Null).status, 200);
    assert_eq!(
        program
            .send("GET", "/page/main.js", &[], &Value::Null)
            .status,
        200
    );
    let without = program.send("GET", "/live", &[], &Value::Null);
    assert_eq!(without.code(), (401, "invalid_api_key".to_owned()));
    let caller = [("authorization", "Bearer secret-of-team")];
    let refused = program.send("GET", "/live", &caller, &Value::Null);
    assert_eq!(refused.code(), (403, "insufficient_scope".to_owned()));
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &caller, &body).status, 200);
    let reader = [("authorization", "Bearer secret-of-operator")];
    let lab = program.send("POST", "/lab/simulated/overload", &reader, &Value::Null);
    assert_eq!(lab.code(), (403, "insufficient_scope".to_owned()));
    let mut live = Live::open(&program, "authorization: Bearer secret-of-operator\r\n");
    let keys = loop {
        let sample = live.next("sample");
        assert!(!sample.to_string().contains("secret-of"), "{sample}");
        if sample["keys"][0]["calls"] == 1 {
            break sample["keys"].clone();
        }
    };
    let (team, operator) = (&keys[0], &keys[1]);
    assert_eq!(
        (&team["name"], &operator["name"]),
        (&json!("team"), &json!("operator"))
    );
    assert_eq!((&team["calls"], &team["in_flight"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&operator["calls"], &operator["tokens"]),
        (&json!(0), &json!(0))
    );
    assert!(team["tokens"].as_u64().unwrap() > 0, "{keys}");
}

#[test]
fn watchers_that_read_nothing_delay_neither_calls_nor_the_stop() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    let watchers: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut socket = TcpStream::connect(program.address).unwrap();
            write!(socket, "GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            socket
        })
        .collect();
    for _ in 0..20 {
        call(&program);
    }
    let since = Instant::now();
    assert_eq!(program.terminate(), Some(0));
    let took = since.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    // The view ends in order: the last chunk is there.
    let mut text = String::new();
    let mut first = watchers.into_iter().next().unwrap();
    first.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\r\n0\r\n\r\n"), "{}", text.len());
    assert!(text.contains("event: history\n"), "{text}");
}

#[test]
fn the_lab_puts_a_model_to_sleep_and_overloads_it() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__PRESET", "default"),
        ("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "500ms"),
        ("KEBNE__BACKENDS__0__SIMULATION__FAILURE_SHARE", "0"),
    ];
    let program = Program::start(folder.path(), &variables);
    let json = [("content-type", "application/json")];
    let lab = |path: &str| program.try_send("POST", path, &json, "").unwrap();
    let missing = lab("/lab/nothing/overload");
    assert_eq!(missing.code(), (404, "not_found".to_owned()));
    call(&program);
    let started = lab("/lab/simulated/cold-start");
    assert_eq!(started.status, 202, "{}", started.body);
    let calls = started.json()["calls"].as_u64().unwrap();
    let again = lab("/lab/simulated/overload");
    assert_eq!(again.code(), (409, "conflict".to_owned()));
    // The calls of the lab are calls like any other, and wait for the model to load.
    program.await_metric(&format!(
        "kebne_requests_total{{model=\"simulated\",ending=\"success\"}} {}",
        calls + 1
    ));
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let changes = state["lanes"][0]["state_changes"].to_string();
    let slept = changes.contains("ramp->cold") || changes.contains("steady->cold");
    assert!(slept, "{changes}");
    let over = lab("/lab/simulated/overload");
    assert_eq!(over.status, 202, "{}", over.body);
    let calls = over.json()["calls"].as_u64().unwrap();
    assert!((100..1200).contains(&calls), "{calls}");
}
