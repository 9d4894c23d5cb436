//! Memory of sessions: summaries and facts by a model, the search, branches, export and import.

mod background;
mod branches;
mod facts;
mod lines;
mod past;

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    program::{Answer, Program},
    upstream::{read_parts, whole},
};

/// Keeps answers back until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.0.0.lock().unwrap();
        while !*is_open {
            is_open = self.0.1.wait(is_open).unwrap();
        }
    }
}

/// A model that summarizes and extracts facts, once the gate is open. It passes on what it was asked.
fn small_model(gate: Gate) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket: TcpStream = socket.unwrap();
            let (gate, tell) = (gate.clone(), tell.clone());
            thread::spawn(move || {
                let (_, body) = read_parts(&socket);
                let Ok(request) = serde_json::from_str::<Value>(&body) else {
                    return;
                };
                let system = request["messages"][0]["content"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                tell.send(request).ok();
                gate.pass();
                let text = if system.starts_with("You extract") {
                    r#"[{"text": "The dog is called Rex", "turns": [1]}]"#
                } else {
                    "The user has a dog called Rex."
                };
                socket.write_all(whole(text).as_bytes()).ok();
            });
        }
    });
    (url, asked)
}

fn start(folder: &Path, url: &str, small: &str, memory: &str) -> Program {
    let config = folder.join("kebne.toml");
    let backend = |name: &str, url: &str| {
        format!("[[backends]]\nname = \"{name}\"\nkind = \"openai\"\nbase_url = \"{url}\"\n")
    };
    let text = format!(
        "[context]\ntokens_max = 500\n[context.memory]\n{memory}\n{}{}",
        backend("simulated", url),
        backend("small", small)
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

const MEMORY: &str = "summary_model = \"small\"\nfacts_model = \"small\"\nsummarize_after = 2\nfacts_after = 2\n\
    history_tokens_min = 100\nsummary_tokens_max = 150\nfacts_tokens_max = 100\nrecall_tokens_max = 150";

fn of(session: &str, rest: &str) -> String {
    format!("/v1/sessions/{session}{rest}")
}

fn get(program: &Program, path: &str) -> Value {
    let answer = program.send("GET", path, &[], &Value::Null);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn post(program: &Program, path: &str, body: &Value) -> Value {
    let answer = program.send("POST", path, &[], body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

/// Waits until a list is not empty; the bound is wide because the machine may be busy.
fn await_items(program: &Program, path: &str) -> Vec<Value> {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let list = get(program, path);
        let items = list["data"].as_array().unwrap().clone();
        if !items.is_empty() {
            return items;
        }
        assert!(Instant::now() < until, "{path} stays empty");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the body of an answer that was sent in chunks.
fn dechunked(answer: &Answer) -> String {
    if !answer.has("transfer-encoding: chunked") {
        return answer.body.clone();
    }
    let (mut rest, mut body) = (answer.body.as_str(), String::new());
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

fn long(topic: &str) -> String {
    format!("{topic} {}", "word ".repeat(60))
}
