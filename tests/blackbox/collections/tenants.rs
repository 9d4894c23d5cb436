//! What tenants see of each other: nothing.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Caller, LAKE, STORES, TWO_KEYS, ask, form, of_two_tenants, tool};
use crate::{
    program::{CHAT, Program, folder},
    upstream::{asked, upstream, whole},
};

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

/// The things of a tenant, and the collection of another.
struct Foreign<'a> {
    store: &'a str,
    file: &'a str,
    batch: &'a str,
    own: &'a str,
}

/// Returns the calls that would show documents of another tenant.
fn ways_by_calls(foreign: &Foreign<'_>) -> Vec<(&'static str, String, Value)> {
    let Foreign { store, own, .. } = foreign;
    let filter = json!({"type": "eq", "key": "k", "value": "v"});
    let with = |more: Value| {
        let mut tool = tool(store);
        let more = more.as_object().unwrap().clone();
        tool.as_object_mut().unwrap().extend(more);
        tool
    };
    let both = json!({"type": "file_search", "vector_store_ids": [own, store]});
    let chat = json!({"model": "simulated", "messages": [{"role": "user", "content": "lake"}], "tools": [tool(store)]});
    let tools = [
        tool(store),
        with(json!({"filters": filter})),
        with(json!({"ranking_options": {"ranker": "none"}})),
        both,
    ];
    let responses = tools
        .iter()
        .map(|tool| ("POST", "/v1/responses".to_owned(), ask(tool)));
    responses.chain([("POST", CHAT.to_owned(), chat)]).collect()
}

/// Returns the operations that would show documents of another tenant.
fn ways_by_operations(foreign: &Foreign<'_>) -> Vec<(&'static str, String, Value)> {
    let Foreign {
        store,
        file,
        batch,
        own,
    } = foreign;
    let mut ways = Vec::new();
    for store in [store, own] {
        let batches = format!("{STORES}/{store}/file_batches");
        for (method, path) in [
            ("GET", format!("{batches}/{batch}")),
            ("GET", format!("{batches}/{batch}/files")),
            ("POST", format!("{batches}/{batch}/cancel")),
        ] {
            ways.push((method, path, Value::Null));
        }
        ways.push(("POST", batches.clone(), json!({"file_ids": [file]})));
        ways.push(("POST", batches, json!({"files": [{"file_id": file}]})));
    }
    let reranked = json!({"query": "lake", "ranking_options": {"ranker": "simulated"}});
    ways.push(("POST", format!("{STORES}/{store}/search"), reranked));
    ways.push(("POST", STORES.to_owned(), json!({"file_ids": [file]})));
    ways
}

fn no_header_leads_to(program: &Program, store: &str) {
    let headers = [
        ("authorization", &*format!("Bearer {}", TWO_KEYS[1])),
        ("x-kebne-collections", store),
    ];
    let messages = json!([{"role": "user", "content": "lake"}]);
    for (path, body) in [
        (CHAT, json!({"model": "simulated", "messages": messages})),
        (
            "/v1/responses",
            json!({"model": "simulated", "input": "lake"}),
        ),
        (
            "/v1/messages",
            json!({"model": "simulated", "max_tokens": 9, "messages": messages}),
        ),
    ] {
        let answer = program.send("POST", path, &headers, &body);
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        assert!(!answer.body.contains("Torne"), "{}", answer.body);
    }
}

#[test]
fn no_way_leads_to_the_documents_of_another_tenant() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("It is so [1]."));
    let program = of_two_tenants(folder.path(), &url, "");
    let [ann, bob] = TWO_KEYS.map(|key| Caller {
        program: &program,
        key: Some(key),
    });
    let file = ann.upload("lake.md", LAKE);
    let store = ann.post(STORES, &json!({"name": "of ann"}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let batches = format!("{STORES}/{store}/file_batches");
    let batch = ann.post(&batches, &json!({"file_ids": [file]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    ann.await_read(&store);
    let own = bob.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let foreign = Foreign {
        store: &store,
        file: &file,
        batch: &batch,
        own: &own,
    };
    let ways = ways_by_calls(&foreign).into_iter();
    for (method, path, body) in ways.chain(ways_by_operations(&foreign)) {
        let answer = bob.call(method, &path, &body);
        assert_eq!(
            answer.status, 404,
            "{method} {path} {body}: {}",
            answer.body
        );
        assert!(
            !answer.body.contains("Torne") && !answer.body.contains("of ann"),
            "{}",
            answer.body
        );
    }
    no_header_leads_to(&program, &store);
    // A response of the other tenant, whose search is in it, does not exist either.
    let response = ann.post("/v1/responses", &ask(&tool(&store)));
    assert_eq!(response["output"][0]["results"][0]["filename"], "lake.md");
    asked(&requests);
    let id = response["id"].as_str().unwrap();
    assert_eq!(
        bob.call("GET", &format!("/v1/responses/{id}"), &Value::Null)
            .status,
        404
    );
    let next = json!({"model": "simulated", "input": "x", "previous_response_id": id});
    assert_eq!(bob.call("POST", "/v1/responses", &next).status, 404);
    // No call of the other tenant came to the model.
    assert!(requests.try_recv().is_err());
    // What the operator sees counts all tenants and names none.
    let kept = ann.get(&format!("{batches}/{batch}"));
    assert_eq!(kept["file_counts"]["completed"], 1);
}

#[test]
fn a_dry_run_hides_the_documents_of_another_tenant() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("ok"));
    let program = of_two_tenants(folder.path(), &url, "");
    let ann = Caller {
        program: &program,
        key: Some(TWO_KEYS[0]),
    };
    let file = ann.upload("lake.md", LAKE);
    let id = ann.post(STORES, &json!({"file_ids": [file]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    ann.await_read(&id);
    drop(program);
    let model = format!(
        "[[models]]\nname = \"guide\"\nbackends = [\"simulated\"]\n[models.retrieval]\ncollections = [\"{id}\"]\nowner = \"ann\"\n"
    );
    let prompt = "[[prompts]]\nname = \"polite\"\ntemplate = \"The secret of the operator.\"\n";
    // The keys of this file have the scope `call` only.
    let program = of_two_tenants(folder.path(), &url, &[model.as_str(), prompt].concat());
    let body = json!({"model": "guide", "messages": [{"role": "user", "content": "How long is the lake?"}]});
    let dry = |key: &str| {
        let key = format!("Bearer {key}");
        let headers = [
            ("authorization", key.as_str()),
            ("x-kebne-dry-run", "true"),
            ("x-kebne-prompt", "polite"),
        ];
        let answer = program.send("POST", CHAT, &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    };
    let (own, other) = (dry(TWO_KEYS[0]), dry(TWO_KEYS[1]));
    assert!(own.body.contains("70 kilometres"), "{}", own.body);
    assert!(!other.body.contains("kilometres"), "{}", other.body);
    assert!(!other.body.contains("Lakes"), "{}", other.body);
    let shown = other.json();
    let named = shown["prompt"].as_str().unwrap();
    assert!(named.starts_with("polite@"), "{named}");
    assert!(!other.body.contains("secret"), "{}", other.body);
    let content = shown["request"]["messages"][1]["content"].as_str().unwrap();
    assert!(content.contains("tokens of a document"), "{content}");
    assert!(content.ends_with("How long is the lake?"), "{content}");
    assert_eq!(shown["sources"][0]["filename"], "lake.md");
    assert_eq!(shown["tokens"]["sources"], own.json()["tokens"]["sources"]);
}
