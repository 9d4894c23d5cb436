//! Keys that are created while the service runs, and budgets: in parallel, with callers that leave, and after a kill.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{silent_after, upstream_that},
};

const KEYS: &str = "/admin/v1/keys";

/// Settings with an administrator's key, and a backend whose answers report 60 tokens.
fn settings(folder: &Path, url: &str, more: &str) -> PathBuf {
    let hash = hex::encode(Sha256::digest(b"root"));
    let text = format!(
        "{more}\n[[server.keys]]\nname = \"root\"\nhash = \"{hash}\"\nscopes = [\"admin\", \"read_state\", \"call\"]\n\
         [[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"simulated\"\nbackends = [\"b\"]\n[models.price]\ninput = 1000\noutput = 1000\n"
    );
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    config
}

/// A backend whose answers take `time` and report 60 tokens.
fn backend(time: Duration) -> String {
    let (url, requests) = upstream_that(move |_, socket| {
        use std::io::Write as _;
        thread::sleep(time);
        let message = json!({"role": "assistant", "content": "a"});
        let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 10}});
        let body = body.to_string();
        let length = body.len();
        write!(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    url
}

fn send(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    program.send(method, path, &[("authorization", &bearer)], body)
}

fn admin(program: &Program, method: &str, path: &str, body: &Value) -> Answer {
    send(program, "root", method, path, body)
}

