//! Functions: direct calls, routes that lead to them, and what they may do wrong.

mod calls;
mod events;
mod faults;
mod targets;

use std::{
    fs,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    guards::http,
    program::{Answer, Program},
    upstream::read_parts,
};

/// A call as a function gets it.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A function that passes on what it was asked and writes its answers with `write`, which gets the number of the call; returns its URL.
pub(crate) fn function_that(
    write: impl Fn(usize, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/function/f?v=1", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    let write = Arc::new(write);
    thread::spawn(move || {
        for (number, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let (head, body) = read_parts(&socket);
            if asked.send(Asked { head, body }).is_err() {
                return;
            }
            let write = Arc::clone(&write);
            thread::spawn(move || write(number, &mut socket).ok());
        }
    });
    (url, requests)
}

/// A function that answers with JSON.
pub(crate) fn function(
    answer: impl Fn(usize) -> Value + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Asked>) {
    function_that(move |number, socket| {
        socket.write_all(http("application/json", &answer(number).to_string()).as_bytes())
    })
}

/// Settings of one function `f`; keys of the function follow in `more`.
pub(crate) fn settings(url: &str, more: &str) -> String {
    format!("[[functions]]\nname = \"f\"\nurl = \"{url}\"\n{more}")
}

pub(crate) fn start(folder: &Path, text: &str) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

pub(crate) fn call(program: &Program, name: &str, input: &Value) -> Answer {
    program.send("POST", &format!("/v1/functions/{name}"), &[], input)
}

pub(crate) fn next(requests: &mpsc::Receiver<Asked>) -> Asked {
    requests.recv_timeout(Duration::from_secs(30)).unwrap()
}

/// Returns the number of calls that came and were not taken.
pub(crate) fn count(requests: &mpsc::Receiver<Asked>) -> usize {
    requests.try_iter().count()
}

pub(crate) fn hello() -> Value {
    json!({"text": "hello"})
}
