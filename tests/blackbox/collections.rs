//! Collections of documents: vector stores, their files, and searches in them.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    program::{Answer, CHAT, Program, SESSION, folder},
    upstream::{asked, in_front_of, upstream, whole},
};

const STORES: &str = "/v1/vector_stores";
const TYPE: (&str, &str) = ("content-type", "multipart/form-data; boundary=xyz");

/// Returns a form with files and perhaps a purpose.
fn form(purpose: Option<&str>, files: &[(&str, &str)]) -> String {
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

/// A caller with a key, or without one.
struct Caller<'a> {
    program: &'a Program,
    key: Option<&'a str>,
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

    fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.call("POST", path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn send_form(&self, path: &str, form: &str) -> Answer {
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
    fn await_read(&self, store: &str) -> Value {
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

    fn found(&self, store: &str, query: &str) -> Vec<String> {
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
        "expires_after": {"anchor": "last_active_at", "days": 7}});
    let store = caller.post(STORES, &wanted);
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
    let changed = caller.post(
        &format!("{STORES}/{id}"),
        &json!({"name": "south", "expires_after": null}),
    );
    assert_eq!(
        (&changed["name"], &changed["expires_at"]),
        (&json!("south"), &Value::Null)
    );
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
fn an_import_is_found_by_its_names_and_what_is_wrong_is_told() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__COLLECTIONS__COLLECTIONS_MAX", "1")],
    );
    let caller = Caller {
        program: &program,
        key: None,
    };
    let id = caller.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{STORES}/{id}/documents");
    let import = |files: &[(&str, &str)]| {
        let answer = caller.send_form(&path, &form(None, files));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let list = answer.json()["data"].clone();
        let each = list.as_array().unwrap().iter();
        each.map(|each| each["unchanged"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        import(&[("a.md", LAKE), ("b.md", MOUNTAIN)]),
        [false, false]
    );
    assert_eq!(
        import(&[("a.md", LAKE), ("b.md", "A lake too.")]),
        [true, false]
    );
    assert_eq!(caller.await_read(&id)["file_counts"]["total"], 2);
    assert!(!caller.found(&id, "mountain").is_empty());
    import(&[("c.pdf", "%PDF-1.7")]);
    caller.await_read(&id);
    let failed = caller.get(&format!("{STORES}/{id}/files?filter=failed"));
    assert_eq!(failed["data"][0]["last_error"]["code"], "unsupported_file");

    let search = format!("{STORES}/{id}/search");
    for (path, body, param) in [
        (
            STORES,
            json!({"metadata": {"a": "x".repeat(513)}}),
            "metadata",
        ),
        (
            STORES,
            json!({"expires_after": {"anchor": "last_active_at", "days": 0}}),
            "expires_after",
        ),
        (search.as_str(), json!({"query": ""}), "query"),
        (
            search.as_str(),
            json!({"query": "a", "max_num_results": 51}),
            "max_num_results",
        ),
        (
            search.as_str(),
            json!({"query": "a", "ranking_options": {"score_threshold": 2}}),
            "ranking_options",
        ),
    ] {
        let answer = caller.call("POST", path, &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let full = caller.call("POST", STORES, &json!({}));
    assert_eq!(full.code(), (429, "collections_full".to_owned()));
    let elsewhere = caller.send_form("/v1/files", &form(Some("batch"), &[("a.jsonl", "{}")]));
    assert_eq!(elsewhere.status, 404, "{}", elsewhere.body);
}

#[test]
fn a_tenant_sees_nothing_of_another() {
    let folder = folder();
    let path = folder.path().join("kebne.toml");
    let keys = ["ann", "bob"].map(|name| {
        let hash = hex::encode(Sha256::digest(format!("key-of-{name}-0123456789abcdef")));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n")
    });
    fs::write(&path, keys.concat()).unwrap();
    let program = Program::start_plain(folder.path(), &path);
    let of = |key| Caller {
        program: &program,
        key: Some(key),
    };
    let (ann, bob) = (
        of("key-of-ann-0123456789abcdef"),
        of("key-of-bob-0123456789abcdef"),
    );
    let file = ann.upload("lake.md", LAKE);
    let id = ann.post(STORES, &json!({"file_ids": [file]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    ann.await_read(&id);
    let own = bob.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let store = format!("{STORES}/{id}");
    let calls = [
        ("GET", store.clone(), Value::Null),
        ("POST", store.clone(), json!({"name": "mine"})),
        ("DELETE", store.clone(), Value::Null),
        ("POST", format!("{store}/search"), json!({"query": "lake"})),
        ("GET", format!("{store}/files"), Value::Null),
        ("POST", format!("{store}/files"), json!({"file_id": file})),
        ("GET", format!("{store}/files/{file}"), Value::Null),
        ("GET", format!("{store}/files/{file}/content"), Value::Null),
        ("DELETE", format!("{store}/files/{file}"), Value::Null),
        (
            "POST",
            format!("{STORES}/{own}/files"),
            json!({"file_id": file}),
        ),
        ("GET", format!("/v1/files/{file}"), Value::Null),
        ("GET", format!("/v1/files/{file}/content"), Value::Null),
        ("DELETE", format!("/v1/files/{file}"), Value::Null),
    ];
    for (method, path, body) in calls {
        let answer = bob.call(method, &path, &body);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
    }
    let list = bob.call("GET", &format!("{STORES}?after={id}"), &Value::Null);
    assert_eq!(
        (list.status, &list.json()["error"]["param"]),
        (400, &json!("after"))
    );
    let import = bob.send_form(&format!("{store}/documents"), &form(None, &[("a.md", "a")]));
    assert_eq!(import.status, 404);
    assert_eq!(bob.get("/v1/files")["data"], json!([]));
    assert_eq!(bob.get(STORES)["data"].as_array().unwrap().len(), 1);
    assert_eq!(ann.found(&id, "lake"), ["lake.md"]);
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
                    format!("Text {at} is about item{at}. ").repeat(200),
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
    assert_eq!(store["file_counts"]["completed"], 40);
    let database = folder.path().join("kebne-data/collections.sqlite");
    let connection = rusqlite::Connection::open(database).unwrap();
    let sql = "SELECT count(*), count(DISTINCT member), count(DISTINCT member || '/' || place) FROM chunks";
    let counts: (i64, i64, i64) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert_eq!((counts.1, counts.0), (40, counts.2));
    assert_eq!(caller.found(&id, "item39")[0], "39.md");
}

#[test]
fn a_call_gets_the_sources_and_a_session_keeps_the_question_only() {
    const COLLECTIONS: &str = "x-kebne-collections";
    let folder = folder();
    let (url, requests) = upstream(|number| whole(&format!("answer {number}")));
    let program = in_front_of(folder.path(), &url, "");
    let caller = Caller {
        program: &program,
        key: None,
    };
    let files = [
        caller.upload("lake.md", LAKE),
        caller.upload("mountain.txt", MOUNTAIN),
    ];
    let id = caller.post(STORES, &json!({"file_ids": files}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    caller.await_read(&id);
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "Which mountain is the highest?"}]});
    let session = program.session();
    let headers = [(COLLECTIONS, id.as_str()), (SESSION, session.as_str())];
    let answer = program.send("POST", CHAT, &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = asked(&requests);
    assert!(
        sent[0].contains("[1] mountain.txt\nKebnekaise is the highest"),
        "{sent:?}"
    );
    assert!(
        sent[0].ends_with("Which mountain is the highest?"),
        "{sent:?}"
    );
    let sources: Value = serde_json::from_str(answer.header("x-kebne-sources").unwrap()).unwrap();
    assert_eq!(sources[0]["filename"], "mountain.txt");
    assert_eq!(
        (&sources[0]["file_id"], &sources[0]["score"]),
        (&json!(files[1]), &json!(1.0))
    );
    assert_eq!(
        program.texts(&session),
        ["u Which mountain is the highest?", "a answer 0"]
    );

    let responses = json!({"model": "simulated", "input": "Which mountain?"});
    let answer = program.send("POST", "/v1/responses", &[(COLLECTIONS, &id)], &responses);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(asked(&requests)[0].contains("Kebnekaise"));
    for (path, name, status) in [
        (CHAT, "vs_0", 404),
        (CHAT, "vs_0,,", 400),
        ("/v1/embeddings", id.as_str(), 400),
    ] {
        let answer = program.send("POST", path, &[(COLLECTIONS, name)], &body);
        assert_eq!(answer.status, status, "{path} {name}: {}", answer.body);
    }
}
