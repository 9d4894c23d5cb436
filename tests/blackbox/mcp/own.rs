//! The gateway's own tools: what they do, and for whom.

use std::path::Path;

use serde_json::{Value, json};

use super::{ask, call, key, start, text};
use crate::program::{CHAT, Program, SESSION, folder};

fn own(program: &Program, bearer: &str) -> Vec<String> {
    let answer = ask(program, bearer, "tools/list", &json!({})).json();
    let tools = answer["result"]["tools"].as_array().unwrap().clone();
    let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// Returns the value that a tool returns.
fn value(program: &Program, bearer: &str, name: &str, arguments: &Value) -> Value {
    let answer = call(program, bearer, name, arguments);
    let (said, is_error) = text(&answer);
    assert!(!is_error, "{name}: {said}");
    let value = &answer["result"]["structuredContent"];
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), *value);
    value.clone()
}

/// Starts a gateway with a route and the keys of two callers and of an operator.
fn gateway(folder: &Path) -> Program {
    let routes = "[[routes]]\nname = \"support\"\ndefault = \"simulated\"\n";
    let text_of = key("ann", "[\"call\"]", "")
        + &key("bob", "[\"call\"]", "")
        + &key("ops", "[\"call\", \"read_state\"]", "")
        + routes;
    start(folder, &text_of)
}

fn chat() -> Value {
    json!({"model": "simulated", "messages": [{"role": "user", "content": "hello"}]})
}

#[test]
fn the_gateways_own_tools_do_what_its_api_does_with_the_rights_of_the_key() {
    let folder = folder();
    let program = gateway(folder.path());
    let mine = own(&program, "ann");
    assert_eq!(
        mine,
        [
            "kebne__search",
            "kebne__sessions",
            "kebne__session_turns",
            "kebne__create_job",
            "kebne__get_job",
            "kebne__explain_route",
        ]
    );
    assert!(own(&program, "ops").contains(&"kebne__state".to_owned()));

    let asked = json!({"model": "support", "messages": chat()["messages"]});
    let explained = value(&program, "ann", "kebne__explain_route", &asked);
    assert_eq!(explained["target"]["model"], "simulated", "{explained}");
    let state = value(&program, "ops", "kebne__state", &json!({}));
    assert_eq!(state["lanes"][0]["name"], "simulated");
    let refused = call(&program, "ann", "kebne__state", &json!({}));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    let read = ask(
        &program,
        "ops",
        "resources/read",
        &json!({"uri": "kebne://state"}),
    )
    .json();
    let contents = read["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(contents.contains("\"lanes\""));
    let refused = ask(
        &program,
        "ann",
        "resources/read",
        &json!({"uri": "kebne://state"}),
    );
    assert!(refused.json()["error"].is_object(), "{}", refused.body);

    let wrong = json!({"query": "a", "collections": []});
    let wrong = call(&program, "ann", "kebne__search", &wrong);
    assert!(text(&wrong).0.contains("collections"), "{wrong}");
    let wrong = json!({"query": 1, "collections": []});
    let wrong = call(&program, "ann", "kebne__search", &wrong);
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
}

#[test]
fn the_sessions_and_jobs_of_a_tenant_are_its_own() {
    let folder = folder();
    let program = gateway(folder.path());
    let auth = ("authorization", "Bearer ann");
    let session = program
        .send("POST", "/v1/sessions", &[auth], &json!({}))
        .json();
    let id = session["id"].as_str().unwrap();
    let answer = program.send("POST", CHAT, &[auth, (SESSION, id)], &chat());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let listed = value(&program, "ann", "kebne__sessions", &json!({}));
    assert_eq!(listed["sessions"][0]["id"], id);
    let turns = value(
        &program,
        "ann",
        "kebne__session_turns",
        &json!({"session": id}),
    );
    assert_eq!(
        turns["turns"][0]["messages"][0]["content"], "hello",
        "{turns}"
    );
    // Another tenant has none of it.
    let listed = value(&program, "bob", "kebne__sessions", &json!({}));
    assert_eq!(listed["sessions"], json!([]));
    let foreign = call(
        &program,
        "bob",
        "kebne__session_turns",
        &json!({"session": id}),
    );
    assert!(text(&foreign).1, "{foreign}");

    let job = json!({"url": CHAT, "body": chat()});
    let job = value(&program, "ann", "kebne__create_job", &job);
    let id = job["id"].as_str().unwrap();
    let due = std::time::Instant::now() + super::AMPLE;
    loop {
        let job = value(&program, "ann", "kebne__get_job", &json!({"id": id}));
        if job["response"]["status_code"] == 200 {
            break;
        }
        assert!(std::time::Instant::now() < due, "{job}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(text(&call(&program, "bob", "kebne__get_job", &json!({"id": id}))).1);
}

#[test]
fn collections_are_searched_and_the_own_tools_can_be_switched_off() {
    let folder = folder();
    let program = start(folder.path(), &key("ann", "[\"call\"]", ""));
    let auth = [("authorization", "Bearer ann")];
    let made = program.send("POST", "/v1/vector_stores", &auth, &json!({"name": "docs"}));
    let made = made.json();
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/vector_stores/{id}/documents");
    let file = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.md\"\r\ncontent-type: text/markdown\r\n\r\n\
        The capital of Lapland is Kiruna, some say.\r\n--b--\r\n";
    let headers = [auth[0], ("content-type", "multipart/form-data; boundary=b")];
    let imported = program.try_send("POST", &path, &headers, file).unwrap();
    assert_eq!(imported.status, 200, "{}", imported.body);
    let asked = json!({"query": "capital of Lapland", "collections": [id]});
    let due = std::time::Instant::now() + super::AMPLE;
    loop {
        let found = value(&program, "ann", "kebne__search", &asked);
        let first = found["results"][0]["text"].as_str().unwrap_or_default();
        if first.contains("Kiruna") {
            break;
        }
        assert!(std::time::Instant::now() < due, "{found}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(program);
    let off = key("ann", "[\"call\"]", "") + "[mcp]\nown_tools = false\n";
    let program = start(folder.path(), &off);
    assert_eq!(own(&program, "ann"), [""; 0]);
}
