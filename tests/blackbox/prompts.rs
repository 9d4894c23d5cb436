//! Prompts with versions: labels, shares, outcomes, and dry runs.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Answer, CHAT, Program, folder};

const PROMPTS: &str = "/v1/prompts";

fn post(program: &Program, path: &str, body: &Value) -> Value {
    let answer = program.send("POST", path, &[], body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn get(program: &Program, path: &str) -> Value {
    let answer = program.send("GET", path, &[], &Value::Null);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

fn call(program: &Program, headers: &[(&str, &str)]) -> Answer {
    let body =
        json!({"model": "simulated", "messages": [{"role": "user", "content": "Where am I?"}]});
    program.send("POST", CHAT, headers, &body)
}

fn header(answer: &Answer, name: &str) -> String {
    let lines = answer.head.lines();
    let found = lines.filter_map(|line| line.split_once(": "));
    let mut found = found.filter(|(key, _)| *key == name);
    found
        .next()
        .map_or_else(String::new, |(_, value)| value.to_owned())
}

fn version(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    header(answer, "x-kebne-prompt-version")
}

#[test]
fn versions_have_labels_and_outlive_the_process() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    let first = json!({"name": "guide", "template": "First. {{ input }}"});
    let first = post(&program, PROMPTS, &first);
    assert_eq!(
        (&first["version"], &first["labels"]),
        (&json!(1), &json!(["live"]))
    );
    let second = json!({"name": "guide", "template": "Second."});
    let second = post(&program, PROMPTS, &second);
    assert_eq!(
        (&second["version"], &second["labels"]),
        (&json!(2), &json!(["draft"]))
    );
    for (named, expected) in [
        ("guide", "guide@1"),
        ("guide@draft", "guide@2"),
        ("guide@2", "guide@2"),
    ] {
        let answer = call(&program, &[("x-kebne-prompt", named)]);
        assert_eq!(version(&answer), expected, "{named}");
    }
    let missing = call(&program, &[("x-kebne-prompt", "guide@3")]);
    assert_eq!(missing.status, 404);
    assert!(
        missing.body.contains("prompt_not_found"),
        "{}",
        missing.body
    );
    let change = json!({"labels": {"live": 2, "draft": null}});
    let changed = post(&program, "/v1/prompts/guide", &change);
    assert_eq!(changed["labels"], json!({"live": "2"}));
    assert_eq!(program.terminate(), Some(0));
    let program = Program::start(folder.path(), &[]);
    let answer = call(&program, &[("x-kebne-prompt", "guide")]);
    assert_eq!(version(&answer), "guide@2");
    let history = get(&program, "/v1/prompts/guide/history");
    assert_eq!(history["data"].as_array().unwrap().len(), 4);
    let rendered = json!({"input": "Hej"});
    let rendered = post(&program, "/v1/prompts/guide@1/render", &rendered);
    assert_eq!(rendered["text"], "First. Hej");
    for (wrong, field) in [
        (json!({"name": "gu ide", "template": "x"}), "name"),
        (json!({"name": "guide", "template": "{{ x "}), "template"),
        (
            json!({"name": "guide", "template": "x", "labels": ["3"]}),
            "labels",
        ),
    ] {
        let answer = program.send("POST", PROMPTS, &[], &wrong);
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field))
        );
    }
    let gone = program.send("DELETE", "/v1/prompts/guide", &[], &Value::Null);
    assert_eq!(gone.status, 200);
    assert_eq!(call(&program, &[("x-kebne-prompt", "guide")]).status, 404);
}

