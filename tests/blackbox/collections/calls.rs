//! Calls that search in collections.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Caller, LAKE, MOUNTAIN, STORES, TWO_KEYS, of_two_tenants, tool};
use crate::{
    program::{CHAT, SESSION, folder},
    upstream::{asked, asked_raw, in_front_of, upstream, whole},
};

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
    let found = answer.header("x-kebne-retrieval");
    assert!(
        found.is_some_and(|found| found.starts_with("chunks=")),
        "{found:?}"
    );
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
    assert_eq!(sources[0]["file_id"], json!(files[1]));
    let score = sources[0]["score"].as_f64().unwrap();
    assert!(score > 0.3 && score < 1.0, "{score}");
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

#[test]
fn the_tool_is_run_here_and_its_answer_says_what_it_used() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("It is 70 kilometres long [1]."));
    let program = in_front_of(folder.path(), &url, "");
    let caller = Caller {
        program: &program,
        key: None,
    };
    let lake = caller.upload("lake.md", LAKE);
    let id = caller.post(STORES, &json!({"file_ids": [lake]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    caller.await_read(&id);
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let asked_for = json!({"model": "simulated", "input": "How long is the lake?", "tools": [function, tool(&id)],
        "tool_choice": "required", "include": ["file_search_call.results"]});
    let response = caller.post("/v1/responses", &asked_for);
    let sent = asked_raw(&requests);
    assert_eq!(sent["tools"].as_array().unwrap().len(), 1, "{sent}");
    assert_eq!(sent["tool_choice"], "auto");
    assert!(
        sent["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("70 kilometres")
    );
    let (call, message) = (&response["output"][0], &response["output"][1]);
    assert_eq!(call["results"][0]["file_id"], json!(lake));
    let cited = &message["content"][0]["annotations"][0];
    assert_eq!(
        *cited,
        json!({"type": "file_citation", "file_id": lake, "filename": "lake.md", "index": 25})
    );
    // It is kept as it was answered, and continued without the search.
    let kept = caller.get(&format!(
        "/v1/responses/{}",
        response["id"].as_str().unwrap()
    ));
    assert_eq!(kept["output"], response["output"]);
    let next = json!({"model": "simulated", "input": "And its name?", "previous_response_id": response["id"]});
    let next = caller.post("/v1/responses", &next);
    assert_eq!(next["output"][0]["type"], "message");
    let sent = asked_raw(&requests);
    assert_eq!(
        sent["messages"][0]["content"], "How long is the lake?",
        "{sent}"
    );
    assert!(
        !sent.to_string().contains("70 kilometres long and"),
        "{sent}"
    );
    // A caller's own item of a search may come back.
    let items = json!([response["output"][0], {"role": "user", "content": "Again"}]);
    caller.post(
        "/v1/responses",
        &json!({"model": "simulated", "input": items}),
    );
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    for step in ["embed", "search", "assemble", "inference"] {
        let line = format!("kebne_step_seconds_count{{step=\"{step}\"}} 1\n");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let state = caller.get("/state");
    assert_eq!(
        state["collections"]["steps"][0]["step"], "embed",
        "{}",
        state["collections"]
    );
}

#[test]
fn a_window_bounds_what_is_found_and_the_answer_tells_it() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("ok"));
    let more = "[[models]]\nname = \"small\"\nbackends = [\"simulated\"]\ncontext_window = 1700\n\
        [[models]]\nname = \"tiny\"\nbackends = [\"simulated\"]\ncontext_window = 1100\n\
        [[models]]\nname = \"any\"\nbackends = [\"simulated\"]\n";
    let program = in_front_of(folder.path(), &url, more);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let texts: Vec<String> = (0..8)
        .map(|at| format!("Lake number {at} is long. ").repeat(25))
        .collect();
    let files: Vec<String> = (0..8)
        .map(|at| caller.upload(&format!("{at}.txt"), &texts[at]))
        .collect();
    let id = caller.post(STORES, &json!({"file_ids": files}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    caller.await_read(&id);
    let mut sent = Vec::new();
    for model in ["any", "small", "tiny"] {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "Which lake is long?"}], "tools": [tool(&id)]});
        let answer = program.send("POST", CHAT, &[], &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let count = asked(&requests)[0].matches("\n<excerpt ").count();
        let told = answer.header("x-kebne-retrieval").unwrap().to_owned();
        assert_eq!(
            told,
            format!("chunks={count}, left-out={}", 8 - count),
            "{model}"
        );
        sent.push(count);
    }
    assert_eq!((sent[0], sent[2]), (8, 0), "{sent:?}");
    assert!((1..8).contains(&sent[1]), "{sent:?}");
}

#[test]
fn a_model_searches_for_all_its_callers_what_its_owner_has() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("It is long [1]."));
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
    let of = |owner: &str| {
        format!(
            "[[models]]\nname = \"guide\"\nbackends = [\"simulated\"]\n[models.retrieval]\ncollections = [\"{id}\"]\nowner = \"{owner}\"\n"
        )
    };
    let body = json!({"model": "guide", "input": "How long is the lake?"});
    let program = of_two_tenants(folder.path(), &url, &of("ann"));
    let bob = Caller {
        program: &program,
        key: Some(TWO_KEYS[1]),
    };
    let response = bob.post("/v1/responses", &body);
    assert!(asked(&requests)[0].contains("70 kilometres"));
    assert_eq!(
        response["output"][0]["content"][0]["annotations"][0]["file_id"],
        json!(file)
    );
    // The file itself stays the owner's.
    let content = bob.call("GET", &format!("/v1/files/{file}/content"), &Value::Null);
    assert_eq!(content.status, 404);
    drop(program);
    // A model whose owner is another tenant finds nothing, and says that its vector store does not exist.
    let program = of_two_tenants(folder.path(), &url, &of("bob"));
    let bob = Caller {
        program: &program,
        key: Some(TWO_KEYS[1]),
    };
    let answer = bob.call("POST", "/v1/responses", &body);
    assert_eq!(answer.code(), (404, "vector_store_not_found".to_owned()));
}

