//! Operations of which only the model's name is read.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::program::{Program, folder};

/// A server that answers each request with `answer`, and hands over what it got.
fn server(answer: &'static [u8]) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !is_whole(&request) {
                let read = socket.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
                if read == 0 {
                    break;
                }
            }
            socket.write_all(answer).unwrap();
            if tell.send(String::from_utf8(request).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse::<usize>().unwrap())
}

fn program(folder: &Path, url: &str) -> Program {
    let config = folder.join("kebne.toml");
    let backend =
        format!("name = \"own\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"theirs\"\n");
    fs::write(&config, format!("[[backends]]\n{backend}")).unwrap();
    Program::start_plain(folder, &config)
}

#[test]
fn only_the_models_name_is_read_and_the_answer_comes_back_as_it_is() {
    let folder = folder();
    let (url, requests) = server(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 4\r\nconnection: close\r\n\r\nMP3!");
    let program = program(folder.path(), &url);
    for path in [
        "audio/speech",
        "images/generations",
        "rerank",
        "moderations",
    ] {
        let body = r#"{"input": "a", "model": "own", "any": [1e2]}"#;
        let path = format!("/v1/{path}");
        let headers = [("traceparent", "00-a-b-01"), ("cookie", "secret")];
        let answer = program.try_send("POST", &path, &headers, body).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "MP3!"));
        assert!(answer.has("content-type: audio/mpeg"), "{}", answer.head);
        assert!(answer.has("x-kebne-lane: own"), "{}", answer.head);
        let sent = requests.recv().unwrap();
        assert!(
            sent.starts_with(&format!("POST {path} HTTP/1.1\r\n")),
            "{sent}"
        );
        assert!(
            sent.contains("traceparent: 00-a-b-01") && !sent.contains("secret"),
            "{sent}"
        );
        let body = body.replace("own", "theirs");
        assert_eq!(sent.split_once("\r\n\r\n").unwrap().1, body);
    }
    program.await_metric(r#"kebne_requests_total{model="own",ending="success"} 4"#);
}

#[test]
fn a_form_goes_up_with_its_type_and_the_backends_name_of_the_model() {
    let folder = folder();
    let (url, requests) = server(b"HTTP/1.1 200 OK\r\ncontent-type: text/vtt\r\ncontent-length: 6\r\nconnection: close\r\n\r\nWEBVTT");
    let program = program(folder.path(), &url);
    let form = |model: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b--\r\n"
        )
    };
    let kind = ("content-type", "multipart/form-data; boundary=b");
    for path in ["/v1/audio/transcriptions", "/v1/audio/translations"] {
        let answer = program
            .try_send("POST", path, &[kind], &form("own"))
            .unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "WEBVTT"));
        assert!(answer.has("content-type: text/vtt"), "{}", answer.head);
        let sent = requests.recv().unwrap();
        let (head, body) = sent.split_once("\r\n\r\n").unwrap();
        let kinds = head.to_lowercase();
        let kinds: Vec<&str> = kinds
            .lines()
            .filter(|line| line.starts_with("content-type:"))
            .collect();
        assert_eq!(kinds, ["content-type: multipart/form-data; boundary=b"]);
        assert_eq!(body, form("theirs"));
    }
    let unknown = program.try_send("POST", "/v1/audio/transcriptions", &[kind], &form("none"));
    assert_eq!(unknown.unwrap().status, 404);
    let broken = program
        .try_send("POST", "/v1/audio/transcriptions", &[kind], "--b")
        .unwrap();
    assert_eq!(
        (broken.status, &broken.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
}

#[test]
fn an_error_under_status_200_is_an_error_and_a_backend_without_the_operation_says_so() {
    let folder = folder();
    let (url, _requests) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 73\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"no such voice\",\"type\":\"invalid_request_error\"}}     ");
    let program = program(folder.path(), &url);
    let body = json!({"model": "own", "input": "a"});
    let answer = program.send("POST", "/v1/audio/speech", &[], &body);
    assert_eq!(
        (answer.status, &answer.json()["error"]["message"]),
        (400, &json!("no such voice"))
    );
    let get = program.send("GET", "/v1/audio/speech", &[], &Value::Null);
    assert_eq!(get.status, 405);
    drop(program);
    let simulated = Program::start(folder.path(), &[]);
    let body = json!({"model": "simulated", "input": "a"});
    assert_eq!(simulated.send("POST", "/v1/rerank", &[], &body).status, 400);
}
