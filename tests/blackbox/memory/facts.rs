//! Facts that their owner reads, corrects and deletes.

use serde_json::{Value, json};

use super::{get, of, post, start};
use crate::{
    program::{Program, folder},
    upstream::{asked_raw, upstream, whole},
};

/// Asks for parts of lists that there are not.
fn assert_pages_are_checked(program: &Program, id: &str) {
    for (query, param) in [
        ("limit=0", json!("limit")),
        ("after=x", json!("after")),
        ("foo=1", Value::Null),
    ] {
        for list in ["/facts", "/summaries"] {
            let path = of(id, &format!("{list}?{query}"));
            let wrong = program.send("GET", &path, &[], &Value::Null);
            assert_eq!(
                (wrong.status, &wrong.json()["error"]["param"]),
                (400, &param),
                "{path}"
            );
        }
    }
}

#[test]
fn facts_are_added_corrected_and_deleted_by_their_owner() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("fine"));
    let program = start(
        folder.path(),
        &url,
        &url,
        "facts_max = 2\nfact_size_max = \"64B\"",
    );
    let id = program.session();
    let facts = of(&id, "/facts");
    let first = post(&program, &facts, &json!({"text": " Lives in Kiruna "}));
    assert_eq!((&first["id"], &first["by"]), (&json!(1), &json!("owner")));
    assert_eq!(first["text"], "Lives in Kiruna");
    post(&program, &facts, &json!({"text": "Has a dog"}));
    let third = program.send("POST", &facts, &[], &json!({"text": "Likes tea"}));
    assert_eq!(third.code(), (409, "session_facts_full".to_owned()));
    for (body, param) in [
        (json!({"text": "x".repeat(65)}), "text"),
        (json!({"text": " "}), "text"),
        (json!({}), "text"),
        (json!({"text": "a", "colour": "red"}), "colour"),
        (json!({"text": 5}), "text"),
        (json!({"text": null}), "text"),
    ] {
        let wrong = program.send("POST", &facts, &[], &body);
        assert_eq!(
            (wrong.status, &wrong.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
    let page = get(&program, &format!("{facts}?limit=1"));
    assert_eq!(
        (&page["has_more"], &page["next_after"]),
        (&json!(true), &json!(1))
    );
    let page = get(&program, &format!("{facts}?limit=1&after=1"));
    assert_eq!(
        (&page["has_more"], &page["data"][0]["id"]),
        (&json!(false), &json!(2))
    );
    assert_pages_are_checked(&program, &id);
    let one = of(&id, "/facts/1");
    let corrected = post(&program, &one, &json!({"text": "Lives in Umeå"}));
    assert_eq!(corrected["text"], "Lives in Umeå");
    assert_eq!(get(&program, &one), corrected);
    program.chat(&id, "Where do I live?");
    let sent = asked_raw(&requests)["messages"][0]["content"].to_string();
    assert!(sent.contains("- Lives in Umeå\\n- Has a dog\\n"), "{sent}");
    let deleted = program.send("DELETE", &one, &[], &Value::Null).json();
    assert_eq!(deleted["deleted"], true);
    for path in [one, of(&id, "/facts/9"), of(&id, "/facts/x")] {
        let gone = program.send("GET", &path, &[], &Value::Null);
        assert_eq!(gone.code(), (404, "not_found".to_owned()));
    }
    assert_eq!(get(&program, &facts)["data"].as_array().unwrap().len(), 1);
    let missing = program.send("GET", &of("sess_none", "/facts"), &[], &Value::Null);
    assert_eq!(missing.code(), (404, "session_not_found".to_owned()));
}