#[test]
fn the_beginning_of_a_chunk_is_sent_where_all_of_it_does_not_fit() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("ok"));
    let more = "[[models]]\nname = \"small\"\nbackends = [\"simulated\"]\ncontext_window = 1500\n";
    let program = in_front_of(folder.path(), &url, more);
    let caller = Caller {
        program: &program,
        key: None,
    };
    let long = "The lake is long and freezes in December. ".repeat(70);
    let file = caller.upload("long.txt", &long);
    let id = caller.post(STORES, &json!({"file_ids": [file]}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    caller.await_read(&id);
    let body = json!({"model": "small", "max_tokens": 1100, "tools": [tool(&id)],
        "messages": [{"role": "user", "content": "Which lake is long?"}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = asked(&requests);
    assert!(sent[0].contains("The lake is long"), "{sent:?}");
    assert!(sent[0].len() < long.len(), "{sent:?}");
    let told = answer.header("x-kebne-retrieval").unwrap();
    assert!(told.starts_with("chunks=1"), "{told}");
}

#[test]
fn a_search_of_a_header_is_one_line_of_the_audit_log() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("ok"));
    let more = "[log.audit]\naccesses = true\nfile = \"audit.jsonl\"\n";
    let program = of_two_tenants(folder.path(), &url, more);
    let ann = Caller {
        program: &program,
        key: Some(TWO_KEYS[0]),
    };
    let id = ann.post(STORES, &json!({}))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = format!("Bearer {}", TWO_KEYS[0]);
    let headers = [
        ("authorization", key.as_str()),
        ("x-kebne-collections", id.as_str()),
    ];
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "lake"}]});
    let answer = program.send("POST", CHAT, &headers, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let until = |is_it: &dyn Fn(&Value) -> bool| {
        let since = Instant::now();
        loop {
            let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap_or_default();
            let lines = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let lines: Vec<Value> = lines.collect();
            if lines.iter().any(is_it) {
                return lines;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let is_of_call = |line: &Value| line["operation"] == "call" && line["id"] == id.as_str();
    until(&is_of_call);
    // The lines of a call are written together, so that they are all there with a later line.
    ann.get(&format!("{STORES}/{id}/files"));
    let lines = until(&|line| line["part"] == "files");
    let of_call = lines.iter().filter(|line| is_of_call(line));
    assert_eq!(of_call.count(), 1, "{lines:#?}");
}
