//! The corpus of stream quirks over the real HTTP path: what reaches the caller, and how it ends.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, folder},
    upstream::{in_front_of, whole},
};

fn corpus() -> BTreeMap<String, (String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("wire/corpus/openai-chat");
    let mut corpus = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "in") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let expected = fs::read_to_string(path.with_extension("out")).unwrap();
            corpus.insert(name, (fs::read_to_string(&path).unwrap(), expected));
        }
    }
    corpus
}

/// A model server that answers with the quirk that the caller's message names, and well to all else.
fn serve(corpus: BTreeMap<String, (String, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
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
            let request: Value = serde_json::from_slice(&body).unwrap();
            let name = request["messages"][0]["content"].as_str().unwrap();
            let answer = match corpus.get(name) {
                Some((stream, _)) => {
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{stream}"
                    )
                }
                None => whole("well"),
            };
            socket.write_all(answer.as_bytes()).ok();
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

#[test]
fn every_quirk_reaches_the_caller_as_its_file_says() {
    let corpus = corpus();
    let folder = folder();
    let limits = "limits = { attempts_max = 1 }\n";
    let program = in_front_of(folder.path(), &serve(corpus.clone()), limits);
    let ask = |content: &str| {
        let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": content}]});
        program.send("POST", CHAT, &[("x-kebne-deadline-ms", "3000")], &body)
    };
    for (name, (_, expected)) in &corpus {
        // A good answer between keeps the breaker from judging the quirks.
        assert_eq!(ask("well").status, 200, "{name}");
        let answer = ask(name);
        let body = without_chunks(&answer);
        let (events, end) = expected.trim_end().rsplit_once('!').unwrap();
        if end == "end" {
            assert_eq!((answer.status, body.as_str()), (200, events), "{name}");
            continue;
        }
        assert!(!answer.body.contains("[DONE]"), "{name}: {}", answer.body);
        assert!(answer.body.contains("\"error\""), "{name}: {}", answer.body);
        if events.is_empty() {
            assert!(answer.status >= 400, "{name}: {}", answer.body);
        } else {
            assert_eq!(answer.status, 200, "{name}: {}", answer.body);
            assert!(body.starts_with(events), "{name}: {body}");
        }
    }
}
