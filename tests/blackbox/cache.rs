//! Kept and shared answers.

mod same;
mod semantic;
mod shared;
mod tenants;

use std::{
    fs,
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::upstream,
};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

const ON: &str = "[models.cache]\nexact = true\n";

const PRICE: &str = "[models.price]\ninput = 2\noutput = 10\n";

fn body(body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// An answer that names the number of its request, with its tokens.
fn numbered(number: usize) -> String {
    let message = json!({"role": "assistant", "content": format!("answer {number}")});
    body(
        &json!({"id": "1", "object": "chat.completion", "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}),
    )
}

fn piece(text: &str) -> String {
    let delta = json!({"id": "1", "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {delta}\n\n")
}

const STOP: &str = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\
    \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// Starts the program in front of a backend `b` with the model `m`. `more` follows the model.
fn program(folder: &Path, url: &str, more: &str) -> Program {
    Program::start_plain(folder, &configured(folder, url, more))
}

fn configured(folder: &Path, url: &str, more: &str) -> std::path::PathBuf {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[log]\nformat = \"json\"\n[log.requests]\nfile = \"requests.log\"\n\
         [[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"m\"\naliases = [\"alias\"]\nbackends = [\"b\"]\n{more}"
    );
    fs::write(&config, text).unwrap();
    config
}

fn keys(names: &[&str]) -> String {
    let keys = names.iter().map(|name| {
        let hash = hex::encode(Sha256::digest(format!("key of {name}")));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [\"call\", \"read_state\", \"admin\"]\nnames_tenants = true\n")
    });
    keys.collect()
}

fn question(text: &str) -> Value {
    json!({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}]})
}

fn ask(program: &Program, body: &Value) -> Answer {
    program.send("POST", CHAT, &[], body)
}

/// Returns the outcome that the header names.
fn outcome(answer: &Answer) -> &str {
    header(answer, "x-kebne-cache").unwrap_or("")
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        (found == name).then_some(value.trim())
    })
}

fn count(requests: &mpsc::Receiver<Value>) -> usize {
    requests.try_iter().count()
}

