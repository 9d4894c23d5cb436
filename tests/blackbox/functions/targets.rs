//! Routes that lead to functions, on all surfaces, and what functions set in sessions.

use std::{fs, io::Write as _, path::Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{call, count, function, function_that, next, settings, start};
use crate::{
    guards::{http, rule},
    program::{CHAT, Program, SESSION, folder},
    upstream::{upstream, whole},
};

const ROUTE: &str = r#"
[[routes]]
name = "support"
default = "b"
[[routes.rules]]
name = "after"
target = "b"
when = { variables = { topic = "weather" } }
[[routes.rules]]
name = "weather"
function = "f"
when = { languages = ["en"] }
"#;

fn backend(url: &str) -> String {
    format!("[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n")
}

fn question(more: &Value) -> Value {
    let mut body = json!({"model": "support", "messages": [{"role": "user", "content": "What is the weather like in the north today?"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn a_chat_goes_to_a_function_and_its_answer_is_a_chat_whole_and_streamed_on_all_surfaces() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, asked) = function(
        |_| json!({"content": "Snow.", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    );
    let program = start(folder.path(), &(backend(&url) + &settings(&f, "") + ROUTE));
    let answer = program.send("POST", CHAT, &[], &question(&json!({"temperature": 0.5})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let chat = answer.json();
    assert_eq!(chat["choices"][0]["message"]["content"], "Snow.");
    assert_eq!(
        (&chat["object"], &chat["usage"]["completion_tokens"]),
        (&json!("chat.completion"), &json!(2))
    );
    assert!(
        answer.has("x-kebne-route: support/weather") && answer.has("x-kebne-lane: f"),
        "{}",
        answer.head
    );
    let data = next(&asked).json();
    let id = answer.header("x-request-id").unwrap();
    let expected = json!({"request_id": id, "tenant": null, "key": null, "route": {"name": "support", "rule": "weather"}, "session": null,
        "variables": {}, "parameters": {"temperature": 0.5},
        "messages": [{"role": "user", "content": "What is the weather like in the north today?"}]});
    assert_eq!(data, expected);
    let streamed = program.send("POST", CHAT, &[], &question(&json!({"stream": true})));
    assert!(
        streamed.has("content-type: text/event-stream"),
        "{}",
        streamed.head
    );
    assert!(
        streamed.body.contains(r#""content":"Snow.""#) && streamed.body.contains("data: [DONE]"),
        "{}",
        streamed.body
    );
    let input =
        json!({"model": "support", "input": "What is the weather like in the north today?"});
    let answer = program.send("POST", "/v1/responses", &[], &input);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.contains("Snow."), "{}", answer.body);
    let messages = question(&json!({"max_tokens": 50}));
    let answer = program.send("POST", "/v1/messages", &[], &messages);
    assert_eq!(
        answer.json()["content"][0]["text"],
        "Snow.",
        "{}",
        answer.body
    );
    let streamed = program.send(
        "POST",
        "/v1/messages",
        &[],
        &question(&json!({"max_tokens": 50, "stream": true})),
    );
    assert!(
        streamed.body.contains("Snow.") && streamed.body.contains("message_stop"),
        "{}",
        streamed.body
    );
    assert_eq!(count(&asked), 4);
    let why = program
        .send("POST", "/v1/route", &[], &question(&json!({})))
        .json();
    assert_eq!(why["target"], json!({"kind": "function", "model": "f"}));
    assert_eq!(count(&asked), 0);
}

#[test]
fn a_function_has_no_other_operations_than_chats_and_direct_calls() {
    let (folder, (f, asked)) = (folder(), function(|_| json!("ok")));
    let program = start(folder.path(), &settings(&f, ""));
    let body = json!({"model": "f", "input": "x"});
    let refused = program.send("POST", "/v1/embeddings", &[], &body);
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(count(&asked), 0);
    let chat = json!({"model": "f", "messages": [{"role": "user", "content": "Hi"}]});
    let answer = program.send("POST", CHAT, &[], &chat);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "ok");
    assert_eq!(next(&asked).json()["route"], Value::Null);
}

#[test]
fn a_function_sets_variables_that_are_kept_with_the_turn_and_decide_the_next_one() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, asked) = function(
        |_| json!({"content": "Snow.", "variables": {"topic": "weather", "count": 1, "old": null}}),
    );
    let program = start(folder.path(), &(backend(&url) + &settings(&f, "") + ROUTE));
    let body = json!({"metadata": {"old": "x", "city": "Kiruna"}});
    let session = program.send("POST", "/v1/sessions", &[], &body).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let own = [(SESSION, session.as_str())];
    let metadata = || {
        program
            .send("GET", &format!("/v1/sessions/{session}"), &[], &Value::Null)
            .json()["metadata"]
            .clone()
    };
    let answer = program.send("POST", CHAT, &own, &question(&json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("variables"), "{}", answer.body);
    let data = next(&asked).json();
    assert_eq!(data["variables"], json!({"old": "x", "city": "Kiruna"}));
    assert_eq!(data["session"], json!({"id": session, "turns": 0}));
    assert_eq!(
        metadata(),
        json!({"city": "Kiruna", "count": "1", "topic": "weather"})
    );
    let answer = program.send("POST", CHAT, &own, &question(&json!({})));
    assert!(
        answer.has("x-kebne-route: support/after"),
        "{}",
        answer.head
    );
    assert_eq!(count(&asked), 0);
    // A streamed answer sets them too.
    let other = program.session();
    let answer = program.send(
        "POST",
        CHAT,
        &[(SESSION, other.as_str())],
        &question(&json!({"stream": true})),
    );
    assert!(answer.body.contains("Snow."), "{}", answer.body);
    let shown = program
        .send("GET", &format!("/v1/sessions/{other}"), &[], &Value::Null)
        .json();
    assert_eq!(shown["metadata"], json!({"count": "1", "topic": "weather"}));
    // The conversation has both turns.
    assert_eq!(program.texts(&session).len(), 4);
}

#[test]
fn variables_that_do_not_fit_are_not_set_and_the_answer_arrives() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, _asked) = function(
        |_| json!({"content": "Snow.", "variables": {"topic": "x".repeat(600), "city": "Kiruna"}}),
    );
    let program = start(folder.path(), &(backend(&url) + &settings(&f, "") + ROUTE));
    let session = program.session();
    let own = [(SESSION, session.as_str())];
    let answer = program.send("POST", CHAT, &own, &question(&json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(program.texts(&session).len(), 2);
    let shown = program.send("GET", &format!("/v1/sessions/{session}"), &[], &Value::Null);
    assert_eq!(shown.json()["metadata"], json!({}));
}

/// The example of the page is started as it stands there, and does what the page says.
#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/functions.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (settings, rest) = rest.split_once("```").unwrap();
    let (_, input) = rest.split_once("-d '").unwrap();
    let input: Value = serde_json::from_str(input.split('\'').next().unwrap()).unwrap();
    let folder = folder();
    let (f, asked) = function(|_| json!({"content": "Snow."}));
    let instant =
        "[[backends]]\nname = \"simulated\"\n[backends.simulation]\npreset = \"instant\"\n";
    let settings = settings.replace("http://127.0.0.1:8081/", &f);
    let program = start(folder.path(), &format!("{instant}{settings}"));
    let answer = call(&program, "weather", &input);
    assert_eq!(answer.json(), json!({"content": "Snow."}));
    assert_eq!(next(&asked).json(), input);
    let refused = call(&program, "weather", &json!({}));
    assert_eq!(refused.json()["error"]["param"], "city", "{}", refused.body);
    let body = json!({"metadata": {"topic": "weather"}});
    let made = program.send("POST", "/v1/sessions", &[], &body).json();
    let own = [(SESSION, made["id"].as_str().unwrap())];
    let answer = program.send("POST", CHAT, &own, &question(&json!({})));
    assert!(
        answer.has("x-kebne-route: support/weather"),
        "{}",
        answer.head
    );
    // The data are of the form that the page shows.
    let (_, shown) = page.split_once("```json\n").unwrap();
    let shown: Value = serde_json::from_str(shown.split("```").next().unwrap()).unwrap();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&next(&asked).json()), keys(&shown));
}

#[test]
fn guards_of_the_function_hold_for_chats_that_a_route_sends_to_it() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, asked) = function(|_| json!({"message": {"content": "Write to bob@example.com"}}));
    let guard = format!(
        "[[guards]]\nname = \"g\"\n{}",
        rule("email", "mask", "[\"input\", \"output\"]")
    );
    let text = backend(&url) + &settings(&f, "guards = [\"g\"]\n") + ROUTE + &guard;
    let program = start(folder.path(), &text);
    for stream in [false, true] {
        let mut body = question(&json!({"stream": stream}));
        body["messages"][0]["content"] =
            json!("What is the weather like today, says ann@example.com?");
        let answer = program.send("POST", CHAT, &[], &body);
        assert!(answer.body.contains("Write to [EMAIL]"), "{}", answer.body);
        let data = next(&asked).json();
        assert_eq!(
            data["messages"][0]["content"],
            "What is the weather like today, says [EMAIL]?"
        );
    }
}

#[test]
fn each_tenant_has_its_own_sessions_and_a_function_sees_which_one_calls() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, asked) = function(|number| json!({"content": "ok", "variables": {"number": number}}));
    let key = |name: &str| {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        format!("[[server.keys]]\nname = \"{name}\"\ntenant = \"t-{name}\"\nhash = \"{hash}\"\n")
    };
    let text = backend(&url) + &settings(&f, "") + ROUTE + &key("ann") + &key("bob");
    let program = start(folder.path(), &text);
    let send = |program: &Program, key: &str, path: &str, session: Option<&str>, body: &Value| {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(session.map(|session| (SESSION, session)));
        let method = if body.is_null() { "GET" } else { "POST" };
        program.send(method, path, &headers, body)
    };
    let made = send(
        &program,
        "ann",
        "/v1/sessions",
        None,
        &json!({"metadata": {"secret": "of ann"}}),
    )
    .json();
    let session = made["id"].as_str().unwrap();
    let foreign = send(&program, "bob", CHAT, Some(session), &question(&json!({})));
    assert_eq!(foreign.status, 404, "{}", foreign.body);
    assert_eq!(count(&asked), 0);
    for (key, session) in [("ann", Some(session)), ("bob", None)] {
        let answer = send(&program, key, CHAT, session, &question(&json!({})));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = next(&asked).json();
        assert_eq!(
            (&data["tenant"], &data["key"]),
            (&json!(format!("t-{key}")), &json!(key))
        );
        assert_eq!(data.to_string().contains("of ann"), key == "ann");
    }
    let path = format!("/v1/sessions/{session}");
    assert_eq!(
        send(&program, "ann", &path, None, &Value::Null).json()["metadata"]["number"],
        "0"
    );
    assert_eq!(send(&program, "bob", &path, None, &Value::Null).status, 404);
}

