//! A model server of the test's own.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::Program;

/// A model server that passes on what it was asked and answers what the test wants.
pub(crate) fn upstream(
    answer: impl Fn(usize) -> String + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Value>) {
    upstream_that(move |number, socket| socket.write_all(answer(number).as_bytes()))
}

/// A model server that passes on what it was asked and writes its answers with `write`, each on a thread of its own.
pub(crate) fn upstream_that(
    write: impl Fn(usize, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    let write = Arc::new(write);
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            // A caller that is killed leaves in the middle of its request.
            let Ok((_, body)) = try_read_parts(&socket) else {
                continue;
            };
            if asked.send(serde_json::from_str(&body).unwrap()).is_err() {
                return;
            }
            let write = Arc::clone(&write);
            thread::spawn(move || write(number, &mut socket).ok());
        }
    });
    (url, requests)
}

/// Reads a request; returns its head and its body.
pub(crate) fn read_parts(socket: &TcpStream) -> (String, String) {
    try_read_parts(socket).unwrap()
}

/// Reads a request as [`read_parts`] does; fails if the connection ends before the request does.
fn try_read_parts(socket: &TcpStream) -> io::Result<(String, String)> {
    let mut reader = BufReader::new(socket.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, String::from_utf8(body).unwrap()))
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

/// A model server that writes `said` and then nothing.
pub(crate) struct Silent {
    pub(crate) url: String,
    /// Receives a value when a request has arrived.
    pub(crate) asked: mpsc::Receiver<()>,
    /// Receives the time at which the caller has closed its connection.
    pub(crate) closed: mpsc::Receiver<Instant>,
}

pub(crate) fn silent_after(said: String) -> Silent {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (begin, asked) = mpsc::channel();
    let (end, closed) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = [0; 4096];
            if !socket.read(&mut request).is_ok_and(|read| read > 0) {
                continue;
            }
            begin.send(()).ok();
            socket.write_all(said.as_bytes()).ok();
            // Whatever else comes is part of the request; the end is the caller's.
            while socket.read(&mut request).is_ok_and(|read| read > 0) {}
            end.send(Instant::now()).ok();
        }
    });
    Silent { url, asked, closed }
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