/// Creates a key; returns its id and the key.
fn create(program: &Program, body: &Value) -> (String, String) {
    let answer = admin(program, "POST", KEYS, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Makes a call that may use 54 tokens by its estimate.
fn call(program: &Program, key: &str) -> Answer {
    let body = json!({"model": "simulated", "max_tokens": 50, "messages": [{"role": "user", "content": "a"}]});
    send(program, key, "POST", CHAT, &body)
}

fn usage(program: &Program, id: &str) -> Value {
    let answer = admin(program, "GET", &format!("{KEYS}/{id}/usage"), &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Waits until no call of the key is in progress, and returns its usage.
fn settled(program: &Program, id: &str) -> Value {
    let since = Instant::now();
    loop {
        let usage = usage(program, id);
        if usage["usage"]["running"] == 0 {
            return usage;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{usage}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_answer_says_what_is_left_of_the_limits_per_minute() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let group = "[[accounts.groups]]\nname = \"team\"\nlimits = { requests_per_minute = 3 }\n";
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, group));
    let limits = json!({"requests_per_minute": 100, "tokens_per_minute": 1000});
    let (id, key) = create(
        &program,
        &json!({"name": "a", "group": "team", "limits": limits}),
    );
    let number = |answer: &Answer, name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
    // A busy machine may take long enough for a call more.
    let mut answers: Vec<Answer> = Vec::new();
    while answers.last().is_none_or(|last| last.status == 200) {
        assert!(answers.len() < 50);
        answers.push(call(&program, &key));
        settled(&program, &id);
    }
    let refused = answers.pop().unwrap();
    assert!(answers.len() >= 3);
    assert_eq!(number(&answers[0], "x-ratelimit-remaining-requests"), 2);
    for answer in &answers {
        // Of the key and its group, the one with less is shown.
        assert_eq!(number(answer, "x-ratelimit-limit-requests"), 3);
        assert!(number(answer, "x-ratelimit-remaining-requests") < 3);
        assert_eq!(number(answer, "x-ratelimit-limit-tokens"), 1000);
        assert!(number(answer, "x-ratelimit-remaining-tokens") < 1000);
        let reset = answer.header("x-ratelimit-reset-requests").unwrap();
        assert!(reset.ends_with('s'), "{reset}");
    }
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
    let message = json!({"model": "simulated", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]});
    let refused = send(&program, &key, "POST", "/v1/messages", &message);
    assert_eq!(
        number(&refused, "anthropic-ratelimit-requests-remaining"),
        0
    );
    assert!(
        refused
            .header("anthropic-ratelimit-requests-reset")
            .unwrap()
            .contains('t')
    );
    // A key without such limits has no such headers.
    let (_, free) = create(&program, &json!({"name": "b"}));
    assert!(!call(&program, &free).head.contains("ratelimit"));
}

#[test]
fn a_key_with_a_budget_creates_no_batches() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let group = "[[accounts.groups]]\nname = \"team\"\nlimits = { tokens_per_minute = 9 }\n";
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, group));
    let batch = json!({"input_file_id": "file_1", "endpoint": CHAT, "completion_window": "24h"});
    let budget = json!({"budgets": [{"tokens": 9}]});
    for (more, expected) in [
        (
            json!({"name": "budget", "limits": budget}),
            (403, "not_allowed"),
        ),
        (
            json!({"name": "group", "group": "team"}),
            (403, "not_allowed"),
        ),
    ] {
        let (_, key) = create(&program, &more);
        let answer = send(&program, &key, "POST", "/v1/batches", &batch);
        assert_eq!(answer.code(), (expected.0, expected.1.to_owned()), "{more}");
    }
    // Without one, the batch is looked at.
    let (_, key) = create(
        &program,
        &json!({"name": "free", "limits": {"requests_at_once": 9}}),
    );
    let answer = send(&program, &key, "POST", "/v1/batches", &batch);
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[test]
fn a_key_is_created_changed_rotated_and_revoked_without_a_restart() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, ""));
    let (id, key) = create(&program, &json!({"name": "ann"}));
    assert_eq!(call(&program, &key).status, 200);
    let path = format!("{KEYS}/{id}");
    let shown = admin(&program, "GET", &path, &Value::Null);
    assert!(
        !shown.body.contains(&key) && !shown.body.contains("hash"),
        "{}",
        shown.body
    );
    let file = fs::read(folder.path().join("kebne-data/accounts.sqlite")).unwrap();
    assert!(!file.windows(key.len()).any(|part| part == key.as_bytes()));
    let changed = admin(&program, "POST", &path, &json!({"scopes": ["read_state"]}));
    assert_eq!(changed.json()["name"], "ann");
    assert_eq!(
        call(&program, &key).code(),
        (403, "insufficient_scope".to_owned())
    );
    assert_eq!(
        admin(&program, "POST", &path, &json!({"scopes": ["call"]})).status,
        200
    );
    let rotated = admin(
        &program,
        "POST",
        &format!("{path}/rotate"),
        &json!({"overlap_seconds": 600}),
    );
    let second = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(
        (call(&program, &key).status, call(&program, &second).status),
        (200, 200)
    );
    let rotated = admin(&program, "POST", &format!("{path}/rotate"), &Value::Null);
    let third = rotated.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(
        (
            call(&program, &second).status,
            call(&program, &third).status
        ),
        (401, 200)
    );
    let list = admin(&program, "GET", KEYS, &Value::Null).json();
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| &key["name"])
        .collect();
    assert_eq!(names, ["root", "ann"]);
    assert_eq!(
        send(&program, &third, "GET", KEYS, &Value::Null).status,
        403
    );
    assert_eq!(admin(&program, "DELETE", &path, &Value::Null).status, 200);
    assert_eq!(call(&program, &third).status, 401);
    assert_eq!(admin(&program, "GET", &path, &Value::Null).status, 404);
    for (method, body) in [("POST", json!({"priority": 3})), ("DELETE", Value::Null)] {
        let refused = admin(&program, method, &format!("{KEYS}/settings:root"), &body);
        assert_eq!(refused.code(), (409, "conflict".to_owned()));
    }
}