#[test]
fn a_key_that_may_not_read_prompts_renders_no_text() {
    let folder = folder();
    let key = |name: &str, scopes: &str| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = {scopes}\n")
    };
    let text = format!(
        "{}{}[[prompts]]\nname = \"guide\"\ntemplate = \"Secret words. {{{{ input }}}}\"\n[[backends]]\nname = \"simulated\"\n",
        key("operator", "[\"call\", \"admin\"]"),
        key("caller", "[\"call\"]"),
    );
    let config = folder.path().join("kebne.toml");
    fs::write(&config, text).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let render = |key: &str| {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        let input = json!({"input": "Hej"});
        let path = "/v1/prompts/guide/render";
        let answer = program.send("POST", path, &headers, &input);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let dry = json!({"model": "simulated", "messages": [{"role": "user", "content": "Hej"}]});
        let headers = [
            headers[0],
            ("x-kebne-prompt", "guide"),
            ("x-kebne-dry-run", "true"),
        ];
        let shown = program.send("POST", CHAT, &headers, &dry);
        (answer, shown)
    };
    let (rendered, dry) = render("operator");
    let rendered = rendered.json();
    assert_eq!(rendered["text"], "Secret words. Hej");
    assert!(dry.body.contains("Secret words."), "{}", dry.body);
    let (hidden, dry) = render("caller");
    assert!(!hidden.body.contains("Secret") && !dry.body.contains("Secret"));
    let (hidden, dry) = (hidden.json(), dry.json());
    // Both show the name, the version and the number of tokens.
    assert_eq!(hidden["text"], dry["request"]["messages"][0]["content"]);
    assert_eq!(hidden["tokens"], dry["tokens"]["lead"]);
    assert_eq!(
        (&hidden["name"], &hidden["version"], &hidden["tokens"]),
        (&rendered["name"], &rendered["version"], &rendered["tokens"])
    );
}

#[test]
fn shares_are_kept_and_outcomes_are_counted_by_version() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for template in ["One.", "Two."] {
        post(
            &program,
            PROMPTS,
            &json!({"name": "guide", "template": template}),
        );
    }
    let wrong = json!({"split": {"1": 0.5, "2": 0.6}});
    let refused = program.send("POST", "/v1/prompts/guide", &[], &wrong);
    assert_eq!(refused.status, 400);
    let change = json!({"split": {"1": 0.5, "2": 0.5}});
    post(&program, "/v1/prompts/guide", &change);
    let mut counts = [0_u32; 2];
    let mut last = Vec::new();
    for number in 0..60 {
        let id = format!("call-{number}");
        let headers = [("x-kebne-prompt", "guide"), ("x-request-id", id.as_str())];
        let answer = call(&program, &headers);
        let place = usize::from(version(&answer) == "guide@2");
        counts[place] += 1;
        last.push((header(&answer, "x-request-id"), place));
    }
    // Thirty are expected of each; five standard deviations are 19.
    assert!(
        counts.iter().all(|count| (11..50).contains(count)),
        "{counts:?}"
    );
    for (id, place) in &last {
        let value = if *place == 0 { -1.0 } else { 0.5 };
        let outcome = json!({"request_id": id, "value": value});
        let path = "/v1/prompts/guide/outcomes";
        let reported = post(&program, path, &outcome);
        assert_eq!(reported["version"], (place + 1).to_string());
        let twice = program.send("POST", path, &[], &outcome);
        assert_eq!(
            (twice.status, twice.body.contains("outcome_reported")),
            (409, true)
        );
    }
    let shown = get(&program, "/v1/prompts/guide");
    let figures = &shown["figures"];
    for (place, mean) in [(0, -1.0), (1, 0.5)] {
        let figures = &figures[(place + 1).to_string()];
        assert_eq!(figures["since_start"]["calls"], counts[place]);
        assert_eq!(figures["outcomes"]["values"], counts[place]);
        let found = figures["outcomes"]["mean"]["mean"].as_f64().unwrap();
        assert!((found - mean).abs() < 1e-9, "{figures}");
    }
    program.await_metric(&format!(
        "kebne_prompt_calls_total{{prompt=\"guide\",version=\"1\",ending=\"success\"}} {}",
        counts[0]
    ));
}

