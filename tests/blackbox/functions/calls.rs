//! Direct calls: forms, signatures, inputs, keys, guards and reloads.

use std::{fs, io::Write as _, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{call, count, function, function_that, hello, next, settings, start};
use crate::{
    guards::{http, rule},
    program::{Program, folder},
};

const SECRET: &str = "a secret of some length";

fn started(folder: &std::path::Path, text: &str, variables: &[(&str, &str)]) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    let mut command = Program::configured(folder, &config);
    command.envs(variables.iter().copied());
    Program::spawn_with(&mut command, Stdio::inherit())
}

#[test]
fn json_goes_in_and_comes_out_and_the_lane_is_seen_like_any_other() {
    let (folder, (url, asked)) = (
        folder(),
        function(|_| json!({"topic": "weather", "n": 1.0})),
    );
    let program = start(folder.path(), &settings(&url, ""));
    let answer = call(&program, "f", &json!(["any", 7, null]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body, r#"{"topic":"weather","n":1.0}"#);
    assert!(
        answer.has("content-type: application/json"),
        "{}",
        answer.head
    );
    assert!(
        answer.has("x-kebne-lane: f") && answer.has("x-kebne-attempts: 1"),
        "{}",
        answer.head
    );
    let request = next(&asked);
    assert!(
        request.head.starts_with("POST /function/f?v=1 HTTP/1.1"),
        "{}",
        request.head
    );
    assert_eq!(request.body, r#"["any",7,null]"#);
    assert_eq!(request.header("content-type"), Some("application/json"));
    let id = answer.header("x-request-id").unwrap();
    assert_eq!(request.header("x-request-id"), Some(id));
    assert_eq!(request.header("ce-id"), None);
    program.await_metric("kebne_calls_total{lane=\"f\",ending=\"success\"} 1");
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let lanes = state["lanes"].as_array().unwrap();
    assert!(
        lanes
            .iter()
            .any(|lane| lane["lane"] == "f" || lane["name"] == "f"),
        "{state}"
    );
}

#[test]
fn a_call_is_an_event_in_both_modes_and_an_event_as_an_answer_is_opened() {
    let event = json!({"specversion": "1.0", "id": "a", "source": "/f", "type": "answer", "data": {"ok": true}});
    let (folder, (url, asked)) = (folder(), function(move |_| event.clone()));
    let other = settings(&url, "format = \"cloudevents_structured\"\n").replace("\"f\"", "\"g\"");
    let text = settings(&url, "format = \"cloudevents\"\n") + &other;
    let program = start(folder.path(), &text);
    let answer = call(&program, "f", &hello());
    assert_eq!(answer.json(), json!({"ok": true}));
    let request = next(&asked);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-type", "kebne.function.call"),
        ("ce-source", "/kebne"),
        ("ce-subject", "f"),
        ("ce-id", answer.header("x-request-id").unwrap()),
    ] {
        assert_eq!(request.header(name), Some(value), "{}", request.head);
    }
    assert_eq!(request.json(), hello());
    let answer = call(&program, "g", &hello());
    assert_eq!(answer.json(), json!({"ok": true}));
    let request = next(&asked);
    assert!(
        request
            .header("content-type")
            .unwrap()
            .starts_with("application/cloudevents+json")
    );
    let id = answer.header("x-request-id").unwrap();
    let expected = json!({"specversion": "1.0", "id": id, "source": "/kebne", "type": "kebne.function.call", "subject": "g",
        "datacontenttype": "application/json", "data": hello()});
    assert_eq!(request.json(), expected);
}

#[test]
fn a_call_carries_its_key_and_a_signature_that_can_be_checked() {
    let (folder, (url, asked)) = (folder(), function(|_| json!({})));
    let more = "signing_secret_env = \"F_SECRET\"\napi_key_env = \"F_KEY\"\n[functions.headers]\nx-team = \"a\"\n";
    let text = settings(&url, more);
    let program = started(
        folder.path(),
        &text,
        &[("F_SECRET", SECRET), ("F_KEY", "key-of-f")],
    );
    let answer = call(&program, "f", &hello());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let request = next(&asked);
    assert_eq!(request.header("authorization"), Some("Bearer key-of-f"));
    assert_eq!(request.header("x-team"), Some("a"));
    let (id, time) = (
        request.header("webhook-id").unwrap(),
        request.header("webhook-timestamp").unwrap(),
    );
    assert_eq!(Some(id), answer.header("x-request-id"));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{id}.{time}.{}", request.body).as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(request.header("webhook-signature"), Some(expected.as_str()));
}

#[test]
fn a_secret_that_is_missing_or_short_is_an_error_of_the_settings_that_names_its_key() {
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    fs::write(
        &config,
        settings("http://127.0.0.1:1/", "signing_secret_env = \"F_SECRET\"\n"),
    )
    .unwrap();
    for (value, expected) in [
        ("short", "functions[0].signing_secret_env"),
        ("", "functions[0].signing_secret_env"),
    ] {
        let mut command = Program::configured(folder.path(), &config);
        let output = command.env("F_SECRET", value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
        assert!(!said.contains("short\""), "{said}");
    }
}

#[test]
fn an_input_is_checked_before_it_is_sent() {
    let (folder, (url, asked)) = (folder(), function(|_| json!(1)));
    let schema = r#"input_schema = '{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}'"#;
    let program = start(
        folder.path(),
        &settings(
            &url,
            &format!("{schema}\ndescription = \"Finds the topic.\"\n"),
        ),
    );
    for (input, param, message) in [
        (json!({}), "text", "`text` is missing"),
        (
            json!({"text": 1}),
            "text",
            "`text` must be of the type string",
        ),
        (
            json!([]),
            "the input",
            "`the input` must be of the type object",
        ),
    ] {
        let answer = call(&program, "f", &input);
        assert_eq!(answer.status, 400, "{}", answer.body);
        let error = &answer.json()["error"];
        assert_eq!(
            (&error["param"], &error["message"]),
            (&json!(param), &json!(message))
        );
    }
    let raw = "POST /v1/functions/f HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n\r\n{";
    let answer = Program::exchange_raw(program.address, raw).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(
        answer.body.contains("the body is not valid JSON"),
        "{}",
        answer.body
    );
    assert_eq!(count(&asked), 0);
    assert_eq!(call(&program, "f", &hello()).body, "1");
    let listed = program
        .send("GET", "/v1/functions", &[], &Value::Null)
        .json();
    let function = &listed["data"][0];
    assert_eq!(
        (&function["id"], &function["description"]),
        (&json!("f"), &json!("Finds the topic."))
    );
    assert_eq!(function["input_schema"]["required"], json!(["text"]));
    assert!(!listed.to_string().contains("127.0.0.1"), "{listed}");
    let one = program
        .send("GET", "/v1/functions/f", &[], &Value::Null)
        .json();
    assert_eq!(&one, function);
    for (method, status) in [("GET", 404), ("POST", 404)] {
        let answer = program.send(method, "/v1/functions/simulated", &[], &hello());
        assert_eq!(answer.status, status, "{method}: {}", answer.body);
        assert!(
            answer
                .body
                .contains("the function `simulated` does not exist"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn a_key_calls_the_functions_that_it_names_and_its_limits_hold() {
    let (folder, (url, asked)) = (folder(), function(|_| json!("ok")));
    let key = |name: &str, more: &str| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}")
    };
    let keys = [
        key("mine", "models = [\"f\"]\n"),
        key("other", "models = [\"simulated\"]\n"),
        key(
            "scarce",
            "models = [\"f\"]\n[server.keys.limits]\nrequests_per_minute = 1\n",
        ),
    ];
    let program = start(folder.path(), &(settings(&url, "") + &keys.concat()));
    let send = |key: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        program.send(method, path, &[("authorization", &bearer)], &hello())
    };
    let path = "/v1/functions/f";
    for (key, status, listed) in [("mine", 200, 1), ("other", 403, 0)] {
        assert_eq!(send(key, "POST", path).status, status, "{key}");
        let list = send(key, "GET", "/v1/functions").json();
        assert_eq!(list["data"].as_array().unwrap().len(), listed, "{key}");
    }
    assert_eq!(send("other", "GET", path).status, 404);
    assert_eq!(send("unknown", "POST", path).status, 401);
    assert_eq!(program.send("POST", path, &[], &hello()).status, 401);
    assert_eq!(send("scarce", "POST", path).status, 200);
    assert_eq!(send("scarce", "POST", path).status, 429);
    assert_eq!(count(&asked), 2);
}

#[test]
fn guards_mask_what_a_function_gets_and_what_it_answers() {
    let (folder, (url, asked)) = (
        folder(),
        function(|_| json!({"model": "ann@example.com", "list": [{"id": "bob@example.com"}]})),
    );
    let guard = format!(
        "[[guards]]\nname = \"g\"\n{}",
        rule("email", "mask", "[\"input\", \"output\"]")
    );
    let program = start(
        folder.path(),
        &(settings(&url, "guards = [\"g\"]\n") + &guard),
    );
    let answer = call(
        &program,
        "f",
        &json!([{"voice": "write to eve@example.com"}]),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(next(&asked).json(), json!([{"voice": "write to [EMAIL]"}]));
    assert_eq!(
        answer.json(),
        json!({"model": "[EMAIL]", "list": [{"id": "[EMAIL]"}]})
    );
}

#[test]
fn a_reload_adds_changes_and_removes_a_function() {
    let (folder, (url, asked)) = (folder(), function(|_| json!("ok")));
    let base = "[log]\nfilter = \"info\"\n";
    let program = start(folder.path(), base);
    let reload = |text: &str| {
        fs::write(folder.path().join("kebne.toml"), text).unwrap();
        program.send("POST", "/admin/v1/reload", &[], &Value::Null)
    };
    assert_eq!(call(&program, "f", &hello()).status, 404);
    let added = reload(&format!("{base}{}", settings(&url, "")));
    assert_eq!(added.status, 200, "{}", added.body);
    assert_eq!(
        added.json()["changed"][0],
        json!({"key": "functions[f]", "change": "added"})
    );
    assert_eq!(added.json()["backends"]["started"], json!(["f"]));
    assert_eq!(call(&program, "f", &hello()).status, 200);
    // A key that keeps its value does not lose the function.
    let kept = reload(&format!(
        "[log]\nfilter = \"info\"\nformat = \"json\"\n{}",
        settings(&url, "format = \"cloudevents\"\n")
    ));
    assert_eq!(kept.status, 200, "{}", kept.body);
    assert_eq!(kept.json()["changed"][0]["key"], "functions[f].format");
    assert_eq!(kept.json()["needs_restart"][0]["key"], "log.format");
    assert_eq!(call(&program, "f", &hello()).status, 200);
    assert_eq!(next(&asked).header("ce-type"), None);
    assert_eq!(next(&asked).header("ce-type"), Some("kebne.function.call"));
    let wrong = reload(&settings(&url, "concurrency = 0\n"));
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert!(
        wrong.body.contains("functions[0].concurrency"),
        "{}",
        wrong.body
    );
    assert_eq!(call(&program, "f", &hello()).status, 200);
    assert_eq!(reload(base).status, 200);
    assert_eq!(call(&program, "f", &hello()).status, 404);
    assert_eq!(
        program
            .send("GET", "/v1/functions", &[], &Value::Null)
            .json()["data"],
        json!([])
    );
}

#[test]
fn a_plain_text_is_a_json_string_and_an_empty_answer_is_null() {
    let (folder, (url, _asked)) = (
        folder(),
        function_that(|number, socket| {
            let answer = match number {
                0 => http("text/plain", "two words\n"),
                1 => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    .to_owned(),
                _ => http("text/html", "{\"is\": \"json\"}"),
            };
            socket.write_all(answer.as_bytes())
        }),
    );
    let program = start(folder.path(), &settings(&url, ""));
    for expected in [r#""two words\n""#, "null", r#"{"is": "json"}"#] {
        let answer = call(&program, "f", &hello());
        assert_eq!((answer.status, answer.body.as_str()), (200, expected));
        assert!(
            answer.has("content-type: application/json"),
            "{}",
            answer.head
        );
    }
}
