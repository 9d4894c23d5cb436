//! What the gateway asks models by itself is paid for by those on whose behalf it asks: memory, collections and searches.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    collections::{STORES, form},
    program::{Answer, CHAT, Program, SESSION, folder},
    upstream::read_parts,
};

/// A server of chats (100 tokens each), summaries and facts (40 tokens), and vectors (7 tokens a call).
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (_, body) = read_parts(&socket);
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            let answer = answer(&body).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            socket.write_all((head + &answer).as_bytes()).ok();
        }
    });
    url
}

fn answer(body: &Value) -> Value {
    if let Some(input) = body["input"].as_array() {
        let vectors =
            (0..input.len()).map(|index| json!({"index": index, "embedding": [1.0, 2.0, index]}));
        let vectors: Vec<Value> = vectors.collect();
        return json!({"object": "list", "data": vectors, "usage": {"prompt_tokens": 7, "total_tokens": 7}});
    }
    let system = body["messages"][0]["content"].as_str().unwrap_or_default();
    let (text, tokens) = if system.starts_with("You extract") {
        ("[{\"text\": \"Has a dog\", \"turns\": [1]}]", (30, 10))
    } else if system.starts_with("You keep") {
        ("The user has a dog.", (30, 10))
    } else {
        ("ok", (60, 40))
    };
    json!({"id": "1", "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens.0, "completion_tokens": tokens.1}})
}

/// Starts a gateway with the keys `root`, `ann` and `bob`, each a tenant of its own; `budget` is that of `ann` in tokens.
fn start(folder: &Path, budget: u64) -> Program {
    let url = server();
    let key = |name: &str, more: &str| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}")
    };
    let model = |name: &str, price: &str| {
        format!(
            "[[backends]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
             [[models]]\nname = \"{name}\"\nbackends = [\"{name}\"]\n{price}"
        )
    };
    let text = format!(
        "{}{}{}{}{}{}[embedder]\nmodel = \"vectors\"\n[context]\ntokens_max = 300\n[context.memory]\nsummary_model = \"small\"\n\
         facts_model = \"small\"\nsummarize_after = 1\nfacts_after = 1\nhistory_tokens_min = 50\nsummary_tokens_max = 100\n\
         facts_tokens_max = 50\nrecall_tokens_max = 50\n",
        key("root", "scopes = [\"admin\", \"read_state\", \"call\"]\n"),
        key(
            "ann",
            &format!("[[server.keys.limits.budgets]]\ntokens = {budget}\nper = \"day\"\n")
        ),
        key("bob", ""),
        model("chat", ""),
        model("small", "[models.price]\ninput = 1000\noutput = 1000\n"),
        model("vectors", "[models.price]\ninput = 1000\n"),
    );
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn send(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    program.send(method, path, &[("authorization", &bearer)], body)
}

fn session(program: &Program, key: &str) -> String {
    let made = send(program, key, "POST", "/v1/sessions", &Value::Null).json();
    made["id"].as_str().unwrap().to_owned()
}

fn chat(program: &Program, key: &str, session: &str) -> Answer {
    let text = format!("I have a dog {}", "word ".repeat(120));
    let body =
        json!({"model": "chat", "max_tokens": 40, "messages": [{"role": "user", "content": text}]});
    let bearer = format!("Bearer {key}");
    program.send(
        "POST",
        CHAT,
        &[("authorization", &bearer), (SESSION, session)],
        &body,
    )
}

/// Returns the value of a metric; 0 if it is not there.
fn metric(program: &Program, series: &str) -> f64 {
    let text = send(program, "root", "GET", "/metrics", &Value::Null).body;
    let value = text.lines().find_map(|line| line.strip_prefix(series));
    value.map_or(0.0, |value| value.trim().parse().unwrap())
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(
            since.elapsed() < Duration::from_secs(40),
            "not in 40 s: {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the tokens that the account of a key has used today.
fn used(program: &Program, key: &str) -> u64 {
    let path = format!("/admin/v1/keys/settings:{key}/usage");
    let usage = send(program, "root", "GET", &path, &Value::Null);
    assert_eq!(usage.status, 200, "{}", usage.body);
    usage.json()["usage"]["today"]["tokens"].as_u64().unwrap()
}

fn import(program: &Program, key: &str, text: &str) -> String {
    let store = send(program, key, "POST", STORES, &json!({"name": "x"})).json();
    let id = store["id"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {key}");
    let body = form(None, &[("a.txt", text)]);
    let kind = "multipart/form-data; boundary=xyz";
    let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
    let path = format!("{STORES}/{id}/documents");
    let imported = program.try_send("POST", &path, &headers, &body).unwrap();
    assert_eq!(imported.status, 200, "{}", imported.body);
    id
}

fn completed(program: &Program, key: &str, store: &str) -> u64 {
    let shown = send(
        program,
        key,
        "GET",
        &format!("{STORES}/{store}"),
        &Value::Null,
    )
    .json();
    shown["file_counts"]["completed"].as_u64().unwrap()
}

#[test]
fn summaries_facts_and_vectors_are_paid_for_by_the_key_of_the_tenant() {
    let folder = folder();
    let program = start(folder.path(), 1_000_000);
    let id = session(&program, "ann");
    for _ in 0..4 {
        let answer = chat(&program, "ann", &id);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let inner = |what: &str, purpose: &str, key: &str| {
        let currency = if what == "cost" {
            ",currency=\"USD\""
        } else {
            ""
        };
        let series =
            format!("kebne_inner_{what}_total{{purpose=\"{purpose}\",key=\"{key}\"{currency}}} ");
        metric(&program, &series)
    };
    for purpose in ["summary", "facts"] {
        until(purpose, || inner("tokens", purpose, "ann") >= 40.0);
        // A price of 1000 per million.
        let (tokens, cost) = (
            inner("tokens", purpose, "ann"),
            inner("cost", purpose, "ann"),
        );
        assert!(
            cost >= 0.04 && (cost - tokens / 1000.0).abs() < 0.081,
            "{tokens} {cost}"
        );
    }
    let store = import(&program, "ann", "The lake is 70 kilometres long.");
    until("the file is read", || {
        completed(&program, "ann", &store) == 1
    });
    let before = inner("tokens", "embedding", "ann");
    assert!(before >= 7.0, "{before}");
    let search = json!({"query": "lake"});
    let path = format!("{STORES}/{store}/search");
    assert_eq!(send(&program, "ann", "POST", &path, &search).status, 200);
    assert!(inner("tokens", "embedding", "ann") >= before + 7.0);
    // They count in the account beside the four calls.
    until("the account has all of it", || {
        let purposes = ["summary", "facts", "embedding"];
        let inner: f64 = purposes
            .iter()
            .map(|purpose| inner("tokens", purpose, "ann"))
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let used = used(&program, "ann") as f64;
        used >= 400.0 + inner && inner >= 87.0
    });
    assert!(used(&program, "bob") == 0 && inner("tokens", "summary", "bob") == 0.0);
}

#[test]
fn a_tenant_whose_budget_is_used_up_is_told_and_others_go_on() {
    let folder = folder();
    // Enough for two calls, which reserve more than they use.
    let program = start(folder.path(), 600);
    let id = session(&program, "ann");
    while chat(&program, "ann", &id).status == 200 {}
    let refused = chat(&program, "ann", &id);
    assert_eq!(refused.code(), (429, "insufficient_quota".to_owned()));
    let state = || send(&program, "root", "GET", "/state", &Value::Null).json();
    until("memory waits for money", || {
        state()["memory"]["unpaid"].as_u64().unwrap() > 0
    });
    assert_eq!(state()["memory"]["failures"], 0);
    let hers = import(
        &program,
        "ann",
        &"The lake is 70 kilometres long. ".repeat(150),
    );
    until("the file waits for money", || {
        state()["embedding"]["unpaid"] == 1
    });
    let his = import(&program, "bob", "The mountain is 2096 metres high.");
    until("the other tenant's file is read", || {
        completed(&program, "bob", &his) == 1
    });
    assert_eq!(completed(&program, "ann", &hers), 0);
    let embedding = state()["embedding"].clone();
    assert_eq!(embedding["away"], Value::Null, "{embedding}");
    // A search goes on by words.
    let path = format!("{STORES}/{hers}/search");
    let search = json!({"query": "lake ".repeat(600)});
    let found = send(&program, "ann", "POST", &path, &search);
    assert_eq!(found.status, 200, "{}", found.body);
    assert_eq!(found.json()["ranking"]["vectors"], false, "{}", found.body);
}