#[test]
fn the_calls_of_a_session_get_one_version_and_wrong_outcomes_are_named() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for template in ["One.", "Two."] {
        post(
            &program,
            PROMPTS,
            &json!({"name": "guide", "template": template}),
        );
    }
    let change = json!({"split": {"1": 0.5, "2": 0.5}});
    post(&program, "/v1/prompts/guide", &change);
    // All calls of a session get one version.
    let session = post(&program, "/v1/sessions", &json!({"prompt": "guide"}));
    let session = session["id"].as_str().unwrap();
    let of_session: Vec<String> = (0..8)
        .map(|_| version(&call(&program, &[("x-kebne-session", session)])))
        .collect();
    assert!(of_session.iter().all(|version| *version == of_session[0]));
    let outcome = json!({"session": session, "label": "solved"});
    post(&program, "/v1/prompts/guide/outcomes", &outcome);
    for (wrong, field) in [
        (json!({"value": 1}), "request_id"),
        (json!({"request_id": "x", "value": 2}), "value"),
        (json!({"request_id": "x", "label": "a b"}), "label"),
    ] {
        let answer = program.send("POST", "/v1/prompts/guide/outcomes", &[], &wrong);
        assert_eq!(
            (answer.status, &answer.json()["error"]["param"]),
            (400, &json!(field))
        );
    }
    let unknown = json!({"request_id": "nobody's", "value": 1});
    let unknown = program.send("POST", "/v1/prompts/guide/outcomes", &[], &unknown);
    assert_eq!(
        (unknown.status, unknown.body.contains("call_not_found")),
        (404, true)
    );
}

#[test]
fn a_prompt_of_the_settings_has_variants_and_is_not_changed_by_the_api() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let write = |template: &str| {
        let text = format!(
            "[[backends]]\nname = \"simulated\"\nkind = \"simulated\"\n[backends.simulation]\npreset = \"instant\"\n\
            [[prompts]]\nname = \"guide\"\ntemplate = \"{template}\"\n\
            variants = [{{ template = \"Other.\", share = 0.5 }}]\n"
        );
        fs::write(&config, text).unwrap();
    };
    write("One.");
    let program = Program::start_plain(folder.path(), &config);
    let versions = |program: &Program| {
        let list = get(program, PROMPTS);
        list["data"][0]["versions"].clone()
    };
    let before = versions(&program);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        seen.insert(version(&call(&program, &[("x-kebne-prompt", "guide")])));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let new = json!({"name": "guide", "template": "x"});
    let refused = program.send("POST", PROMPTS, &[], &new);
    assert_eq!(refused.status, 409, "{}", refused.body);
    post(
        &program,
        PROMPTS,
        &json!({"name": "stored", "template": "x"}),
    );
    write("Two.");
    let reloaded = program.send("POST", "/admin/v1/reload", &[], &Value::Null);
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    let after = versions(&program);
    assert_eq!(before[1], after[1]);
    assert_ne!(before[0], after[0]);
    // A stored prompt stays where it is.
    assert_eq!(
        version(&call(&program, &[("x-kebne-prompt", "stored")])),
        "stored@1"
    );
}

#[test]
fn a_template_without_bounds_and_a_name_that_cannot_be_removed_are_refused() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    for (name, template, field) in [
        (
            "guide",
            format!("{{{{ {}1 }}}}", "-".repeat(20_000)),
            "template",
        ),
        (
            "guide",
            "{% if 0 %}".to_owned() + &"{% elif 0 %}".repeat(10_000),
            "template",
        ),
        ("guide", "{{ input|nope }}".to_owned(), "template"),
        (".", "x".to_owned(), "name"),
        ("..", "x".to_owned(), "name"),
    ] {
        let new = json!({"name": name, "template": template});
        let answer = program.send("POST", PROMPTS, &[], &new);
        let param = &answer.json()["error"]["param"];
        assert_eq!(
            (answer.status, param),
            (400, &json!(field)),
            "{}",
            answer.body
        );
    }
    let new = json!({"name": "guide", "template": "x", "labels": ["draft"]});
    post(&program, PROMPTS, &new);
    let missing = call(&program, &[("x-kebne-prompt", "guide")]);
    assert_eq!(missing.status, 404);
    let body = &missing.body;
    assert!(body.contains("no version labelled `live`"), "{body}");
}

