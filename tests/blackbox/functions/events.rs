//! Events that are delivered to functions.

use std::{
    fs,
    io::Write as _,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{call, count, function, function_that, hello, next, settings, start};
use crate::{
    guards::http,
    program::{CHAT, Program, folder},
};

const LETTERS: &str = "/admin/v1/functions/f/dead-letters";
const PATIENCE: Duration = Duration::from_secs(30);

const INSTANT: &str =
    "[[backends]]\nname = \"simulated\"\n[backends.simulation]\npreset = \"instant\"\n";

fn chat(program: &Program, id: &str) {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", CHAT, &[("x-request-id", id)], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn answer(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn await_letters(program: &Program, wanted: usize) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let list = program.send("GET", LETTERS, &[], &Value::Null).json();
        let letters = list["data"].as_array().unwrap().clone();
        if letters.len() == wanted {
            return letters;
        }
        assert!(since.elapsed() < PATIENCE, "{letters:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_function_gets_the_events_that_fit_and_no_others() {
    let (folder, (url, asked)) = (folder(), function(|_| json!({})));
    let on = "format = \"cloudevents\"\n[[functions.on]]\nevents = [\"call.*\"]\ndata = { ending = \"success\", model = \"simulated\" }\n";
    let program = start(folder.path(), &(INSTANT.to_owned() + &settings(&url, on)));
    program.session();
    let refused = program.send("POST", CHAT, &[], &json!({"model": "none", "messages": []}));
    assert_eq!(refused.status, 404);
    chat(&program, "req-1");
    let event = next(&asked);
    assert_eq!(event.header("ce-type"), Some("kebne.call.ended.v1"));
    assert_eq!(event.header("ce-subject"), Some("req-1"));
    assert_eq!(event.header("webhook-id"), None);
    assert_eq!(event.json()["ending"], "success");
    program.await_metric("kebne_function_events_total{function=\"f\",result=\"delivered\"} 1");
    assert_eq!(count(&asked), 0);
    // A direct call of the function is an event of another model.
    assert_eq!(call(&program, "f", &hello()).status, 200);
    assert_eq!(next(&asked).header("ce-type"), Some("kebne.function.call"));
    thread::sleep(Duration::from_millis(200));
    assert_eq!(count(&asked), 0);
}

#[test]
fn events_of_a_key_arrive_in_their_order_and_again_until_they_are_answered() {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let (folder, (url, asked)) = (
        folder(),
        function_that(move |_, socket| {
            let status = if up.load(SeqCst) {
                "200 OK"
            } else {
                "500 Internal Server Error"
            };
            socket.write_all(answer(status).as_bytes())
        }),
    );
    let on = "[[functions.on]]\nevents = [\"call.ended\"]\n";
    let program = start(folder.path(), &(INSTANT.to_owned() + &settings(&url, on)));
    for number in 0..10 {
        chat(&program, &format!("req-{number}"));
        // A caller has its answer a moment before its call has ended.
        program.await_metric(&format!(
            "kebne_events_total{{type=\"call.ended\"}} {}",
            number + 1
        ));
    }
    // The first one is tried again and the others wait for it.
    for _ in 0..3 {
        assert_eq!(next(&asked).json()["subject"], "req-0");
    }
    is_up.store(true, SeqCst);
    // The answer to the third try may be the first good one.
    let mut subjects = vec!["req-0".to_owned()];
    while subjects.last().is_none_or(|last| last != "req-9") {
        let subject = next(&asked).json()["subject"].as_str().unwrap().to_owned();
        if subjects.last() != Some(&subject) {
            subjects.push(subject);
        }
    }
    let expected: Vec<String> = (0..10).map(|number| format!("req-{number}")).collect();
    assert_eq!(subjects, expected);
    program.await_metric("kebne_function_events_waiting{function=\"f\"} 0.0");
}

#[test]
fn a_process_that_is_killed_delivers_what_waits_when_it_starts_again() {
    let (folder, (url, asked)) = (
        folder(),
        function_that(|_, socket| socket.write_all(answer("202 Accepted").as_bytes())),
    );
    let on = "[[functions.on]]\nevents = [\"call.ended\"]\n";
    // Nobody listens there.
    let text = INSTANT.to_owned() + &settings("http://127.0.0.1:9/", on);
    let program = start(folder.path(), &text);
    for number in 0..5 {
        chat(&program, &format!("req-{number}"));
    }
    program.await_metric("kebne_function_events_waiting{function=\"f\"} 5.0");
    program.signal("KILL");
    drop(program);
    let program = start(folder.path(), &text.replace("http://127.0.0.1:9/", &url));
    for number in 0..5 {
        assert_eq!(next(&asked).json()["subject"], format!("req-{number}"));
    }
    program.await_metric("kebne_function_events_waiting{function=\"f\"} 0.0");
}

#[test]
fn what_a_function_refuses_becomes_a_dead_letter_that_can_be_listed_delivered_and_removed() {
    let is_kind = Arc::new(AtomicBool::new(false));
    let kind = Arc::clone(&is_kind);
    let (folder, (url, asked)) = (
        folder(),
        function_that(move |_, socket| {
            let said = if kind.load(SeqCst) {
                http("application/json", "1")
            } else {
                answer("422 Unprocessable Content")
            };
            socket.write_all(said.as_bytes())
        }),
    );
    let on = "[[functions.on]]\nevents = [\"call.ended\"]\n";
    let program = start(folder.path(), &(INSTANT.to_owned() + &settings(&url, on)));
    chat(&program, "req-1");
    chat(&program, "req-2");
    let letters = await_letters(&program, 2);
    assert_eq!(
        (&letters[0]["event"]["subject"], &letters[0]["tries"]),
        (&json!("req-1"), &json!(1))
    );
    assert!(
        letters[0]["reason"].as_str().unwrap().contains("422"),
        "{letters:?}"
    );
    program.await_metric("kebne_function_events_total{function=\"f\",result=\"dead\"} 2");
    assert_eq!(count(&asked), 2);
    is_kind.store(true, SeqCst);
    let again = program.send("POST", &format!("{LETTERS}/deliver"), &[], &Value::Null);
    assert_eq!(
        again.json(),
        json!({"function": "f", "delivered_again": 2}),
        "{}",
        again.body
    );
    for subject in ["req-1", "req-2"] {
        let event = next(&asked);
        assert_eq!(event.json()["subject"], subject);
        assert_eq!(
            event.json()["id"],
            letters[usize::from(subject == "req-2")]["event"]["id"]
        );
    }
    await_letters(&program, 0);
    is_kind.store(false, SeqCst);
    chat(&program, "req-3");
    await_letters(&program, 1);
    let removed = program.send("DELETE", LETTERS, &[], &Value::Null);
    assert_eq!(removed.json(), json!({"function": "f", "removed": 1}));
    await_letters(&program, 0);
    let unknown = program.send(
        "POST",
        "/admin/v1/functions/none/dead-letters/deliver",
        &[],
        &Value::Null,
    );
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}

#[test]
fn what_cannot_be_delivered_in_time_becomes_a_dead_letter_and_the_next_one_is_tried() {
    let (folder, (url, _asked)) = (
        folder(),
        function_that(|_, socket| socket.write_all(answer("500 Oops").as_bytes())),
    );
    let more =
        "[[functions.on]]\nevents = [\"call.ended\"]\n[function_events]\ngive_up_after = \"0s\"\n";
    let program = start(folder.path(), &(INSTANT.to_owned() + &settings(&url, more)));
    chat(&program, "req-1");
    chat(&program, "req-2");
    let letters = await_letters(&program, 2);
    assert_eq!(letters[1]["event"]["subject"], "req-2");
}

#[test]
fn a_reload_begins_and_ends_a_subscription_and_events_that_are_off_are_an_error() {
    let (folder, (url, asked)) = (folder(), function(|_| json!({})));
    let plain = INSTANT.to_owned() + &settings(&url, "");
    let program = start(folder.path(), &plain);
    let reload = |text: &str| {
        fs::write(folder.path().join("kebne.toml"), text).unwrap();
        program.send("POST", "/admin/v1/reload", &[], &Value::Null)
    };
    chat(&program, "req-1");
    let subscribed = format!("{plain}[[functions.on]]\nevents = [\"call.ended\"]\n");
    assert_eq!(reload(&subscribed).status, 200);
    chat(&program, "req-2");
    assert_eq!(next(&asked).json()["subject"], "req-2");
    assert_eq!(reload(&plain).status, 200);
    chat(&program, "req-3");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(count(&asked), 0);
    let config = folder.path().join("off.toml");
    fs::write(&config, format!("{subscribed}[events]\nenabled = false\n")).unwrap();
    let output = Program::configured(folder.path(), &config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("functions[0].on") && said.contains("events.enabled"),
        "{said}"
    );
}

#[test]
fn an_erasure_removes_the_events_of_a_tenant_also_those_of_a_function_that_is_gone() {
    let (folder, hash) = (folder(), |key: &str| {
        hex::encode(Sha256::digest(key.as_bytes()))
    });
    let key = |name: &str| {
        format!(
            "[[server.keys]]\nname = \"{name}\"\nscopes = [\"call\", \"admin\", \"read_state\"]\nhash = \"{}\"\n",
            hash(name)
        )
    };
    let keys = key("ann") + &key("bob");
    let on = "[[functions.on]]\nevents = [\"call.ended\"]\n";
    let base = INSTANT.to_owned() + &keys;
    let program = start(
        folder.path(),
        &(base.clone() + &settings("http://127.0.0.1:9/", on)),
    );
    let send = |key: &str, method: &str, path: &str, body: &Value| {
        let bearer = format!("Bearer {key}");
        program.send(method, path, &[("authorization", &bearer)], body)
    };
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    for key in ["ann", "ann", "bob"] {
        assert_eq!(send(key, "POST", CHAT, &body).status, 200);
    }
    let held = |key: &str| {
        send(key, "GET", "/v1/privacy/data", &Value::Null)
            .json()
            .to_string()
    };
    let since = Instant::now();
    while !held("ann").contains("\"events\":2") {
        assert!(since.elapsed() < PATIENCE, "{}", held("ann"));
        thread::sleep(Duration::from_millis(20));
    }
    fs::write(folder.path().join("kebne.toml"), &base).unwrap();
    assert_eq!(
        send("ann", "POST", "/admin/v1/reload", &Value::Null).status,
        200
    );
    assert!(held("ann").contains("\"events\":2"), "{}", held("ann"));
    assert_eq!(
        send("ann", "DELETE", "/v1/privacy/data", &Value::Null).status,
        200
    );
    assert!(!held("ann").contains("\"events\":"), "{}", held("ann"));
    assert!(held("bob").contains("\"events\":1"), "{}", held("bob"));
}
