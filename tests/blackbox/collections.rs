//! Collections of documents: vector stores, their files, and searches in them.

mod calls;
mod imports;
mod refusals;
mod tenants;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::program::{Answer, Program, folder};

pub(crate) const STORES: &str = "/v1/vector_stores";

const TYPE: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

/// Returns a form with files and perhaps a purpose.
pub(crate) fn form(purpose: Option<&str>, files: &[(&str, &str)]) -> String {
    let mut form = String::new();
    if let Some(purpose) = purpose {
        form.push_str("--xyz\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n");
        form.push_str(&[purpose, "\r\n"].concat());
    }
    for (name, text) in files {
        form.push_str("--xyz\r\ncontent-disposition: form-data; name=\"file\"; ");
        form.push_str(&["filename=\"", name, "\"\r\n\r\n", text, "\r\n"].concat());
    }
    form + "--xyz--\r\n"
}

/// Returns a form with fields and files.
fn form_with(fields: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| {
        format!("--xyz\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let fields: Vec<String> = fields.iter().map(field).collect();
    fields.concat() + &form(None, files)
}

/// A caller with a key, or without one.
pub(crate) struct Caller<'a> {
    pub(crate) program: &'a Program,
    pub(crate) key: Option<&'a str>,
}

impl Caller<'_> {
    fn headers(&self, more: Option<(&'static str, &'static str)>) -> Vec<(String, String)> {
        let key = self
            .key
            .map(|key| ("authorization".to_owned(), format!("Bearer {key}")));
        let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
        key.into_iter().chain(more).collect()
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = self.headers(None);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.program.send(method, path, &headers, body)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.call("POST", path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) fn send_form(&self, path: &str, form: &str) -> Answer {
        let headers = self.headers(Some(TYPE));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.program.try_send("POST", path, &headers, form).unwrap()
    }

    fn upload(&self, name: &str, text: &str) -> String {
        let answer = self.send_form("/v1/files", &form(Some("assistants"), &[(name, text)]));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until all files of a vector store are read.
    pub(crate) fn await_read(&self, store: &str) -> Value {
        let since = Instant::now();
        loop {
            let shown = self.get(&format!("{STORES}/{store}"));
            if shown["status"] == "completed" {
                return shown;
            }
            assert!(since.elapsed() < Duration::from_mins(1), "{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn found(&self, store: &str, query: &str) -> Vec<String> {
        let path = format!("{STORES}/{store}/search");
        let page = self.post(&path, &json!({"query": query}));
        let data = page["data"].as_array().unwrap();
        data.iter()
            .map(|each| each["filename"].as_str().unwrap().to_owned())
            .collect()
    }
}

const LAKE: &str = "# Lakes\n\nThe lake Torneträsk is 70 kilometres long and freezes in December.";

const MOUNTAIN: &str = "Kebnekaise is the highest mountain of Sweden.";

/// Asserts that a call is refused with a 400 that names a field in plain words.
fn assert_refused(answer: &Answer, param: &str, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {}", answer.body);
    let error = &answer.json()["error"];
    assert_eq!(error["param"], param, "{what}: {error}");
    let message = error["message"].as_str().unwrap();
    for inside in ["untagged", "tagged enum", "usize", "u32", "f32", "struct "] {
        assert!(!message.contains(inside), "{what}: {message}");
    }
}

/// Returns a call that searches by a tool.
fn ask(tool: &Value) -> Value {
    json!({"model": "simulated", "input": "lake", "tools": [tool], "include": ["file_search_call.results"]})
}

#[test]
fn a_vector_store_is_filled_searched_changed_and_deleted() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    assert_eq!(caller.get(STORES)["data"], json!([]));
    assert!(!folder.path().join("kebne-data/collections.sqlite").exists());
    let (lake, mountain) = (
        caller.upload("docs/lake.md", LAKE),
        caller.upload("mountain.txt", MOUNTAIN),
    );
    let wanted = json!({"name": "north", "file_ids": [lake], "metadata": {"a": "b"},
        "expires_after": {"anchor": "last_active_at", "days": 7},
        "file_expires_after": {"anchor": "created_at", "days": 30}});
    let store = caller.post(STORES, &wanted);
    assert_eq!(store["file_expires_after"], wanted["file_expires_after"]);
    let id = store["id"].as_str().unwrap();
    assert_eq!(store["file_counts"]["total"], 1);
    let wanted = json!({"file_id": mountain, "attributes": {"kind": "rock"}});
    let added = caller.post(&format!("{STORES}/{id}/files"), &wanted);
    assert_eq!(added["attributes"]["kind"], "rock");
    let store = caller.await_read(id);
    assert_eq!(store["file_counts"]["completed"], 2);
    assert!(store["expires_at"].as_u64() > store["last_active_at"].as_u64());

    let found = caller.found(id, "How long is the lake?");
    assert_eq!(found[0], "lake.md");
    let filtered = json!({"query": ["lake", "mountain"], "max_num_results": 1,
        "filters": {"type": "eq", "key": "kind", "value": "rock"}});
    let page = caller.post(&format!("{STORES}/{id}/search"), &filtered);
    assert_eq!(page["data"][0]["file_id"], json!(mountain));
    assert_eq!(page["data"][0]["content"][0]["text"], MOUNTAIN);
    let path = format!("{STORES}/{id}/files/{lake}");
    let content = caller.get(&format!("{path}/content"));
    assert!(content["data"][0]["text"].as_str().unwrap().contains("70"));
    let files = caller.get(&format!("{STORES}/{id}/files?limit=1&order=asc"));
    assert_eq!(
        (&files["data"][0]["id"], &files["has_more"]),
        (&json!(lake), &json!(true))
    );
    let path_of_store = format!("{STORES}/{id}");
    let wanted = json!({"name": "south", "expires_after": null});
    let changed = caller.post(&path_of_store, &wanted);
    assert_eq!(
        (&changed["name"], &changed["expires_at"]),
        (&json!("south"), &Value::Null)
    );
    assert_eq!(changed["file_expires_after"]["days"], 30);
    let changed = caller.post(&path_of_store, &json!({"file_expires_after": null}));
    assert_eq!(changed["file_expires_after"], Value::Null);
    let own = caller.get("/v1/files?purpose=assistants");
    assert_eq!(own["data"].as_array().unwrap().len(), 2);
    let raw = caller.call(
        "GET",
        &format!("/v1/files/{mountain}/content"),
        &Value::Null,
    );
    assert_eq!(raw.body, MOUNTAIN);

    assert_eq!(caller.call("DELETE", &path, &Value::Null).status, 200);
    assert_eq!(caller.found(id, "lake"), ["mountain.txt"]);
    let gone = caller.call("DELETE", &format!("/v1/files/{mountain}"), &Value::Null);
    assert_eq!(gone.json()["deleted"], true);
    assert!(caller.found(id, "mountain").is_empty());
    let store = format!("{STORES}/{id}");
    assert_eq!(caller.call("DELETE", &store, &Value::Null).status, 200);
    let missing = caller.call("GET", &store, &Value::Null).code();
    assert_eq!(missing, (404, "vector_store_not_found".to_owned()));
}

#[test]
fn a_kill_while_files_are_read_loses_and_repeats_nothing() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    let id = {
        let caller = Caller {
            program: &program,
            key: None,
        };
        let id = caller.post(STORES, &json!({}))["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let texts: Vec<(String, String)> = (0..40)
            .map(|at| {
                (
                    format!("{at}.md"),
                    format!("Text {at} is about item{at}. ").repeat(100),
                )
            })
            .collect();
        let files: Vec<(&str, &str)> = texts
            .iter()
            .map(|(name, text)| (&**name, &**text))
            .collect();
        let path = format!("{STORES}/{id}/documents");
        let form = form(None, &files);
        // The answer need not be there: the process is killed while it reads.
        let mut socket = TcpStream::connect(program.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            TYPE.1,
            form.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(form.as_bytes()).unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        id
    };
    program.signal("KILL");
    program.child.wait().unwrap();
    drop(program);
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let store = caller.await_read(&id);
    let failed = caller.get(&format!("{STORES}/{id}/files?filter=failed"));
    assert_eq!(store["file_counts"]["completed"], 40, "{failed}");
    let database = folder.path().join("kebne-data/collections.sqlite");
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT count(*), count(DISTINCT member), count(DISTINCT member || '/' || place) FROM chunks";
    let counts: (i64, i64, i64) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!((counts.1, counts.0), (40, counts.2));
    assert_eq!(caller.found(&id, "item39")[0], "39.md");
}

const TWO_KEYS: [&str; 2] = ["key-of-ann-0123456789abcdef", "key-of-bob-0123456789abcdef"];

/// Starts a gateway with two tenants in front of a model server of the test's own.
fn of_two_tenants(folder: &std::path::Path, url: &str, more: &str) -> Program {
    let path = folder.join("kebne.toml");
    let keys = ["ann", "bob"].map(|name| {
        let hash = hex::encode(Sha256::digest(format!("key-of-{name}-0123456789abcdef")));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n")
    });
    let backend =
        format!("[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n");
    fs::write(&path, [keys.concat(), backend, more.to_owned()].concat()).unwrap();
    Program::start_plain(folder, &path)
}

/// Returns the tool `file_search`.
fn tool(store: &str) -> Value {
    json!({"type": "file_search", "vector_store_ids": [store]})
}

#[test]
fn a_batch_that_is_cancelled_reads_no_further_file() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let text = "A sentence of a long text about lakes. ".repeat(4000);
    let files: Vec<String> = (0..24)
        .map(|at| caller.upload(&format!("{at}.md"), &text))
        .collect();
    let store = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{STORES}/{store}/file_batches");
    let batch = caller.post(&path, &json!({"file_ids": files}));
    assert_eq!(batch["file_counts"]["total"], 24);
    let path = format!("{path}/{}", batch["id"].as_str().unwrap());
    let cancelled = caller.post(&format!("{path}/cancel"), &json!({}));
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let counts = &cancelled["file_counts"];
    assert!(counts["cancelled"].as_u64() > Some(0), "{cancelled}");
    assert_eq!(counts["in_progress"], 0);
    let list = caller.get(&format!("{path}/files?filter=cancelled&limit=100"));
    assert_eq!(
        json!(list["data"].as_array().unwrap().len()),
        counts["cancelled"]
    );
    let shown = caller.await_read(&store);
    assert_eq!(shown["file_counts"], *counts);
    // A file that was given up is read when it is added again.
    let given_up = list["data"][0]["id"].as_str().unwrap();
    caller.post(
        &format!("{STORES}/{store}/files"),
        &json!({"file_id": given_up}),
    );
    let shown = caller.await_read(&store);
    assert_eq!(
        shown["file_counts"]["cancelled"].as_u64(),
        counts["cancelled"].as_u64().map(|count| count - 1)
    );
    // Its batch goes with the vector store.
    assert_eq!(
        caller
            .call("DELETE", &format!("{STORES}/{store}"), &Value::Null)
            .status,
        200
    );
    assert_eq!(caller.call("GET", &path, &Value::Null).status, 404);
    let database = folder.path().join("kebne-data/collections.sqlite");
    let connection = rusqlite::Connection::open(database).unwrap();
    for table in ["batches", "batch_members", "chunks"] {
        let count: i64 = connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(count, 0, "{table}");
    }
}