#[test]
fn prompts_that_cannot_be_read_are_not_deleted_ones() {
    let folder = folder();
    let mut program = Program::start(folder.path(), &[]);
    post(
        &program,
        PROMPTS,
        &json!({"name": "guide", "template": "x"}),
    );
    assert_eq!(program.terminate(), Some(0));
    let mut files = vec![folder.path().to_owned()];
    let mut path = None;
    while let Some(at) = files.pop() {
        if at.is_dir() {
            files.extend(fs::read_dir(&at).unwrap().map(|file| file.unwrap().path()));
        } else if at.ends_with("prompts.sqlite") {
            path = Some(at);
        }
    }
    let lock = rusqlite::Connection::open(path.unwrap()).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let program = Program::start(folder.path(), &[]);
    let list = program.send("GET", PROMPTS, &[], &Value::Null);
    for answer in [list, call(&program, &[("x-kebne-prompt", "guide")])] {
        let is_told = answer.body.contains("prompt_store_unavailable");
        assert_eq!((answer.status, is_told), (503, true), "{}", answer.body);
    }
    program.await_metric("kebne_prompt_store_up 0.0");
    program.await_metric("kebne_cache_store_up 1.0");
    lock.execute_batch("ROLLBACK").unwrap();
    assert_eq!(get(&program, PROMPTS)["data"][0]["name"], "guide");
    let answer = call(&program, &[("x-kebne-prompt", "guide")]);
    assert_eq!(version(&answer), "guide@1");
    program.await_metric("kebne_prompt_store_up 1.0");
}

#[test]
fn a_dry_run_is_no_call_with_its_prompt() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    post(
        &program,
        PROMPTS,
        &json!({"name": "guide", "template": "x"}),
    );
    let headers = [("x-kebne-prompt", "guide"), ("x-kebne-dry-run", "true")];
    let dry = call(&program, &headers);
    assert_eq!(
        (dry.status, &dry.json()["prompt"]),
        (200, &json!("guide@1"))
    );
    call(&program, &[("x-kebne-prompt", "guide")]);
    let shown = get(&program, "/v1/prompts/guide");
    assert_eq!(shown["figures"]["1"]["since_start"]["calls"], 1, "{shown}");
    let outcome = json!({"request_id": header(&dry, "x-request-id"), "value": 1});
    let path = "/v1/prompts/guide/outcomes";
    let refused = program.send("POST", path, &[], &outcome);
    let is_told = refused.body.contains("call_not_found");
    assert_eq!((refused.status, is_told), (404, true), "{}", refused.body);
}

#[test]
fn a_dry_run_shows_the_call_and_sends_and_keeps_nothing() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let new = json!({"name": "guide", "template": "You are a guide in {{ session.city }}."});
    post(&program, PROMPTS, &new);
    let session = json!({"prompt": "guide", "metadata": {"city": "Kiruna"}});
    let session = post(&program, "/v1/sessions", &session);
    let session = session["id"].as_str().unwrap();
    let named = ("x-kebne-session", session);
    assert_eq!(call(&program, &[named]).status, 200);
    let before = get(&program, "/state");
    let dry = call(&program, &[named, ("x-kebne-dry-run", "true")]);
    assert_eq!(dry.status, 200, "{}", dry.body);
    let shown = dry.json();
    assert_eq!(
        (&shown["object"], &shown["prompt"]),
        (&json!("dry_run"), &json!("guide@1"))
    );
    let messages = shown["request"]["messages"].as_array().unwrap();
    assert_eq!(messages[0]["content"], "You are a guide in Kiruna.");
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert_eq!(messages[3]["content"], "Where am I?");
    let tokens = &shown["tokens"];
    let parts = [
        "lead", "summary", "facts", "recall", "history", "sources", "messages", "tools",
    ];
    let count = |part: &str| tokens[part].as_u64().unwrap();
    let sum: u64 = parts.iter().map(|part| count(part)).sum();
    assert_eq!(count("total"), sum, "{tokens}");
    assert!(
        count("lead") > 5 && count("history") > 5 && count("messages") > 3,
        "{tokens}"
    );
    let path = format!("/v1/sessions/{session}/turns");
    assert_eq!(get(&program, &path)["data"].as_array().unwrap().len(), 1);
    let sent = |state: &Value| state["lanes"][0]["counts"].clone();
    assert_eq!(sent(&before), sent(&get(&program, "/state")));
    let wrong = call(&program, &[("x-kebne-dry-run", "yes")]);
    assert_eq!(wrong.status, 400);
    // Of a response nothing is kept either.
    let body = json!({"model": "simulated", "input": "Where am I?"});
    let dry = program.send(
        "POST",
        "/v1/responses",
        &[("x-kebne-dry-run", "true")],
        &body,
    );
    assert_eq!(dry.json()["object"], "dry_run", "{}", dry.body);
}
