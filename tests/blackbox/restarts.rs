//! What is there after the program was stopped, refused to start, or was killed.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::program::{CHAT, Program, SESSION, folder};

#[test]
fn what_was_learned_is_known_after_a_restart() {
    let folder = folder();
    let cold = [("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "500ms")];
    let load_time = |program: &Program| {
        let state = program.send("GET", "/state", &[], &Value::Null).json();
        state["lanes"][0]["controller"]["load_time_p50"].clone()
    };
    let mut program = Program::start(folder.path(), &cold);
    assert_eq!(load_time(&program), Value::Null);
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &[], &body).status, 200);
    // The controller hears of an answer when its caller does, not before.
    let given_up = Instant::now() + Duration::from_secs(30);
    let learned = loop {
        let learned = load_time(&program);
        if learned != Value::Null || Instant::now() > given_up {
            break learned;
        }
    };
    assert_ne!(learned, Value::Null);
    assert_eq!(program.terminate(), Some(0));
    let program = Program::start(folder.path(), &cold);
    assert_eq!(load_time(&program), learned);
}

#[test]
fn a_wrong_key_and_a_damaged_file_stop_the_start_with_the_reason() {
    let folder = folder();
    let (right, wrong) = ("a".repeat(64), "b".repeat(64));
    let program = Program::start(folder.path(), &[("KEBNE_CONTEXT_KEY", &right)]);
    let id = program.session();
    assert_eq!(program.chat(&id, "secret").status, 200);
    drop(program);
    let refused = |variables: &[(&str, &str)]| {
        let ended = Program::command(folder.path(), variables).output().unwrap();
        assert_ne!(ended.status.code(), Some(0));
        String::from_utf8(ended.stderr).unwrap()
    };
    let said = refused(&[("KEBNE_CONTEXT_KEY", &wrong)]);
    assert!(said.contains("the key is not the one"), "{said}");
    let said = refused(&[]);
    assert!(said.contains("encrypted, and no key is set"), "{said}");
    let said = refused(&[("KEBNE_CONTEXT_KEY", "abc")]);
    assert!(
        said.contains("KEBNE_CONTEXT_KEY") && said.contains("64"),
        "{said}"
    );
    let program = Program::start(folder.path(), &[("KEBNE_CONTEXT_KEY", &right)]);
    assert_eq!(program.texts(&id)[0], "u secret");
    drop(program);
    fs::write(
        folder.path().join("kebne-data/sessions.sqlite"),
        "no database at all",
    )
    .unwrap();
    let said = refused(&[("KEBNE_CONTEXT_KEY", &right)]);
    assert!(
        said.contains("context.path") && said.contains("damaged"),
        "{said}"
    );
}

/// Callers that talk at once while the program is killed.
const CALLERS: usize = 6;

#[test]
fn every_acknowledged_turn_is_there_after_kill_9() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let ids: Vec<String> = (0..CALLERS).map(|_| program.session()).collect();
    let acknowledged: Vec<Mutex<usize>> = ids.iter().map(|_| Mutex::new(0)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (id, acknowledged) in ids.iter().zip(&acknowledged) {
            let (program, over) = (&program, &over);
            scope.spawn(move || {
                for number in 0.. {
                    let stream = number % 2 == 1;
                    let text = format!("turn {number}");
                    let body = json!({"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": text}]});
                    let answer = program.try_send("POST", CHAT, &[(SESSION, id)], &body.to_string());
                    let whole = answer.filter(|answer| {
                        let ended = !stream || answer.body.contains("data: [DONE]\n\n");
                        // A body that was cut by the kill has no end.
                        answer.status == 200 && ended && (stream || serde_json::from_str::<Value>(&answer.body).is_ok())
                    });
                    if whole.is_none() || over.load(SeqCst) {
                        *acknowledged.lock().unwrap() += usize::from(whole.is_some());
                        return;
                    }
                    *acknowledged.lock().unwrap() += 1;
                }
            });
        }
        let enough = || acknowledged.iter().all(|count| *count.lock().unwrap() >= 5);
        let since = Instant::now();
        while !enough() {
            assert!(since.elapsed() < Duration::from_mins(1), "no progress");
            std::thread::sleep(Duration::from_millis(5));
        }
        program.signal("KILL");
        over.store(true, SeqCst);
    });
    drop(program);
    let program = Program::start(folder.path(), &[]);
    for (id, acknowledged) in ids.iter().zip(acknowledged) {
        let acknowledged = acknowledged.into_inner().unwrap();
        let texts = program.texts(id);
        let asked: Vec<&String> = texts.iter().step_by(2).collect();
        assert!(
            asked.len() >= acknowledged,
            "{} < {acknowledged}",
            asked.len()
        );
        // The one turn that was kept and not yet acknowledged when the end came may be there too.
        assert!(asked.len() <= acknowledged + 1);
        for (number, text) in asked.iter().enumerate() {
            assert_eq!(**text, format!("u turn {number}"));
        }
        let kept = texts.iter().skip(1).step_by(2);
        assert!(
            kept.clone().count() == asked.len() && kept.clone().all(|text| text.starts_with("a "))
        );
    }
}

#[test]
fn a_backend_that_an_operator_took_out_stays_out_after_a_kill_until_it_is_reopened() {
    let folder = folder();
    let backend = "/admin/v1/backends/simulated";
    let program = Program::start(folder.path(), &[]);
    let drained = program.send("POST", &format!("{backend}/drain"), &[], &Value::Null);
    assert_eq!(
        drained.json()["decided"]["action"],
        "drain",
        "{}",
        drained.body
    );
    drop(program);

    let program = Program::start(folder.path(), &[]);
    let found = program.send("GET", backend, &[], &Value::Null).json();
    assert_eq!(found["service"], "drained", "{found}");
    assert!(
        found["decided"]["at"].as_u64().unwrap() > 1_700_000_000,
        "{found}"
    );
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let refused = program.send("POST", CHAT, &[], &body);
    assert_eq!(refused.code(), (503, "lane_closed".to_owned()));
    program.send("POST", &format!("{backend}/reopen"), &[], &Value::Null);
    drop(program);

    let program = Program::start(folder.path(), &[]);
    let found = program.send("GET", backend, &[], &Value::Null).json();
    assert_eq!(
        (&found["service"], &found["decided"]),
        (&json!("open"), &Value::Null)
    );
    let list = program
        .send("GET", "/admin/v1/decisions", &[], &Value::Null)
        .json();
    let actions: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["action"])
        .collect();
    assert_eq!(actions, ["reopen", "drain"], "{list}");
}