#[test]
fn an_answer_that_is_no_chat_is_an_error_and_the_turn_is_not_kept() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("from the model")));
    let (f, _asked) = function_that(|number, socket| {
        let answer = match number {
            0 => http("application/json", r#"{"text": "other"}"#),
            1 => http(
                "application/json",
                r#"{"content": "a", "variables": {"x": []}}"#,
            ),
            2 => http(
                "application/json",
                r#"{"error": {"message": "no", "type": "server_error"}}"#,
            ),
            3 => http("text/html", "<html>"),
            _ => http("text/plain", "plain words"),
        };
        socket.write_all(answer.as_bytes())
    });
    let program = start(folder.path(), &(backend(&url) + &settings(&f, "") + ROUTE));
    let session = program.session();
    let own = [(SESSION, session.as_str())];
    for number in 0..4 {
        let answer = program.send("POST", CHAT, &own, &question(&json!({})));
        assert!(
            (500..=502).contains(&answer.status),
            "{number}: {}",
            answer.body
        );
        assert_eq!(program.texts(&session), [""; 0], "{number}");
    }
    let answer = program.send("POST", CHAT, &own, &question(&json!({})));
    assert_eq!(
        answer.json()["choices"][0]["message"]["content"],
        "plain words"
    );
    assert_eq!(program.texts(&session).len(), 2);
}
