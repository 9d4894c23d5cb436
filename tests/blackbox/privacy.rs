//! What is kept of a tenant or a user, its erasure with a proof, the audit log, and two tenants who try to see each other's things.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::program::{Answer, CHAT, Program, folder};

mod full_disk;

/// A program with the keys of two tenants and an administrator.
struct World {
    folder: TempDir,
    program: Program,
}

const KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

fn settings(folder: &Path, more: &str) -> std::path::PathBuf {
    let key = |name: &str, scopes: &str| {
        let hash = hex::encode(Sha256::digest(format!("key of {name}")));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = {scopes}\n")
    };
    let text = [
        "[[backends]]\nname = \"simulated\"\nkind = \"simulated\"\n[backends.simulation]\npreset = \"instant\"\n",
        &key("ann", "[\"call\"]"),
        &key("bob", "[\"call\"]"),
        &key("root", "[\"call\", \"read_state\", \"admin\"]"),
        more,
    ]
    .concat();
    let path = folder.join("kebne.toml");
    fs::write(&path, text).unwrap();
    path
}

impl World {
    fn start(is_encrypted: bool) -> Self {
        let folder = folder();
        let audit = "[log.audit]\naccesses = true\nfile = \"audit.jsonl\"\n";
        let config = settings(folder.path(), audit);
        let program = Self::run(folder.path(), &config, is_encrypted);
        Self { folder, program }
    }

    fn run(folder: &Path, config: &Path, is_encrypted: bool) -> Program {
        let mut command = Program::configured(folder, config);
        if is_encrypted {
            command.env("KEBNE_CONTEXT_KEY", KEY);
        }
        Program::spawn_with(&mut command, std::process::Stdio::null())
    }

    fn send(&self, who: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.send_with(who, method, path, &[], body)
    }

    fn send_with(
        &self,
        who: &str,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let key = format!("Bearer key of {who}");
        let mut headers = vec![("authorization", key.as_str())];
        headers.extend(more);
        self.program.send(method, path, &headers, body)
    }

