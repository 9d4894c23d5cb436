//! Wrong bodies and forms, which are refused and named.

use serde_json::{Value, json};

use super::{Caller, LAKE, STORES, ask, assert_refused, form_with, tool};
use crate::program::{Program, folder};

/// Paths below a vector store, bodies, and the fields that are wrong in them.
const WRONG_BODIES: &[(&str, &str, &str)] = &[
    ("search", r#"{"query": 1}"#, "query"),
    ("search", r#"{"query": ["a", 1]}"#, "query[1]"),
    (
        "search",
        r#"{"query": "a", "max_num_results": "x"}"#,
        "max_num_results",
    ),
    (
        "search",
        r#"{"query": "a", "filters": ["eq", "a", 1]}"#,
        "filters",
    ),
    (
        "search",
        r#"{"query": "a", "filters": {"type": "eq", "key": "a", "value": [1]}}"#,
        "filters",
    ),
    (
        "search",
        r#"{"query": "a", "ranking_options": ["auto", 0, null, null]}"#,
        "ranking_options",
    ),
    (
        "search",
        r#"{"query": "a", "ranking_options": {"score_threshold": "x"}}"#,
        "ranking_options.score_threshold",
    ),
    (
        "search",
        r#"{"query": "a", "ranking_options": {"zzz": 1}}"#,
        "ranking_options.zzz",
    ),
    (
        "search",
        r#"{"query": "a", "rewrite_query": "x"}"#,
        "rewrite_query",
    ),
    (
        "search",
        r#"{"query": "a", "filter": {"type": "eq", "key": "a", "value": 1}}"#,
        "filter",
    ),
    ("search", r#"{"query": "a", "zzz": 1}"#, "zzz"),
    (
        "files",
        r#"{"file_id": "FILE", "chunking_strategy": 1}"#,
        "chunking_strategy",
    ),
    (
        "files",
        r#"{"file_id": "FILE", "chunking_strategy": {"type": "static"}}"#,
        "chunking_strategy",
    ),
    (
        "files",
        r#"{"file_id": "FILE", "attributes": {"a": [1]}}"#,
        "attributes.a",
    ),
    ("files", r#"{"file_id": "FILE", "zzz": 1}"#, "zzz"),
    ("file_batches", r#"{"files": [["FILE"]]}"#, "files[0]"),
    ("file_batches", r#"{"file_ids": ["FILE"], "zzz": 1}"#, "zzz"),
    (
        "",
        r#"{"expires_after": ["last_active_at", 1]}"#,
        "expires_after",
    ),
    ("", r#"{"expires_after": []}"#, "expires_after"),
    ("", r#"{"description": "x"}"#, "description"),
];

#[test]
fn wrong_types_and_unknown_fields_are_refused_and_named() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let file = caller.upload("lake.md", LAKE);
    let id = caller.post(STORES, &json!({"file_ids": [file]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    caller.await_read(&id);
    let store = format!("{STORES}/{id}");
    let search = format!("{store}/search");
    let files = format!("{store}/files");
    for (of, body, param) in WRONG_BODIES {
        let path = format!("{store}/{of}");
        let body: Value = serde_json::from_str(&body.replace("FILE", &file)).unwrap();
        let answer = caller.call("POST", path.trim_end_matches('/'), &body);
        assert_refused(&answer, param, &body.to_string());
    }
    let body = json!({"expires_after": {"anchor": "last_active_at", "days": "1"}});
    assert_refused(
        &caller.call("POST", STORES, &body),
        "expires_after.days",
        "days",
    );
    for (method, path, param) in [
        ("GET", format!("{STORES}?zz=1"), "zz"),
        ("GET", format!("{files}?order=up"), "order"),
        ("GET", format!("{store}?zz=1"), "zz"),
        ("GET", format!("{files}/{file}/content?zz=1"), "zz"),
        ("POST", format!("{search}?zz=1"), "zz"),
        ("GET", "/v1/files?order=up".to_owned(), "order"),
    ] {
        let body = if method == "POST" {
            json!({"query": "lake"})
        } else {
            Value::Null
        };
        assert_refused(&caller.call(method, &path, &body), param, &path);
    }
    // One weight is enough, and a query need not be rewritten.
    let options = json!({"hybrid_search": {"embedding_weight": 1}});
    let fine = json!({"query": "lake", "ranking_options": options, "rewrite_query": true});
    assert_eq!(
        caller.post(&search, &fine)["data"][0]["filename"],
        "lake.md"
    );
    let mut tool = tool(&id);
    tool["ranking_options"] = json!({"score_threshold": "x"});
    let answer = caller.call("POST", "/v1/responses", &ask(&tool));
    assert_refused(&answer, "tools[0].ranking_options.score_threshold", "tool");
}

#[test]
fn a_form_of_a_file_is_checked_field_by_field() {
    const ANCHOR: &str = "expires_after[anchor]";
    const SECONDS: &str = "expires_after[seconds]";
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__COLLECTIONS__FILE_SIZE_MAX", "1KiB")],
    );
    let caller = Caller {
        program: &program,
        key: None,
    };
    let purpose = ("purpose", "assistants");
    for (fields, param) in [
        (vec![], "purpose"),
        (vec![("purpose", "zzz")], "purpose"),
        (vec![purpose, purpose], "purpose"),
        (vec![purpose, (ANCHOR, "created_at")], SECONDS),
        (vec![purpose, (ANCHOR, "x"), (SECONDS, "3600")], ANCHOR),
        (
            vec![purpose, (ANCHOR, "created_at"), (SECONDS, "1")],
            SECONDS,
        ),
        (vec![purpose, ("expires_after", "{}")], "expires_after"),
    ] {
        let answer = caller.send_form("/v1/files", &form_with(&fields, &[("a.md", LAKE)]));
        assert_refused(&answer, param, &format!("{fields:?}"));
    }
    assert_refused(
        &caller.send_form("/v1/files", "no form"),
        "purpose",
        "no form",
    );
    let fields = [purpose, (ANCHOR, "created_at"), (SECONDS, "3600")];
    let kept = caller.send_form("/v1/files", &form_with(&fields, &[("a.md", LAKE)]));
    assert_eq!(kept.status, 200, "{}", kept.body);
    assert!(kept.json()["expires_at"].is_u64(), "{}", kept.body);
    let large = "x".repeat(1025);
    let answer = caller.send_form("/v1/files", &form_with(&[purpose], &[("large.md", &large)]));
    assert_eq!(answer.status, 413, "{}", answer.body);
    let message = answer.json()["error"]["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.contains("`large.md`") && message.contains("1024 bytes"),
        "{message}"
    );
}
