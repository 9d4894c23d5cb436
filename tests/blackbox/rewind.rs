//! Sessions that are rewound while calls of them run, and after routes have remembered something of them.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, SESSION, folder},
    upstream::{asked_raw, upstream, upstream_that, whole},
};

fn start(folder: &Path, text: &str) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn rewind(program: &Program, session: &str, turn: u64) -> Value {
    let path = format!("/v1/sessions/{session}/rewind");
    let answer = program.send("POST", &path, &[], &json!({ "turn": turn }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn streamed() -> String {
    let chunk = json!({"id": "1", "object": "chat.completion.chunk", "choices": [
        {"index": 0, "delta": {"role": "assistant", "content": "late"}, "finish_reason": "stop"}
    ]});
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {chunk}\n\ndata: [DONE]\n\n"
    )
}

/// Makes a call of a session in a thread of its own.
fn call(program: &Program, session: &str, stream: bool) -> thread::JoinHandle<Answer> {
    let (address, session) = (program.address, session.to_owned());
    let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": "slow"}]});
    thread::spawn(move || {
        let headers = [(SESSION, session.as_str())];
        Program::exchange(address, "POST", CHAT, &headers, &body.to_string()).unwrap()
    })
}

#[test]
fn a_call_that_runs_while_its_session_is_rewound_is_not_kept() {
    for store in ["memory", "sqlite"] {
        let folder = folder();
        // Answers to `slow` wait for a permit.
        let (permit, permits) = channel::<()>();
        let permits = Arc::new(std::sync::Mutex::new(permits));
        let (tell, arrived): (Sender<()>, _) = channel();
        let (url, _requests) = upstream_that(move |number, socket| {
            if number < 2 {
                return socket.write_all(whole("ok").as_bytes());
            }
            tell.send(()).ok();
            permits.lock().unwrap().recv().ok();
            let answer = if number % 2 == 0 {
                whole("late")
            } else {
                streamed()
            };
            socket.write_all(answer.as_bytes())
        });
        let text = format!(
            "[context]\nstore = \"{store}\"\n[[backends]]\nname = \"simulated\"\nkind = \"openai\"\nbase_url = \"{url}\"\n"
        );
        let program = start(folder.path(), &text);
        let id = program.session();
        for text in ["one", "two"] {
            assert_eq!(program.chat(&id, text).status, 200);
        }
        // The first rewind removes a turn, the second one none.
        for (stream, to) in [(false, 1), (true, 1)] {
            let running = call(&program, &id, stream);
            arrived.recv().unwrap();
            assert_eq!(rewind(&program, &id, to)["turns"], to);
            permit.send(()).unwrap();
            let answer = running.join().unwrap();
            if stream {
                assert!(answer.body.contains("session_changed"), "{}", answer.body);
                assert!(!answer.body.contains("[DONE]"), "{}", answer.body);
            } else {
                assert_eq!(answer.code(), (409, "session_changed".to_owned()));
                assert!(answer.has("x-should-retry: false"), "{}", answer.head);
            }
            assert_eq!(program.texts(&id), ["u one", "a ok"], "{store}");
        }
        // A call that begins after the rewind goes on where it ended.
        let running = call(&program, &id, false);
        arrived.recv().unwrap();
        permit.send(()).unwrap();
        assert_eq!(running.join().unwrap().status, 200);
        assert_eq!(program.texts(&id), ["u one", "a ok", "u slow", "a late"]);
    }
}

#[test]
fn a_rewound_session_is_routed_anew() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let model = |name: &str| format!("[[models]]\nname = \"{name}\"\nbackends = [\"b\"]\n");
    let text = format!(
        "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n{}{}\
         [[routes]]\nname = \"support\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"escalate\"\ntarget = \"large\"\nstay = true\n\
         when = {{ headers = {{ x-plan = \"gold\" }} }}\n\
         [[routes.rules]]\nname = \"after-large\"\ntarget = \"large\"\nwhen = {{ last_targets = [\"large\"] }}\n",
        model("small"),
        model("large")
    );
    let program = start(folder.path(), &text);
    let id = program.session();
    let rule = |headers: &[(&str, &str)]| {
        let body = json!({"model": "support", "messages": [{"role": "user", "content": "Hi"}]});
        let headers = [&[(SESSION, id.as_str())], headers].concat();
        let answer = program.send("POST", CHAT, &headers, &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let model = asked_raw(&requests)["model"].clone();
        (answer.header("x-kebne-route").unwrap().to_owned(), model)
    };
    let (small, large) = (json!("small"), json!("large"));
    assert_eq!(rule(&[]), ("support/default".to_owned(), small.clone()));
    let escalated = ("support/escalate".to_owned(), large.clone());
    assert_eq!(rule(&[("x-plan", "gold")]), escalated);
    // It stays, whatever the header says.
    assert_eq!(rule(&[]), escalated);
    rewind(&program, &id, 1);
    // Neither the rule with which it stayed nor the model of its last turn is known.
    assert_eq!(rule(&[]), ("support/default".to_owned(), small));
    assert_eq!(rule(&[("x-plan", "gold")]), escalated);
}
