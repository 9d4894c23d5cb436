//! The service or the model that a guard asks.

use std::{
    io::Write as _,
    net::TcpStream,
    sync::{Arc, Mutex, mpsc::Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    guards::{CARD, chat, chunks, http, rule, start, streamed, text_of},
    program::{CHAT, folder},
    upstream::{asked_raw, upstream, upstream_that, whole},
};

/// A service that answers what the text asks for.
fn service(time: Duration) -> (String, Receiver<Value>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/check", listener.local_addr().unwrap());
    let (tell, questions) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket: TcpStream = socket.unwrap();
            let (_, body) = crate::upstream::read_parts(&socket);
            let question: Value = serde_json::from_str(&body).unwrap();
            let action = ["refuse", "tag"].into_iter().find(|word| {
                question["texts"]
                    .to_string()
                    .contains(&format!("please {word}"))
            });
            tell.send(question).ok();
            thread::sleep(time);
            let answer =
                json!({"action": action.unwrap_or("pass"), "rules": ["topic", "not\na name"]});
            socket
                .write_all(http("application/json", &answer.to_string()).as_bytes())
                .ok();
        }
    });
    (url, questions)
}

#[test]
fn a_service_lets_pass_tags_and_refuses() {
    let folder = folder();
    let (checks, questions) = service(Duration::ZERO);
    let (url, _requests) = upstream(|_| whole("fine"));
    let rules =
        rule("card", "mask", "[\"input\"]") + &format!("[guards.check]\nurl = \"{checks}\"\n");
    let program = start(folder.path(), &url, &rules);
    let answer = program.send(
        "POST",
        CHAT,
        &[],
        &chat(&format!("hello {CARD}"), json!({})),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let question = questions.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(question["texts"], json!(["hello [CARD]"]));
    assert_eq!(
        (&question["guard"], &question["side"], &question["model"]),
        (&json!("g"), &json!("input"), &json!("m"))
    );
    let answer = program.send("POST", CHAT, &[], &chat("please tag", json!({})));
    assert!(
        answer.status == 200 && answer.has("x-kebne-guard: input:g/check:topic=tag"),
        "{}",
        answer.head
    );
    let answer = program.send("POST", CHAT, &[], &chat("please refuse", json!({})));
    assert_eq!(
        answer.code(),
        (400, "content_filter".to_owned()),
        "{}",
        answer.body
    );
    program.await_metric(
        r#"kebne_guard_total{guard="g",rule="check",action="refuse",side="input"} 1"#,
    );
}

#[test]
fn a_service_that_is_slow_or_gone_is_open_or_closed() {
    let (slow, _questions) = service(Duration::from_secs(20));
    let gone = "http://127.0.0.1:1/check".to_owned();
    let (url, _requests) = upstream(|_| whole("fine"));
    for checks in [slow, gone] {
        for (when_gone, status) in [("open", 200), ("closed", 503)] {
            let folder = folder();
            let check = format!(
                "[guards.check]\nurl = \"{checks}\"\ntimeout = \"200ms\"\nwhen_gone = \"{when_gone}\"\n"
            );
            let program = start(folder.path(), &url, &check);
            let since = Instant::now();
            let answer = program.send("POST", CHAT, &[], &chat("hello", json!({})));
            assert_eq!(answer.status, status, "{}", answer.body);
            assert!(since.elapsed() < Duration::from_secs(10));
            if status == 503 {
                assert_eq!(answer.code(), (503, "guard_unavailable".to_owned()));
                assert!(
                    answer.header("retry-after").is_some() && !answer.body.contains("127.0.0.1"),
                    "{}",
                    answer.head
                );
            } else {
                assert!(
                    answer.has("x-kebne-guard: input:g/check:gone=tag"),
                    "{}",
                    answer.head
                );
            }
        }
    }
}

#[test]
fn a_streamed_answer_waits_for_the_service_part_by_part() {
    let folder = folder();
    let (checks, questions) = service(Duration::ZERO);
    let questions = Arc::new(Mutex::new(questions));
    let asked = Arc::clone(&questions);
    let (url, _requests) = upstream_that(move |_, socket| {
        let body = chunks(&[
            "This is the first part of a long answer, which the service lets pass. ",
            "But please ref",
            "use this part, and what follows it must never be seen by anybody at all. ",
            "The end.",
        ]);
        // The rest is sent when the first part is being checked.
        let (first, rest) = body.split_at(body.find("But").unwrap());
        socket.write_all(
            http("text/event-stream", &body)
                .split_once("data:")
                .unwrap()
                .0
                .as_bytes(),
        )?;
        socket.write_all(first.as_bytes())?;
        asked
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(30))
            .unwrap();
        socket.write_all(rest.as_bytes())
    });
    let check = format!("[guards.check]\nurl = \"{checks}\"\nsides = [\"output\"]\nstep = 64\n");
    let program = start(folder.path(), &url, &check);
    let answer = program.send("POST", CHAT, &[], &chat("a", json!({"stream": true})));
    assert!(
        text_of(&answer.body).starts_with("This is the first part"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("what follows"), "{}", answer.body);
    assert!(
        answer.body.contains("content_filter") && !answer.body.contains("[DONE]"),
        "{}",
        answer.body
    );
    assert_eq!(questions.lock().unwrap().try_iter().count(), 1);
    program.await_metric(
        r#"kebne_guard_total{guard="g",rule="check",action="refuse",side="output"} 1"#,
    );
    drop(program);

    let (url, _requests) = streamed(&["A short answer."]);
    let again = crate::program::folder();
    let program = start(again.path(), &url, &check);
    let answer = program.send("POST", CHAT, &[], &chat("a", json!({"stream": true})));
    assert_eq!(text_of(&answer.body), "A short answer.");
    assert!(answer.body.contains("data: [DONE]\n\n"), "{}", answer.body);
}

#[test]
fn a_moderation_model_of_the_gateway_is_asked_through_its_lane() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole("fine"));
    let (moderation, asked) = upstream(|number| {
        let flagged = number > 0;
        let result =
            json!({"flagged": flagged, "categories": {"hate": flagged, "self-harm": false}});
        http(
            "application/json",
            &json!({"id": "m", "model": "mod", "results": [result]}).to_string(),
        )
    });
    let more = format!(
        "[guards.check]\nmodel = \"mod\"\n[[backends]]\nname = \"mod\"\nkind = \"openai\"\nbase_url = \"{moderation}\"\n\
         [[models]]\nname = \"mod\"\nbackends = [\"mod\"]\n"
    );
    let program = start(folder.path(), &url, &more);
    let answer = program.send("POST", CHAT, &[], &chat("hello", json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(asked_raw(&asked)["input"], json!(["hello"]));
    let answer = program.send("POST", CHAT, &[], &chat("hello", json!({})));
    assert_eq!(
        answer.code(),
        (400, "content_filter".to_owned()),
        "{}",
        answer.body
    );
    assert!(
        answer.has("x-kebne-guard: input:g/check:hate=refuse"),
        "{}",
        answer.head
    );
}

#[test]
fn what_a_moderation_model_takes_counts_in_the_budget_of_the_key() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("fine"));
    let (moderation, asked) = upstream(|_| {
        let answer = json!({"id": "m", "model": "mod", "results": [{"flagged": false, "categories": {}}], "usage": {"prompt_tokens": 500}});
        http("application/json", &answer.to_string())
    });
    let hash = "4813494d137e1631bba301d5acab6e7bb7aa74ce1185d456565ef51d737677b2";
    let more = format!(
        "[guards.check]\nmodel = \"mod\"\nsides = [\"input\"]\n[[backends]]\nname = \"mod\"\nkind = \"openai\"\nbase_url = \"{moderation}\"\n\
         [[models]]\nname = \"mod\"\nbackends = [\"mod\"]\n[[server.keys]]\nname = \"root\"\nhash = \"{hash}\"\n\
         [[server.keys.limits.budgets]]\ntokens = 400\nper = \"month\"\n"
    );
    let program = start(folder.path(), &url, &more);
    for _ in 0..2 {
        let root = [("authorization", "Bearer root")];
        let answer = program.send("POST", CHAT, &root, &chat("hello", json!({})));
        assert_eq!(
            answer.code(),
            (429, "insufficient_quota".to_owned()),
            "{}",
            answer.body
        );
    }
    // The second call had no room for its check.
    assert_eq!(asked_raw(&asked)["input"], json!(["hello"]));
    assert!(asked.try_recv().is_err());
    assert!(requests.try_recv().is_err());
}