#[test]
fn a_wrong_field_of_a_key_is_named() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, ""));
    create(&program, &json!({"name": "ann"}));
    for (body, param) in [
        (json!({}), "name"),
        (json!({"name": "ann"}), "name"),
        (json!({"name": "root"}), "name"),
        (json!({"name": "x", "hash": "00"}), "hash"),
        (json!({"name": "x", "scopes": ["all"]}), "scopes"),
        (json!({"name": "x", "models": ["none"]}), "models"),
        (json!({"name": "x", "group": "none"}), "group"),
        (json!({"name": "x", "priority": 10}), "priority"),
        (json!({"name": "x", "weight": 0}), "weight"),
        (
            json!({"name": "x", "limits": {"requests_at_once": 0}}),
            "limits.requests_at_once",
        ),
        (
            json!({"name": "x", "limits": {"budgets": [{"per": "day"}]}}),
            "limits.budgets[0]",
        ),
    ] {
        let answer = admin(&program, "POST", KEYS, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(
            answer.json()["error"]["param"],
            param,
            "{body}: {}",
            answer.body
        );
    }
}

#[test]
fn a_budget_is_not_overspent_by_calls_at_once_and_a_refusal_is_never_retried() {
    let folder = folder();
    let url = backend(Duration::from_millis(30));
    let groups = "[[accounts.groups]]\nname = \"acme\"\n[[accounts.groups.limits.budgets]]\nmoney = 0.9\n\
        [[accounts.groups]]\nname = \"search\"\nparent = \"acme\"\n";
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, groups));
    let keys: Vec<_> = (0..2)
        .map(|number| {
            create(
                &program,
                &json!({"name": format!("key {number}"), "group": "search"}),
            )
        })
        .collect();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let (program, keys) = (&program, &keys);
        let callers: Vec<_> = (0..8)
            .map(|number| {
                let key = &keys[number % 2].1;
                scope.spawn(move || (0..6).map(|_| call(program, key)).collect::<Vec<_>>())
            })
            .collect();
        callers
            .into_iter()
            .flat_map(|caller| caller.join().unwrap())
            .collect()
    });
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    // Each costs 0.06, and reserves a little more.
    assert!((10..=15).contains(&served), "{served}");
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.code(), (429, "insufficient_quota".to_owned()));
        assert_eq!(refused.header("x-should-retry"), Some("false"));
        assert!(
            !refused.has("retry-after") && refused.body.contains("`acme`"),
            "{}",
            refused.body
        );
    }
    let sum: u64 = keys
        .iter()
        .map(|(id, _)| {
            settled(&program, id)["usage"]["month"]["tokens"]
                .as_u64()
                .unwrap()
        })
        .sum();
    assert_eq!(sum, 60 * served as u64);
    let metrics = admin(&program, "GET", "/metrics", &Value::Null).body;
    let line = "kebne_budget_used_ratio{account=\"group/acme\",period=\"month\"} ";
    let used = metrics
        .lines()
        .find_map(|metric| metric.strip_prefix(line))
        .unwrap();
    let expected = f64::from(u32::try_from(served).unwrap()) * 0.06 / 0.9;
    assert!(
        (used.parse::<f64>().unwrap() - expected).abs() < 0.002,
        "{used}"
    );
}

#[test]
fn requests_per_minute_and_at_once_are_bounded_and_say_when_to_come_back() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, ""));
    let (_, key) = create(
        &program,
        &json!({"name": "slow", "limits": {"requests_per_minute": 3}}),
    );
    let answers: Vec<_> = (0..4).map(|_| call(&program, &key)).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(answers[3].json()["error"]["type"], "requests");
    let wait: u64 = answers[3].header("retry-after").unwrap().parse().unwrap();
    assert!((10..=30).contains(&wait), "{wait}");
}