    fn fine(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(who, method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.json()
    }

    fn id(&self, who: &str, path: &str, body: &Value) -> String {
        let made = self.fine(who, "POST", path, body);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Keeps one of each thing for a tenant; returns its ids by the parameters of paths.
    fn fill(&self, who: &str) -> Things {
        let user = json!({"metadata": {"user": format!("user of {who}")}});
        let session = self.id(who, "/v1/sessions", &user);
        let question = format!("{who}-said-this");
        let chat =
            json!({"model": "simulated", "messages": [{"role": "user", "content": question}]});
        let named = [("x-kebne-session", session.as_str())];
        let answer = self.send_with(who, "POST", CHAT, &named, &chat);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let response = json!({"model": "simulated", "input": question});
        let response = self.id(who, "/v1/responses", &response);
        let store = self.id(
            who,
            "/v1/vector_stores",
            &json!({"name": format!("{who}-store")}),
        );
        let form = format!(
            "--xyz\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{who}.txt\"\r\n\r\n\
            {who}-wrote-this\r\n--xyz--\r\n"
        );
        let path = format!("/v1/vector_stores/{store}/documents");
        let key = format!("Bearer key of {who}");
        let headers = [
            ("authorization", key.as_str()),
            ("content-type", "multipart/form-data; boundary=xyz"),
        ];
        let imported = self.program.try_send("POST", &path, &headers, &form);
        let imported = imported.unwrap();
        assert_eq!(imported.status, 200, "{}", imported.body);
        let files = self.fine(who, "GET", "/v1/files", &Value::Null);
        let file = files["data"][0]["id"].as_str().unwrap().to_owned();
        let member = format!("/v1/vector_stores/{store}/files/{file}");
        while self.fine(who, "GET", &member, &Value::Null)["status"] == "in_progress" {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let fact = json!({"text": format!("{who}-has-this")});
        let facts = format!("/v1/sessions/{session}/facts");
        let fact = self.fine(who, "POST", &facts, &fact)["id"].to_string();
        let batch = json!({"file_ids": [file]});
        let batches = format!("/v1/vector_stores/{store}/file_batches");
        let batch = self.id(who, &batches, &batch);
        let question = format!("{who}-queued-this");
        let chat =
            json!({"model": "simulated", "messages": [{"role": "user", "content": question}]});
        let queued = self.send(who, "POST", "/v1/jobs", &json!({"url": CHAT, "body": chat}));
        assert_eq!(queued.status, 202, "{}", queued.body);
        let job = queued.json()["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/jobs/{job}");
        while self.fine(who, "GET", &path, &Value::Null)["status"] != "succeeded" {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let (agent, run) = self.run_agent(who);
        Things {
            agent,
            run,
            session,
            response,
            job,
            store,
            file,
            fact,
            batch,
        }
    }

    /// Creates an agent of a tenant and runs it; returns its name and the id of the run.
    fn run_agent(&self, who: &str) -> (String, String) {
        let agent = format!("guide_of_{who}");
        let made = self.send(
            who,
            "POST",
            "/v1/agents",
            &json!({"name": agent, "model": "simulated"}),
        );
        assert_eq!(made.status, 201, "{}", made.body);
        let input = json!({"input": format!("{who}-asked-this")});
        let path = format!("/v1/agents/{agent}/runs");
        let ran = self.send_with(who, "POST", &path, &[("prefer", "wait=60")], &input);
        assert_eq!(ran.status, 200, "{}", ran.body);
        let run = ran.json()["id"].as_str().unwrap().to_owned();
        (agent, run)
    }

    fn disk(&self) -> Vec<u8> {
        let files = fs::read_dir(self.folder.path().join("kebne-data")).unwrap();
        files
            .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until the audit log has a line for which `is_it` returns `true`.
    fn await_audit(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let since = std::time::Instant::now();
        loop {
            if let Some(found) = self.audit().into_iter().find(&is_it) {
                return found;
            }
            let waited = since.elapsed();
            assert!(
                waited < std::time::Duration::from_secs(20),
                "{:?}",
                self.audit()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

struct Things {
    agent: String,
    run: String,
    session: String,
    response: String,
    job: String,
    store: String,
    file: String,
    fact: String,
    batch: String,
}

impl Things {
    fn ids(&self) -> [&str; 7] {
        [
            &self.agent,
            &self.run,
            &self.session,
            &self.response,
            &self.store,
            &self.file,
            &self.job,
        ]
    }

    /// Puts the ids into a path of the list of operations.
    fn path(&self, path: &str) -> String {
        let id = match path.split('/').nth(2).unwrap_or_default() {
            "sessions" => &self.session,
            "responses" => &self.response,
            "vector_stores" => &self.store,
            "files" => &self.file,
            "jobs" => &self.job,
            _ => "none",
        };
        let name = match path.split('/').nth(2) {
            Some("agents") => &self.agent,
            _ => "guide",
        };
        path.replace("{id:resp_[^/]*}", id)
            .replace("{id}", id)
            .replace("{file}", &self.file)
            .replace("{fact}", &self.fact)
            .replace("{batch}", &self.batch)
            .replace("{run}", &self.run)
            .replace("{call}", "call_1_0")
            .replace("{name}", name)
    }
}

fn is_in(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[test]
fn another_tenant_sees_and_changes_nothing_by_any_operation() {
    let world = World::start(true);
    let (ann, _) = (world.fill("ann"), world.fill("bob"));
    let show = |path: &str| world.fine("ann", "GET", path, &Value::Null);
    let paths = [
        format!("/v1/sessions/{}/turns", ann.session),
        format!("/v1/responses/{}", ann.response),
        format!("/v1/vector_stores/{}/files/{}/content", ann.store, ann.file),
        format!("/v1/files/{}", ann.file),
        format!("/v1/jobs/{}", ann.job),
        format!("/v1/agents/{}/runs/{}", ann.agent, ann.run),
    ];
    let before: Vec<Value> = paths.iter().map(|path| show(path)).collect();
    let routes = include_str!("../routes.tsv");
    let tried = routes.lines().filter(|line| line.ends_with("\ttenant"));
    let mut count = 0;
    for line in tried {
        let fields: Vec<&str> = line.split('\t').collect();
        let path = ann.path(fields[1]);
        // Bob erases his own data last.
        if (fields[0], fields[1]) == ("DELETE", "/v1/privacy/data") {
            continue;
        }
        for body in [
            json!({}),
            json!({"query": "ann-wrote-this"}),
            json!({"file_id": ann.file}),
            json!({"session": ann.session, "value": 1.0}),
        ] {
            let body = if fields[0] == "POST" {
                body
            } else {
                Value::Null
            };
            let answer = world.send("bob", fields[0], &path, &body);
            assert!(!answer.body.contains("ann-"), "{line}: {}", answer.body);
            let names_it = fields[1].contains('{');
            let is_refused = matches!(answer.status, 400 | 404 | 405 | 409 | 415);
            assert!(
                !names_it || is_refused,
                "{line}: {} {}",
                answer.status,
                answer.body
            );
            if !names_it {
                let leaks = ann.ids().into_iter().find(|id| answer.body.contains(*id));
                assert_eq!(leaks, None, "{line}: {}", answer.body);
            }
        }
        count += 1;
    }
    assert!(count > 25, "{count}");
    no_call_uses_what_another_tenant_keeps(&world, &ann);
    let other = world.send("bob", "GET", "/v1/privacy/data?tenant=ann", &Value::Null);
    assert_eq!(other.status, 403, "{}", other.body);
    let other = world.send("bob", "DELETE", "/v1/privacy/data?tenant=ann", &Value::Null);
    assert_eq!(other.status, 403, "{}", other.body);
    world.fine("bob", "DELETE", "/v1/privacy/data", &Value::Null);
    let after: Vec<Value> = paths.iter().map(|path| show(path)).collect();
    assert_eq!(before, after);
}

fn no_call_uses_what_another_tenant_keeps(world: &World, ann: &Things) {
    let chat =
        json!({"model": "simulated", "messages": [{"role": "user", "content": "What was said?"}]});
    for (name, value) in [
        ("x-kebne-session", ann.session.as_str()),
        ("x-kebne-collections", ann.store.as_str()),
    ] {
        let answer = world.send_with("bob", "POST", CHAT, &[(name, value)], &chat);
        assert_eq!(answer.status, 404, "{name}: {}", answer.body);
    }
    for (field, value) in [
        ("previous_response_id", json!(ann.response)),
        ("conversation", json!(ann.session)),
    ] {
        let body = json!({"model": "simulated", "input": "What was said?", (field): value});
        let answer = world.send("bob", "POST", "/v1/responses", &body);
        assert_eq!(answer.status, 404, "{field}: {}", answer.body);
    }
}

#[test]
fn one_call_erases_a_tenant_and_proves_it() {
    for is_encrypted in [true, false] {
        let world = World::start(is_encrypted);
        let (ann, bob) = (world.fill("ann"), world.fill("bob"));
        let kept = world.fine("ann", "GET", "/v1/privacy/data", &Value::Null);
        let items = |report: &Value, store: &str, part: &str| -> Value {
            let stores = report["stores"].as_array().unwrap();
            let found = stores.iter().find(|each| each["store"] == store);
            found.unwrap()[part]["items"].clone()
        };
        let sessions = json!({"sessions": 1, "turns": 1, "conversations": 1, "responses": 1});
        assert_eq!(items(&kept, "sessions", "kept"), sessions);
        let documents = items(&kept, "collections", "kept");
        assert_eq!(
            (&documents["files"], &documents["vector_stores"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(is_in(&world.disk(), "ann-said-this"), !is_encrypted);
        let export = world.send("ann", "GET", "/v1/privacy/export", &Value::Null);
        for text in [
            "ann-said-this",
            "ann-queued-this",
            "ann.txt",
            "privacy.export.end",
        ] {
            assert!(export.body.contains(text), "{text}: {}", export.body);
        }
        assert!(!export.body.contains("bob-"), "{}", export.body);
        let report = world.fine("ann", "DELETE", "/v1/privacy/data", &Value::Null);
        assert_eq!(report["verified"], true, "{report}");
        assert_eq!(items(&report, "sessions", "removed"), sessions);
        assert_eq!(report["keys_destroyed"], if is_encrypted { 4 } else { 0 });
        for store in report["stores"].as_array().unwrap() {
            assert_eq!(store["log_emptied"], true, "{report}");
            assert_eq!(store["left"]["items"], json!({}), "{report}");
        }
        let disk = world.disk();
        for text in ["ann-said-this", "ann-queued-this", "ann-wrote-this"] {
            assert!(!is_in(&disk, text), "{text}");
        }
        let path = format!("/v1/sessions/{}", ann.session);
        assert_eq!(world.send("ann", "GET", &path, &Value::Null).status, 404);
        // The other tenant keeps everything.
        let path = format!("/v1/sessions/{}/turns", bob.session);
        let turns = world.fine("bob", "GET", &path, &Value::Null);
        assert_eq!(turns["data"].as_array().unwrap().len(), 1);
        // The report is kept, and cannot be changed if there is a key.
        let event = world.await_audit(|line| line["event"] == "erasure");
        assert_eq!(event["report"], report);
        let verify = world.send("ann", "POST", "/v1/privacy/verify", &report);
        if !is_encrypted {
            assert_eq!(verify.status, 400, "{}", verify.body);
            continue;
        }
        assert_eq!(verify.json()["valid"], true);
        let mut changed = report;
        changed["tenant"] = json!("bob");
        let verify = world.fine("ann", "POST", "/v1/privacy/verify", &changed);
        assert_eq!(verify["valid"], false);
        // What comes later is kept again.
        world.fill("ann");
    }
}

#[test]
fn an_administrator_erases_one_user_of_a_tenant() {
    let world = World::start(true);
    world.fill("ann");
    let eve = json!({"metadata": {"user": "eve"}});
    let session = world.id("ann", "/v1/sessions", &eve);
    let response = json!({"model": "simulated", "input": "eve-said-this", "user": "eve"});
    let response = world.id("ann", "/v1/responses", &response);
    let path = "/v1/privacy/data?tenant=ann&user=eve";
    let kept = world.fine("root", "GET", path, &Value::Null);
    let of_eve = json!({"sessions": 1, "turns": 0, "conversations": 1, "responses": 1});
    assert_eq!(kept["stores"][1]["kept"]["items"], of_eve, "{kept}");
    let report = world.fine("root", "DELETE", path, &Value::Null);
    assert_eq!(report["verified"], true, "{report}");
    assert_eq!(report["stores"][1]["removed"]["items"], of_eve);
    assert_eq!(report["stores"][1]["key"], "kept");
    assert_eq!(report["stores"][2]["covered"], false);
    for path in [
        format!("/v1/sessions/{session}"),
        format!("/v1/responses/{response}"),
    ] {
        assert_eq!(world.send("ann", "GET", &path, &Value::Null).status, 404);
    }
    let left = world.fine("ann", "GET", "/v1/privacy/data", &Value::Null);
    assert_eq!(left["stores"][1]["kept"]["items"]["sessions"], 1);
    let wrong = world.send("ann", "GET", "/v1/privacy/data?user=", &Value::Null);
    assert_eq!(wrong.status, 400);
}

#[test]
fn each_access_is_in_the_audit_log_and_no_text_is() {
    let world = World::start(true);
    let ann = world.fill("ann");
    let turns = format!("/v1/sessions/{}/turns", ann.session);
    world.fine("ann", "GET", &turns, &Value::Null);
    world.send("bob", "GET", &turns, &Value::Null);
    let search = format!("/v1/vector_stores/{}/search", ann.store);
    world.fine("ann", "POST", &search, &json!({"query": "ann-wrote-this"}));
    let read = |key: &str, status: u16| {
        let session = ann.session.clone();
        let key = key.to_owned();
        move |line: &Value| {
            line["object"] == "sessions"
                && line["id"] == session.as_str()
                && line["part"] == "turns"
                && line["key"] == key.as_str()
                && line["status"] == status
        }
    };
    let line = world.await_audit(read("ann", 200));
    assert_eq!(
        (&line["operation"], &line["tenant"]),
        (&json!("read"), &json!("ann"))
    );
    assert_eq!(line["client"], "127.0.0.1");
    let line = world.await_audit(read("bob", 404));
    assert_eq!(line["reason"], "session_not_found");
    world.await_audit(|line| line["operation"] == "search" && line["id"] == ann.store.as_str());
    let call = |line: &Value| line["operation"] == "call" && line["id"] == ann.session.as_str();
    let line = world.await_audit(call);
    assert!(line["request"].as_str().unwrap().len() > 4);
    let text = fs::read_to_string(world.folder.path().join("audit.jsonl")).unwrap();
    assert!(!text.contains("said-this") && !text.contains("wrote-this"));
}
