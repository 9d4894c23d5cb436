//! Files and batches of a backend, which belong to the key's tenant that created them.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::program::{Answer, Program, folder};

const JSON: &str = "application/json";

/// What came: the first line without the version, the content type and the body.
type Seen = (String, String, Vec<u8>);

/// A backend with files and batches that tells what it was asked.
fn provider() -> (String, mpsc::Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            let (mut first, mut length, mut kind) = (String::new(), 0, String::new());
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.to_lowercase().starts_with("content-type:") {
                    line.split_once(": ")
                        .unwrap()
                        .1
                        .trim()
                        .clone_into(&mut kind);
                }
                if first.is_empty() {
                    line.rsplit_once(' ').unwrap().0.clone_into(&mut first);
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let file = json!({"id": "file-up", "object": "file", "purpose": "batch", "filename": "a.jsonl"});
            let batch = json!({
                "id": "batch_up", "object": "batch", "status": "completed", "error": null,
                "input_file_id": "file-up", "output_file_id": "file-out", "error_file_id": null,
            });
            let (status, answer) = match first.as_str() {
                "POST /v1/files" | "GET /v1/files/file-up" => (200, file.to_string()),
                "DELETE /v1/files/file-up" => {
                    (200, json!({"id": "file-up", "deleted": true}).to_string())
                }
                "GET /v1/files/file-out/content" => {
                    (200, "{\"error\":{\"message\":\"a line\"}}".to_owned())
                }
                "POST /v1/batches"
                | "GET /v1/batches/batch_up"
                | "POST /v1/batches/batch_up/cancel" => (200, batch.to_string()),
                _ => (
                    404,
                    json!({"error": {"message": "no such object"}}).to_string(),
                ),
            };
            tell.send((first, kind, body)).ok();
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-type: {JSON}\r\nconnection: close\r\n");
            let length = answer.len();
            let answer = format!("{head}content-length: {length}\r\n\r\n{answer}");
            socket.write_all(answer.as_bytes()).ok();
        }
    });
    (url, seen)
}

fn start(folder: &Path, url: &str, apis: &str) -> Program {
    let key = |name: &str, more: &str| {
        let hash = kebne::api_key::hash(name);
        format!("[[server.keys]]\nname = '{name}'\nhash = '{hash}'\n{more}\n")
    };
    let keys = [
        key("ann", ""),
        key("bob", ""),
        key("one", "models = ['up']"),
    ]
    .concat();
    let backend =
        format!("[[backends]]\nname = 'up'\nkind = 'openai'\nbase_url = '{url}'\napis = {apis}\n");
    let config = folder.join("kebne.toml");
    fs::write(&config, format!("{keys}{backend}")).unwrap();
    Program::start_plain(folder, &config)
}

fn send(program: &Program, who: &str, method: &str, path: &str, body: &Value) -> Answer {
    program.send(
        method,
        path,
        &[("authorization", &format!("Bearer {who}"))],
        body,
    )
}

const APIS: &str = "['files', 'batches']";

/// Uploads a file and creates its batch; returns the ids of both and of the batch's output.
fn make(program: &Program, seen: &mpsc::Receiver<Seen>) -> [String; 3] {
    let file = send(program, "ann", "POST", "/v1/files", &json!("the form"));
    assert_eq!(file.status, 200, "{}", file.body);
    let (line, kind, body) = seen.recv().unwrap();
    assert_eq!((line.as_str(), kind.as_str()), ("POST /v1/files", JSON));
    assert_eq!(body, b"\"the form\"");
    let file = file.json();
    assert_eq!(
        (&file["object"], &file["filename"]),
        (&json!("file"), &json!("a.jsonl"))
    );
    let batch = send(
        program,
        "ann",
        "POST",
        "/v1/batches",
        &batch_of(&file["id"]),
    );
    assert_eq!(batch.status, 200, "{}", batch.body);
    let sent: Value = serde_json::from_slice(&seen.recv().unwrap().2).unwrap();
    assert_eq!(sent, batch_of(&json!("file-up")));
    let batch = batch.json();
    assert_eq!(
        (&batch["input_file_id"], &batch["error_file_id"]),
        (&file["id"], &Value::Null)
    );
    let ids = [&file["id"], &batch["id"], &batch["output_file_id"]];
    ids.map(|id| id.as_str().unwrap().to_owned())
}

fn batch_of(file: &Value) -> Value {
    json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"})
}

