//! Who is told no, why, and when to come back.

use serde_json::{Value, json};

use crate::program::{Answer, CHAT, Program, folder};

fn ask(program: &Program, deadline: &str) -> Answer {
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[("x-kebne-deadline-ms", deadline)], &body)
}

/// Both hints are there and lie in (0, 60] seconds.
fn assert_hint(answer: &Answer) {
    let value = |name: &str| {
        let line = answer.head.lines().find_map(|line| line.strip_prefix(name));
        assert!(line.is_some(), "no {name} in {}", answer.head);
        line.unwrap().parse::<u64>().unwrap()
    };
    assert!(
        (1..=60).contains(&value("retry-after: ")),
        "{}",
        answer.head
    );
    assert!(
        (1..=60_000).contains(&value("retry-after-ms: ")),
        "{}",
        answer.head
    );
}

#[test]
fn a_backend_that_asks_for_a_pause_gets_it() {
    let folder = folder();
    let fault = [("KEBNE__BACKENDS__0__SIMULATION__FAULT", "rate-limit")];
    let program = Program::start(folder.path(), &fault);
    let answer = ask(&program, "400");
    assert_eq!(answer.code(), (503, "server_is_overloaded".to_owned()));
    assert_hint(&answer);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let changes = state["lanes"][0]["state_changes"].as_array().unwrap();
    let changes: Vec<_> = changes
        .iter()
        .map(|change| change.as_str().unwrap())
        .collect();
    assert_eq!(changes[0], "idle->probe", "{changes:?}");
    assert!(changes.contains(&"probe->paused"), "{changes:?}");
}

#[test]
fn nobody_is_kept_waiting_for_a_quota_whose_renewal_is_unknown() {
    let folder = folder();
    let fault = [("KEBNE__BACKENDS__0__SIMULATION__FAULT", "quota")];
    let program = Program::start(folder.path(), &fault);
    let since = std::time::Instant::now();
    for _ in 0..2 {
        let answer = ask(&program, "600000");
        assert_eq!(answer.code(), (429, "insufficient_quota".to_owned()));
        assert!(
            answer.head.contains("\r\nx-should-retry: false"),
            "{}",
            answer.head
        );
    }
    // The lane asks again after a minute; a caller that waited for it would wait as long.
    assert!(since.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn a_backend_that_only_fails_is_broken_and_the_gateway_not_ready() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__FAULT", "http-500"),
        ("KEBNE__BACKENDS__0__LIMITS__ATTEMPTS_MAX", "1"),
    ];
    let program = Program::start(folder.path(), &variables);
    let broken = (0..50)
        .map(|_| ask(&program, "300"))
        .find(|answer| answer.status == 503);
    let broken = broken.expect("the breaker opens");
    assert_eq!(broken.code(), (503, "backend_broken".to_owned()));
    assert_hint(&broken);
    let ready = program.send("GET", "/readyz", &[], &Value::Null);
    assert_eq!(
        (ready.status, ready.json()["status"].clone()),
        (503, json!("broken"))
    );
    program.await_metric(r#"kebne_state{lane="simulated",state="open"} 1"#);
    program.await_metric(r#"kebne_state{lane="simulated",state="steady"} 0"#);
    let lane = program.send("GET", "/state", &[], &Value::Null).json()["lanes"][0].clone();
    assert_eq!(
        (&lane["state"], &lane["controller"]["behind"]),
        (&json!("open"), &json!("open"))
    );
    assert_eq!(
        program.send("GET", "/healthz", &[], &Value::Null).status,
        200
    );
}

#[test]
fn a_wait_beyond_the_deadline_is_refused_at_once() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__LATENCY", "400ms"),
        ("KEBNE__BACKENDS__0__LIMITS__LIMIT_INITIAL", "1"),
        ("KEBNE__BACKENDS__0__LIMITS__LIMIT_MAX", "1"),
    ];
    let program = Program::start(folder.path(), &variables);
    // The lane learns how long a call takes.
    for _ in 0..3 {
        assert_eq!(ask(&program, "20000").status, 200);
    }
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| ask(&program, "30000")))
            .collect();
        let line = r#"kebne_calls_live{lane="simulated"} 12.0"#;
        program.await_metric(line);
        let since = std::time::Instant::now();
        let answer = ask(&program, "900");
        assert_eq!(
            answer.code(),
            (429, "wait_too_long".to_owned()),
            "{}",
            answer.body
        );
        assert_hint(&answer);
        assert!(
            since.elapsed().as_millis() < 900,
            "it was told before the deadline"
        );
        for call in waiting {
            assert_eq!(call.join().unwrap().status, 200);
        }
    });
}

#[test]
fn a_drain_ends_what_was_let_in_and_lets_nobody_else_in() {
    let folder = folder();
    let variables = [
        ("KEBNE__BACKENDS__0__SIMULATION__TOKEN_TIME", "40ms"),
        ("KEBNE__BACKENDS__0__SIMULATION__ANSWER_TOKENS", "150"),
        // On a busy machine each token is late, and the streams together later than the default.
        ("KEBNE__SERVER__DRAIN_DEADLINE", "10m"),
    ];
    let mut program = Program::start(folder.path(), &variables);
    let body = json!({"model": "simulated", "stream": true, "messages": [{"role": "user", "content": "a"}]});
    let address = program.address;
    let streams: Vec<_> = (0..2)
        .map(|_| {
            let body = body.to_string();
            std::thread::spawn(move || Program::exchange(address, "POST", CHAT, &[], &body))
        })
        .collect();
    program.await_metric(r#"kebne_calls_live{lane="simulated"} 2.0"#);
    program.ask_to_stop();
    // Before the drain begins a call may be let in, or find that both slots are taken for too long. None may take as
    // long as the streams: with the last of them the program ends.
    let refused = loop {
        let answer = ask(&program, "300");
        let waited = answer.code() == (503, "queue_timeout".to_owned());
        if !waited && !matches!(answer.status, 200 | 429 | 504) {
            break answer;
        }
    };
    assert_eq!(refused.code(), (503, "draining".to_owned()));
    assert_hint(&refused);
    let ready = program.send("GET", "/readyz", &[], &Value::Null);
    assert_eq!(
        (ready.status, ready.json()["status"].clone()),
        (503, json!("draining"))
    );
    for stream in streams {
        let answer = stream.join().unwrap().unwrap();
        assert!(answer.body.contains("data: [DONE]\n\n"), "{}", answer.body);
    }
    assert_eq!(program.child.wait().unwrap().code(), Some(0));
}
