//! Vector stores whose embedder is a model behind a slow lane: a kill, another model, and a model that is away.

use std::{
    collections::HashMap,
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    collections::{Caller, STORES, form},
    program::{Program, folder},
    upstream::{in_front_of, read_parts, upstream},
};

/// A server of embeddings. A vector has 8 components, which count the letters of its text by their codes.
struct Model {
    url: String,
    /// How often each text was embedded.
    embedded: Arc<Mutex<HashMap<String, u32>>>,
    is_away: Arc<AtomicBool>,
    /// The time that each call takes, in milliseconds.
    delay: Arc<AtomicU64>,
}

impl Model {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let model = Self {
            url,
            embedded: Arc::default(),
            is_away: Arc::default(),
            delay: Arc::new(AtomicU64::new(150)),
        };
        let embedded = Arc::clone(&model.embedded);
        let (is_away, delay) = (Arc::clone(&model.is_away), Arc::clone(&model.delay));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let (_, body) = read_parts(&socket);
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                thread::sleep(Duration::from_millis(delay.load(SeqCst)));
                let (status, answer) = if is_away.load(SeqCst) {
                    (
                        "503 Service Unavailable",
                        json!({"error": {"message": "loading"}}),
                    )
                } else {
                    ("200 OK", answer(&body, &embedded))
                };
                let answer = answer.to_string();
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    answer.len()
                );
                // The caller may have been killed.
                socket.write_all((head + &answer).as_bytes()).ok();
            }
        });
        model
    }

    fn texts(&self) -> usize {
        self.embedded.lock().unwrap().len()
    }

    fn program(&self, folder: &Path, version: &str) -> Program {
        let config = folder.join("kebne.toml");
        let text = format!(
            "[[backends]]\nname = \"letters\"\nkind = \"openai\"\nbase_url = \"{}\"\n\
             [[models]]\nname = \"letters\"\nbackends = [\"letters\"]\n\
             [embedder]\nmodel = \"letters\"\nversion = \"{version}\"\nbatch_max = 32\ntimeout = \"2s\"\n",
            self.url
        );
        fs::write(&config, text).unwrap();
        Program::start_plain(folder, &config)
    }
}

fn answer(body: &Value, embedded: &Mutex<HashMap<String, u32>>) -> Value {
    let texts = body["input"].as_array().cloned().unwrap_or_default();
    let vectors = texts.iter().enumerate().map(|(index, text)| {
        let text = text.as_str().unwrap_or_default();
        *embedded.lock().unwrap().entry(text.to_owned()).or_default() += 1;
        let mut counts = [1_u32; 8];
        for byte in text.bytes() {
            counts[usize::from(byte % 8)] += 1;
        }
        json!({"object": "embedding", "index": index, "embedding": counts})
    });
    let data: Vec<Value> = vectors.collect();
    json!({"object": "list", "model": "letters", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})
}

fn until(what: impl Fn() -> bool) {
    let since = Instant::now();
    while !what() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "it did not happen"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Creates a vector store with so many texts, each in a line of its own.
fn store(caller: &Caller<'_>, texts: usize) -> String {
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let lines: Vec<String> = (0..texts)
        .map(|at| format!("\"text{at} about item{at}\"\n"))
        .collect();
    let path = format!("{STORES}/{id}/documents");
    let answer = caller.send_form(&path, &form(None, &[("lines.jsonl", &lines.concat())]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    id
}

fn metric(caller: &Caller<'_>, name: &str) -> f64 {
    let answer = caller.program.send("GET", "/metrics", &[], &Value::Null);
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_kill_while_a_slow_model_embeds_loses_nothing_and_repeats_one_batch_at_most() {
    let (folder, model) = (folder(), Model::start());
    let mut program = model.program(folder.path(), "");
    let id = {
        let caller = Caller {
            program: &program,
            key: None,
        };
        let id = store(&caller, 200);
        until(|| model.texts() >= 96);
        id
    };
    program.signal("KILL");
    program.child.wait().unwrap();
    drop(program);
    let program = model.program(folder.path(), "");
    let caller = Caller {
        program: &program,
        key: None,
    };
    let store = caller.await_read(&id);
    let failed = caller.get(&format!("{STORES}/{id}/files?filter=failed"));
    assert_eq!(store["file_counts"]["completed"], 1, "{failed}");
    let embedded = model.embedded.lock().unwrap().clone();
    let documents = (0..200).map(|at| embedded[&format!("text{at} about item{at}")]);
    let documents: Vec<u32> = documents.collect();
    let twice = documents.iter().filter(|times| **times > 1).count();
    assert!(
        twice <= 32 && documents.iter().all(|times| *times <= 2),
        "{documents:?}"
    );
    let database = folder.path().join("kebne-data/collections.sqlite");
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT count(*), count(DISTINCT place), max(attempts) FROM chunks JOIN members ON members.number = member";
    let counts: (i64, i64, i64) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!(counts, (200, 200, 0));
    let search = format!("{STORES}/{id}/search");
    let found = caller.post(&search, &json!({"query": "item77"}));
    assert_eq!(
        found["data"][0]["content"][0]["text"],
        "text77 about item77"
    );
}

#[test]
fn another_version_of_the_model_makes_all_vectors_anew_while_searches_go_on() {
    let (folder, model) = (folder(), Model::start());
    model.delay.store(5, SeqCst);
    let mut program = model.program(folder.path(), "1");
    let id = {
        let caller = Caller {
            program: &program,
            key: None,
        };
        let id = store(&caller, 150);
        caller.await_read(&id);
        id
    };
    assert_eq!(program.terminate(), Some(0));
    drop(program);
    model.is_away.store(true, SeqCst);
    let program = model.program(folder.path(), "2");
    let caller = Caller {
        program: &program,
        key: None,
    };
    let search = format!("{STORES}/{id}/search");
    let best = || caller.post(&search, &json!({"query": "item42"}))["data"][0].clone();
    // The model is away: by words.
    assert_eq!(best()["content"][0]["text"], "text42 about item42");
    until(|| metric(&caller, "kebne_collection_embedder_up") < 0.5);
    assert!((metric(&caller, "kebne_collection_chunks_waiting") - 150.0).abs() < 0.5);
    let shown = &caller.get("/state")["embedding"];
    assert_eq!(shown["waiting"], 150);
    assert!(shown["away"].is_string(), "{shown}");
    model.is_away.store(false, SeqCst);
    until(|| metric(&caller, "kebne_collection_chunks_waiting") < 0.5);
    assert_eq!(best()["content"][0]["text"], "text42 about item42");
    assert!((metric(&caller, "kebne_collection_chunks_embedded_total") - 150.0).abs() < 0.5);
    let embedded = model.embedded.lock().unwrap().clone();
    let twice = (0..150).filter(|at| embedded[&format!("text{at} about item{at}")] == 2);
    assert_eq!(twice.count(), 150);
}

#[test]
fn a_vector_that_is_not_finite_is_an_error_of_the_backend() {
    for number in ["Infinity", "-Infinity", "NaN"] {
        let folder = folder();
        let (url, _requests) = upstream(move |_| {
            let body = format!(
                r#"{{"object": "list", "data": [{{"object": "embedding", "index": 0, "embedding": [0.5, {number}]}}]}}"#
            );
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        });
        let program = in_front_of(folder.path(), &url, "");
        let body = json!({"model": "simulated", "input": "lake"});
        let answer = program.send("POST", "/v1/embeddings", &[], &body);
        assert!(answer.status >= 500, "{number}: {}", answer.body);
        assert!(!answer.body.contains("9999"), "{number}: {}", answer.body);
    }
}