/// Asks until the answer is kept: it is kept after it was sent.
fn await_hit(program: &Program, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let since = Instant::now();
    loop {
        let answer = program.send("POST", path, headers, body);
        if outcome(&answer) == "hit" {
            return answer;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{}", answer.head);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_same_call_is_answered_from_the_cache_and_costs_nothing() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let program = program(folder.path(), &url, &[ON, PRICE].concat());
    let first = ask(&program, &question("a"));
    assert_eq!((first.status, outcome(&first)), (200, "miss"));
    assert_eq!(header(&first, "x-kebne-lane"), Some("b"));
    // A call that comes before the answer is kept is a call of its own.
    program.await_metric("kebne_cache_entries 1.0");
    // In another order, with another name of the model.
    let same = json!({"messages": [{"content": "a", "role": "user"}], "temperature": 0.0, "model": "alias", "stream": false});
    let hit = await_hit(&program, CHAT, &[], &same);
    assert_eq!(hit.body, first.body);
    assert!(header(&hit, "age").unwrap().parse::<u64>().unwrap() < 60);
    assert_eq!(header(&hit, "x-kebne-lane"), None);
    assert_eq!(count(&requests), 1);
    let other = ask(&program, &question("b"));
    assert_eq!(outcome(&other), "miss");
    assert_ne!(other.body, first.body);
    program.await_metric(r#"kebne_requests_total{model="m",ending="success"} 3"#);
    program.await_metric(r#"kebne_cache_calls_total{model="m",result="hit"} 1"#);
    program.await_metric(r#"kebne_cache_calls_total{model="m",result="miss"} 2"#);
    program.await_metric(r#"kebne_cache_saved_tokens_total{model="m"} 1100"#);
    program.await_metric(r#"kebne_cache_saved_cost_total{model="m",currency="USD"} 0.003"#);
    // Two answers were paid for.
    program.await_metric(r#"kebne_cost_total{model="m",currency="USD",basis="reported"} 0.006"#);
    program.await_metric("kebne_cache_entries 2.0");
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["cache"]["models"]["m"]["calls"]["hit"], 1);
    let log = fs::read_to_string(folder.path().join("requests.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let hits: Vec<&Value> = lines.iter().filter(|line| line["cache"] == "hit").collect();
    assert_eq!(hits.len(), 1, "{log}");
    assert_eq!(
        (&hits[0]["saved_tokens"], &hits[0]["cost"]),
        (&json!(1100), &json!(0.0))
    );
    assert_eq!(
        (&hits[0]["attempts"], &hits[0]["ending"]),
        (&json!(0), &json!("success"))
    );
}

#[test]
fn what_may_not_be_kept_is_asked_each_time_and_the_reason_is_counted() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let program = program(folder.path(), &url, ON);
    let with = |key: &str, value: Value| {
        let mut body = question("a");
        body[key] = value;
        body
    };
    let mut absent = question("a");
    absent.as_object_mut().unwrap().remove("temperature");
    let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {}}}]);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]}]);
    let cases = [
        (absent, "temperature"),
        (with("temperature", json!(0.1)), "temperature"),
        (with("tools", tool), "tools"),
        (with("n", json!(2)), "choices"),
        (with("store", json!(true)), "stored"),
        (with("messages", image), "files"),
        (with("plugins", json!([{"id": "web"}])), "tools"),
        (with("enable_search", json!(true)), "tools"),
    ];
    for (body, reason) in &cases {
        for _ in 0..2 {
            let answer = ask(&program, body);
            assert_eq!(
                (answer.status, outcome(&answer)),
                (200, "bypass"),
                "{reason}: {}",
                answer.body
            );
        }
        assert_eq!(count(&requests), 2, "{reason}");
    }
    let no_store = [("cache-control", "no-store")];
    for _ in 0..2 {
        let answer = program.send("POST", CHAT, &no_store, &question("a"));
        assert_eq!(outcome(&answer), "bypass");
    }
    assert_eq!(count(&requests), 2);
    let session = program.send("POST", "/v1/sessions", &[], &json!({})).json();
    let of_session = [("x-kebne-session", session["id"].as_str().unwrap())];
    for _ in 0..2 {
        let answer = program.send("POST", CHAT, &of_session, &question("a"));
        assert_eq!((answer.status, outcome(&answer)), (200, "bypass"));
    }
    program.await_metric(r#"kebne_cache_bypasses_total{model="m",reason="temperature"} 4"#);
    program.await_metric(r#"kebne_cache_bypasses_total{model="m",reason="caller"} 2"#);
    program.await_metric(r#"kebne_cache_bypasses_total{model="m",reason="session"} 2"#);
    program.await_metric("kebne_cache_entries 0.0");
}

#[test]
fn answers_that_are_not_complete_and_errors_are_not_kept() {
    let folder = folder();
    let (url, requests) = upstream(|number| {
        match number {
        0 | 1 => body(&json!({"choices": [{"index": 0, "message": {"content": "cut"}, "finish_reason": "length"}]})),
        2 | 3 => "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"wrong\"}}"[..]
            .replace("27", "29"),
        number => numbered(number),
    }
    });
    let program = program(folder.path(), &url, ON);
    for status in [200, 200, 400, 400, 200] {
        let answer = ask(&program, &question("a"));
        assert_eq!(
            (answer.status, outcome(&answer)),
            (status, "miss"),
            "{}",
            answer.body
        );
        // What is kept is kept after the answer.
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(count(&requests), 5);
    assert_eq!(
        outcome(&await_hit(&program, CHAT, &[], &question("a"))),
        "hit"
    );
}

#[test]
fn the_directives_of_the_caller_hold() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let more = "[models.cache]\nexact = true\nttl = \"2s\"\nstale_max = \"1min\"\n";
    let program = program(folder.path(), &url, more);
    let with = |value: &str, text: &str| {
        program.send("POST", CHAT, &[("cache-control", value)], &question(text))
    };
    let none = with("only-if-cached", "a");
    assert_eq!((none.status, outcome(&none)), (504, "miss"));
    assert_eq!(header(&none, "x-kebne-reason"), Some("not_cached"));
    assert_eq!(count(&requests), 0);
    let first = with("no-cache", "a");
    assert_eq!(outcome(&first), "miss");
    let hit = await_hit(&program, CHAT, &[], &question("a"));
    assert_eq!(hit.body, first.body);
    let only = with("only-if-cached", "a");
    assert_eq!((only.status, outcome(&only)), (200, "hit"));
    let new = with("no-cache", "a");
    assert_eq!(outcome(&new), "miss");
    assert_ne!(new.body, first.body);
    assert_eq!(count(&requests), 2);
    let since = Instant::now();
    while with("only-if-cached", "a").status == 200 {
        assert!(since.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(50));
    }
    let stale = with("only-if-cached, max-stale", "a");
    assert_eq!((stale.status, outcome(&stale)), (200, "stale"));
    assert!(header(&stale, "age").unwrap().parse::<u64>().unwrap() >= 2);
    assert_eq!(stale.body, new.body);
    assert_eq!(outcome(&with("max-age=1", "a")), "miss");
    await_hit(&program, CHAT, &[], &question("a"));
    for unreadable in ["max-age=-1", "max-age=abc", "max-age"] {
        // Older than 0 s.
        thread::sleep(Duration::from_millis(20));
        let answer = with(unreadable, "a");
        assert_eq!(
            (answer.status, outcome(&answer)),
            (200, "miss"),
            "{unreadable}"
        );
    }
}