#[test]
fn callers_that_leave_give_back_what_they_reserved() {
    let folder = folder();
    let server = silent_after(String::new());
    let config = settings(folder.path(), &server.url, "");
    let program = Program::start_plain(folder.path(), &config);
    let limits = json!({"requests_at_once": 1, "budgets": [{"tokens": 1000}]});
    let (id, key) = create(&program, &json!({"name": "leaver", "limits": limits}));
    for _ in 0..5 {
        use std::io::Write as _;
        let body = json!({"model": "simulated", "max_tokens": 900, "messages": [{"role": "user", "content": "a"}]}).to_string();
        let mut socket = std::net::TcpStream::connect(program.address).unwrap();
        let length = body.len();
        write!(
            socket,
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        server.asked.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(usage(&program, &id)["usage"]["running"], 1);
        drop(socket);
        let usage = settled(&program, &id);
        assert_eq!(usage["usage"]["reserved"]["tokens"], 0, "{usage}");
    }
    let usage = settled(&program, &id);
    assert_eq!(usage["usage"]["month"]["calls"], 5);
    // The estimate of their input.
    let tokens = usage["usage"]["month"]["tokens"].as_u64().unwrap();
    assert!(tokens < 200, "{usage}");
}

#[test]
fn a_kill_loses_no_usage_that_was_shown_and_no_key() {
    let folder = folder();
    let url = backend(Duration::from_millis(2));
    let config = settings(folder.path(), &url, "");
    let program = Program::start_plain(folder.path(), &config);
    let limits = json!({"budgets": [{"tokens": 6000}]});
    let (id, key) = create(&program, &json!({"name": "ann", "limits": limits}));
    let shown = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| (0..10).for_each(|_| assert_eq!(call(&program, &key).status, 200)))
            })
            .collect();
        let mut shown = 0;
        while !callers.iter().all(thread::ScopedJoinHandle::is_finished) {
            shown = usage(&program, &id)["usage"]["month"]["tokens"]
                .as_u64()
                .unwrap();
        }
        for caller in callers {
            caller.join().unwrap();
        }
        shown
    });
    let all = settled(&program, &id);
    assert_eq!(
        (&all["stored"], &all["usage"]["month"]["tokens"]),
        (&json!(true), &json!(2400))
    );
    assert!(shown <= 2400);
    // The signal of a kill: nothing is written any more.
    drop(program);
    let program = Program::start_plain(folder.path(), &config);
    let after = usage(&program, &id);
    assert_eq!(after["usage"]["month"], all["usage"]["month"]);
    let rest = (0..100)
        .take_while(|_| call(&program, &key).status == 200)
        .count();
    // The calls are refused when less is left than one may use.
    assert!((57..=60).contains(&rest), "{rest}");
}

#[test]
fn a_store_that_is_gone_stops_no_call_and_is_shown() {
    let folder = folder();
    let url = backend(Duration::ZERO);
    let program = Program::start_plain(folder.path(), &settings(folder.path(), &url, ""));
    let (id, key) = create(
        &program,
        &json!({"name": "ann", "limits": {"budgets": [{"tokens": 200}]}}),
    );
    let file = folder.path().join("kebne-data/accounts.sqlite");
    let aside = folder.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    assert_eq!(call(&program, &key).status, 200);
    assert_eq!(usage(&program, &id)["stored"], false);
    let refused = admin(&program, "POST", KEYS, &json!({"name": "bob"}));
    assert_eq!(
        refused.code(),
        (503, "account_store_unavailable".to_owned())
    );
    let state = admin(&program, "GET", "/state", &Value::Null).json();
    assert_eq!(state["accounts"]["store"], "unavailable", "{state}");
    let metrics = admin(&program, "GET", "/metrics", &Value::Null).body;
    assert!(metrics.contains("kebne_account_store_up 0.0"), "{metrics}");
    assert_eq!(
        (call(&program, &key).status, call(&program, &key).status),
        (200, 200)
    );
    assert_eq!(
        call(&program, &key).code(),
        (429, "insufficient_quota".to_owned())
    );
    fs::rename(&aside, &file).unwrap();
    let back = usage(&program, &id);
    assert_eq!(
        (&back["stored"], &back["usage"]["month"]["calls"]),
        (&json!(true), &json!(3))
    );
}
