//! A model server of the test's own.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::Program;

/// A model server that tells what it was asked and answers what the test wants.
pub(crate) fn upstream(
    answer: impl Fn(usize) -> String + Send + 'static,
) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if asked.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
            socket.write_all(answer(number).as_bytes()).ok();
        }
    });
    (url, requests)
}

pub(crate) fn whole(text: &str) -> String {
    let message = json!({"role": "assistant", "content": text, "refusal": null});
    let body = json!({"id": "1", "object": "chat.completion", "choices": [
        {"index": 0, "message": message, "finish_reason": "stop"}
    ]});
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

pub(crate) fn in_front_of(folder: &Path, url: &str, more: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[context]\ntokens_max = 60\n[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{more}"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

/// Returns the next request that came.
pub(crate) fn asked_raw(requests: &mpsc::Receiver<Value>) -> Value {
    requests.recv_timeout(Duration::from_secs(30)).unwrap()
}

pub(crate) fn asked(requests: &mpsc::Receiver<Value>) -> Vec<String> {
    let request = requests.recv_timeout(Duration::from_secs(30)).unwrap();
    let messages = request["messages"].as_array().unwrap();
    let texts = messages.iter().map(|message| {
        let role = &message["role"].as_str().unwrap()[..1];
        format!("{role} {}", message["content"].as_str().unwrap())
    });
    texts.collect()
}

/// A model server that says `said` and then nothing; tells when each caller has closed its connection.
pub(crate) fn silent_after(said: String) -> (String, mpsc::Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, closed) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = [0; 4096];
            if socket.read(&mut request).is_err() {
                continue;
            }
            socket.write_all(said.as_bytes()).ok();
            // Whatever else comes is part of the request; the end is the caller's.
            while socket.read(&mut request).is_ok_and(|read| read > 0) {}
            if tell.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    (url, closed)
}

/// A backend that ends with the test.
pub(crate) struct Backend(Child);

impl Drop for Backend {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts `kebne simulate`; returns it and its URL.
pub(crate) fn simulated(arguments: &[&str], variables: &[(&str, &str)]) -> (Backend, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .args(["simulate", "--port", "0"])
        .args(arguments)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut said).unwrap();
    let url = said.trim().rsplit(' ').next().unwrap().to_owned();
    (Backend(child), url)
}
