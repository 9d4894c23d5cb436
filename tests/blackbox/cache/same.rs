//! What makes a call the same, and what outlives it.

use std::fs;

use serde_json::json;

use super::{ON, ask, await_hit, body, configured, count, numbered, outcome, program, question};
use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{upstream, whole},
};

#[test]
fn a_header_that_is_sent_to_the_backend_is_part_of_the_call() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let program = program(folder.path(), &url, ON);
    let first = ask(&program, &question("a"));
    await_hit(&program, CHAT, &[], &question("a"));
    let beta = [("anthropic-beta", "context-1m-2025-08-07")];
    let other = program.send("POST", CHAT, &beta, &question("a"));
    assert_eq!(outcome(&other), "miss");
    assert_ne!(other.body, first.body);
    let hit = await_hit(&program, CHAT, &beta, &question("a"));
    assert_eq!(hit.body, other.body);
    // The headers of a trace differ each time.
    let trace = [
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", "a=b"),
        ("baggage", "c=d"),
    ];
    let traced = program.send("POST", CHAT, &trace, &question("a"));
    assert_eq!((outcome(&traced), &traced.body), ("hit", &first.body));
    assert_eq!(count(&requests), 2);
}

#[test]
fn another_model_behind_the_same_backend_name_is_asked_after_a_reload() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let (other, requests_of_other) = upstream(|_| whole("from another server"));
    let config = configured(folder.path(), &url, ON);
    let program = Program::start_plain(folder.path(), &config);
    let plain = fs::read_to_string(&config).unwrap();
    let first = ask(&program, &question("a"));
    await_hit(&program, CHAT, &[], &question("a"));
    let address = format!("base_url = \"{url}\"\n");
    let with = |more: &str| plain.replacen(&address, &format!("{address}{more}"), 1);
    let changes = [
        with("model = \"another\"\n"),
        with("headers = { x-variant = \"two\" }\n"),
        plain.replacen(&url, &other, 1),
    ];
    for (number, text) in (1..).zip(changes) {
        fs::write(&config, text).unwrap();
        program.signal("HUP");
        program.await_metric(&format!(
            "kebne_settings_reloads_total{{result=\"applied\"}} {number}"
        ));
        let changed = ask(&program, &question("a"));
        assert_eq!(
            (changed.status, outcome(&changed)),
            (200, "miss"),
            "{number}"
        );
        assert_ne!(changed.body, first.body);
    }
    assert_eq!((count(&requests), count(&requests_of_other)), (3, 1));
    // The answers of the first settings are still there.
    fs::write(&config, &plain).unwrap();
    program.signal("HUP");
    program.await_metric(r#"kebne_settings_reloads_total{result="applied"} 4"#);
    let again = ask(&program, &question("a"));
    assert_eq!((outcome(&again), &again.body), ("hit", &first.body));
}

#[test]
fn a_kept_answer_outlives_a_kill_and_the_file_hides_it() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("a secret answer"));
    let config = configured(folder.path(), &url, ON);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("[cache]\nstore = \"sqlite\"\n{text}")).unwrap();
    let key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let start = || {
        let mut command = Program::configured(folder.path(), &config);
        command.env("KEBNE_CONTEXT_KEY", key);
        Program::spawn_with(&mut command, std::process::Stdio::null())
    };
    let mut program = start();
    let first = ask(&program, &question("a secret question"));
    await_hit(&program, CHAT, &[], &question("a secret question"));
    assert!(count(&requests) > 0);
    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let path = folder.path().join("kebne-data/cache.sqlite");
    for path in [path.clone(), path.with_extension("sqlite-wal")] {
        let bytes = fs::read(path).unwrap_or_default();
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(!has(b"secret"));
    }
    let program = start();
    let hit = ask(&program, &question("a secret question"));
    assert_eq!((outcome(&hit), &hit.body), ("hit", &first.body));
    assert_eq!(count(&requests), 0);
}

#[test]
fn a_hit_has_passed_the_guards_that_hold_now() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("write to bob@example.com"));
    let guard = |action: &str| {
        format!(
            "guards = [\"pii\"]\n{ON}[[guards]]\nname = \"pii\"\n[[guards.rules]]\npattern = \"email\"\naction = \"{action}\"\n"
        )
    };
    let mut program = program(folder.path(), &url, &guard("tag"));
    let first = ask(&program, &question("who?"));
    assert!(first.body.contains("bob@example.com"));
    await_hit(&program, CHAT, &[], &question("who?"));
    // What is masked is the same question.
    let config = configured(folder.path(), &url, &guard("mask"));
    program.signal("HUP");
    program.await_metric(r#"kebne_settings_reloads_total{result="applied"} 1"#);
    let masked = ask(&program, &question("who is a@example.com?"));
    assert!(
        outcome(&masked) == "miss" && masked.body.contains("[EMAIL]"),
        "{}",
        masked.body
    );
    let other = await_hit(&program, CHAT, &[], &question("who is b@example.com?"));
    assert!(other.body.contains("[EMAIL]"));
    let again = ask(&program, &question("who?"));
    assert!(
        outcome(&again) == "miss" && again.body.contains("[EMAIL]"),
        "{}",
        again.head
    );
    assert_eq!(count(&requests), 3);
    // Switched off by new settings.
    fs::write(
        &config,
        fs::read_to_string(&config)
            .unwrap()
            .replace("exact = true", "exact = false"),
    )
    .unwrap();
    program.signal("HUP");
    program.await_metric(r#"kebne_settings_reloads_total{result="applied"} 2"#);
    assert_eq!(outcome(&ask(&program, &question("who?"))), "");
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn other_operations_and_dialects_are_kept_too() {
    let folder = folder();
    let (url, requests) = upstream(|number| match number {
        0 => body(
            &json!({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
        ),
        number => numbered(number),
    });
    let program = program(folder.path(), &url, ON);
    let embeddings = json!({"model": "m", "input": "a"});
    let messages = json!({"model": "m", "max_tokens": 5, "temperature": 0, "messages": [{"role": "user", "content": "a"}]});
    let response = json!({"model": "m", "temperature": 0, "store": false, "input": "b"});
    for (path, body) in [
        ("/v1/embeddings", embeddings),
        ("/v1/messages", messages),
        ("/v1/responses", response),
    ] {
        let first = program.send("POST", path, &[], &body);
        assert_eq!(
            (first.status, outcome(&first)),
            (200, "miss"),
            "{path}: {}",
            first.body
        );
        let hit = await_hit(&program, path, &[], &body);
        let text = |answer: &Answer| {
            let answer = answer.json();
            json!([
                answer["data"],
                answer["content"],
                answer["output"][0]["content"]
            ])
        };
        assert_eq!(text(&hit), text(&first), "{path}");
    }
    assert_eq!(count(&requests), 3);
    let stored = json!({"model": "m", "temperature": 0, "input": "b"});
    assert_eq!(
        outcome(&program.send("POST", "/v1/responses", &[], &stored)),
        "bypass"
    );
}