#[test]
fn files_and_batches_have_ids_of_their_own_and_exist_for_their_tenant_only() {
    let folder = folder();
    let (url, seen) = provider();
    let program = start(folder.path(), &url, APIS);
    let [id, batch, output] = make(&program, &seen);
    assert!(
        id.starts_with("file_") && batch.starts_with("batch_"),
        "{id} {batch}"
    );
    let content = format!("/v1/files/{output}/content");
    let answer = send(&program, "ann", "GET", &content, &Value::Null);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"error\":{\"message\":\"a line\"}}")
    );
    seen.recv().unwrap();
    for (method, path) in [
        ("GET", format!("/v1/files/{id}")),
        ("DELETE", format!("/v1/files/{id}")),
        ("GET", content),
        ("GET", format!("/v1/batches/{batch}")),
        ("POST", format!("/v1/batches/{batch}/cancel")),
        // Not even under the provider's own ids.
        ("GET", "/v1/files/file-up".to_owned()),
    ] {
        let answer = send(&program, "bob", method, &path, &Value::Null);
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    let stolen = send(
        &program,
        "bob",
        "POST",
        "/v1/batches",
        &batch_of(&json!(id)),
    );
    assert_eq!(
        (stolen.status, &stolen.json()["error"]["param"]),
        (400, &json!("input_file_id"))
    );
    for (path, param) in [
        ("/v1/files?limit=x", "limit"),
        ("/v1/batches?limit=0", "limit"),
        ("/v1/files?after=file-none", "after"),
    ] {
        let wrong = send(&program, "bob", "GET", path, &Value::Null);
        assert_eq!(wrong.status, 400, "{path}: {}", wrong.body);
        assert_eq!(wrong.json()["error"]["param"], param, "{path}");
    }
    let list = send(&program, "bob", "GET", "/v1/files", &Value::Null);
    assert_eq!(list.json()["data"], json!([]));
    // A batch can name any model.
    let denied = send(&program, "one", "GET", "/v1/files", &Value::Null);
    assert_eq!(denied.status, 403, "{}", denied.body);
    assert!(seen.try_recv().is_err());
}

#[test]
fn files_and_batches_survive_the_process_until_they_are_deleted() {
    let folder = folder();
    let (url, seen) = provider();
    let program = start(folder.path(), &url, APIS);
    let [id, batch, _output] = make(&program, &seen);
    drop(program);
    let program = start(folder.path(), &url, APIS);
    let list = send(&program, "ann", "GET", "/v1/batches", &Value::Null).json();
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"]),
        (&json!(batch), &json!(false))
    );
    let files = send(&program, "ann", "GET", "/v1/files", &Value::Null).json();
    // The provider does not know the output any more.
    assert_eq!(files["data"].as_array().unwrap().len(), 1, "{files}");
    let path = format!("/v1/batches/{batch}/cancel");
    let cancelled = send(&program, "ann", "POST", &path, &Value::Null);
    assert_eq!(cancelled.json()["id"], *batch);
    let path = format!("/v1/files/{id}");
    let gone = send(&program, "ann", "DELETE", &path, &Value::Null);
    assert_eq!(
        gone.json(),
        json!({"id": id, "object": "file", "deleted": true})
    );
    assert_eq!(
        send(&program, "ann", "GET", &path, &Value::Null).status,
        404
    );
}

#[test]
fn without_a_backend_that_has_them_there_are_none() {
    let folder = folder();
    let (url, seen) = provider();
    let program = start(folder.path(), &url, "['files']");
    let file = send(&program, "ann", "POST", "/v1/files", &json!("the form")).json();
    seen.recv().unwrap();
    let ask = json!({"input_file_id": file["id"]});
    let answer = send(&program, "ann", "POST", "/v1/batches", &ask);
    assert_eq!(answer.status, 404, "{}", answer.body);
    for body in [json!({}), json!([1]), json!({"input_file_id": 1})] {
        let answer = send(&program, "ann", "POST", "/v1/batches", &body);
        let error = answer.json()["error"].take();
        assert_eq!(
            (answer.status, &error["param"]),
            (400, &json!("input_file_id"))
        );
    }
    drop(program);
    let program = start(folder.path(), &url, "[]");
    // What is kept here has a form and a purpose.
    let answer = send(&program, "ann", "POST", "/v1/files", &json!("the form"));
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(seen.try_recv().is_err());
}
