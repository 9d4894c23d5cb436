//! The corpus of quirks over the real HTTP path: what reaches the caller, and how it ends.

use std::{collections::BTreeMap, fs, io::Write, net::TcpListener, path::PathBuf};

use bytes::Bytes;
use kebne_wire::{
    anthropic::MessageFramer, framing::Framing, responses::ResponseFramer, stream::Framer,
};
use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::read_parts,
};

/// One way of a dialect through the program.
struct Way {
    /// The folder of the corpus.
    folder: &'static str,
    /// The ending of the files with what callers get.
    result: &'static str,
    /// The settings of the backend.
    backend: &'static str,
    /// The API that is called.
    path: &'static str,
    stream: bool,
    /// A quirk that is none.
    good: &'static str,
}

type Corpus = BTreeMap<String, (Vec<u8>, String)>;

fn corpus(way: &Way) -> Corpus {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("wire/corpus")
        .join(way.folder);
    let mut corpus = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "in") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let expected = fs::read_to_string(path.with_extension(way.result)).unwrap();
            corpus.insert(name, (fs::read(&path).unwrap(), expected));
        }
    }
    corpus
}

/// A model server that answers with the quirk that the caller's message names.
fn serve(corpus: Corpus, stream: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (_, body) = read_parts(&socket);
            let named = body.split("quirk <").nth(1).unwrap();
            let (bytes, _) = &corpus[named.split('>').next().unwrap()];
            let kind = if stream {
                "text/event-stream"
            } else {
                "application/json"
            };
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
            socket.write_all(&[head.as_bytes(), bytes].concat()).ok();
        }
    });
    url
}

/// Returns the body without the framing of its chunks.
fn without_chunks(answer: &Answer) -> String {
    if !answer.head.contains("transfer-encoding: chunked") {
        return answer.body.clone();
    }
    let (mut body, mut rest) = (String::new(), answer.body.as_str());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body += &after[..size];
        rest = &after[size + 2..];
    }
    body
}

/// Returns `true` if a part of the answer goes to the caller before the stream is known to be lost.
fn speaks(way: &Way, stream: &[u8]) -> bool {
    let mut framing: Box<dyn Framing> = match way.folder {
        "openai-chat" => Box::new(Framer::new(1 << 20, 1)),
        "messages" => Box::new(MessageFramer::new(1 << 20, None)),
        _ => Box::new(ResponseFramer::new(1 << 20)),
    };
    framing.push(Bytes::copy_from_slice(stream));
    framing.has_spoken()
}

/// Replaces what depends on the time of the call.
fn without_time(body: &str) -> String {
    let mut parts = body.split("\"created\":");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "\"created\":0";
        text += part.trim_start_matches(|digit: char| digit.is_ascii_digit());
    }
    text
}

fn call(way: &Way, quirk: &str) -> Value {
    let content = format!("quirk <{quirk}>");
    let mut call = json!({"model": "simulated", "stream": way.stream});
    if way.path == "/v1/responses" {
        call["input"] = content.into();
        return call;
    }
    call["messages"] = json!([{"role": "user", "content": content}]);
    if way.folder == "messages" && way.path == CHAT {
        call["stream_options"] = json!({"include_usage": true});
    }
    if way.path == "/v1/messages" {
        call["max_tokens"] = 9.into();
    }
    call
}

/// Sends every quirk through the program.
fn check(way: &Way) {
    let corpus = corpus(way);
    let folder = folder();
    let url = serve(corpus.clone(), way.stream);
    let config = folder.path().join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"simulated\"\nbase_url = \"{url}\"\n{}\nlimits = {{ attempts_max = 1 }}\n",
        way.backend
    );
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let ask = |quirk: &str| {
        let headers = [("x-kebne-deadline-ms", "3000")];
        program.send("POST", way.path, &headers, &call(way, quirk))
    };
    for (name, (bytes, expected)) in &corpus {
        // A good answer between keeps the breaker from judging the quirks.
        assert_eq!(ask(way.good).status, 200, "{name}");
        let answer = ask(name);
        let body = without_chunks(&answer);
        let body = if way.folder == "messages" && way.path == CHAT {
            without_time(&body)
        } else {
            body
        };
        let (events, end) = expected.trim_end().rsplit_once('!').unwrap();
        let at = format!("{}/{name} on {}: {}", way.folder, way.path, answer.body);
        if end == "end" {
            assert_eq!((answer.status, body.as_str()), (200, events), "{at}");
            continue;
        }
        assert!(!body.contains("[DONE]"), "{at}");
        assert!(body.contains("\"error\""), "{at}");
        if way.stream && speaks(way, bytes) {
            assert_eq!(answer.status, 200, "{at}");
            assert!(body.starts_with(events), "{at}");
        } else {
            assert!(answer.status >= 400, "{at}");
        }
    }
}

#[test]
fn every_quirk_of_a_chat_reaches_the_caller_as_its_file_says() {
    check(&Way {
        folder: "openai-chat",
        result: "out",
        backend: "kind = \"openai\"",
        path: CHAT,
        stream: true,
        good: "plain",
    });
}

#[test]
fn every_quirk_of_a_message_reaches_callers_of_messages() {
    check(&Way {
        folder: "messages",
        result: "out",
        backend: "kind = \"anthropic\"",
        path: "/v1/messages",
        stream: true,
        good: "plain",
    });
}

#[test]
fn every_quirk_of_a_message_reaches_callers_of_chat() {
    check(&Way {
        folder: "messages",
        result: "chat",
        backend: "kind = \"anthropic\"",
        path: CHAT,
        stream: true,
        good: "plain",
    });
}

#[test]
fn every_quirk_of_a_whole_answer_reaches_the_caller_as_its_file_says() {
    check(&Way {
        folder: "whole",
        result: "out",
        backend: "kind = \"openai\"",
        path: CHAT,
        stream: false,
        good: "openai",
    });
}
