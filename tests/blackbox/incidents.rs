//! Staged incidents that need more than one fault: each raises the alert of its rule on the real program.

use std::{
    fs,
    io::Write,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    alerts::{PATIENCE, alerts, await_alert},
    program::{Answer, CHAT, Program, folder},
    upstream::{in_front_of, upstream_that, whole},
};

/// What a server answers: an HTTP status, further header lines, and a body.
fn refusal(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// An answer of a status that means success, and that is cut off.
fn garbage() -> String {
    refusal("200 OK", "", "{")
}

/// A server that answers what `answer` returns.
fn server(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> String {
    let (url, requests) = upstream_that(move |number, socket| {
        // Slow enough that the time of an answer is that of the server.
        thread::sleep(Duration::from_millis(5));
        socket.write_all(answer(number).as_bytes())
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    url
}

/// A failure is not tried again.
const ONCE: &str = "[backends.limits]\nattempts_max = 1\n";

fn ask(program: &Program, model: &str, deadline_ms: u32) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    let deadline = deadline_ms.to_string();
    program.send("POST", CHAT, &[("x-kebne-deadline-ms", &deadline)], &body)
}

/// Makes so many calls, eight at once.
fn many(program: &Program, model: &str, calls: usize) {
    let left = AtomicUsize::new(calls);
    let take = || left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while take().is_ok() {
                    ask(program, model, 20_000);
                }
            });
        }
    });
}

fn state(program: &Program) -> Value {
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    state["lanes"][0]["state"].clone()
}

fn await_state(program: &Program, wanted: &[&str], mut meanwhile: impl FnMut()) {
    let since = Instant::now();
    loop {
        let state = state(program);
        if wanted.iter().any(|wanted| state == *wanted) {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{state} is none of {wanted:?}");
        meanwhile();
    }
}

fn text<'a>(alert: &'a Value, key: &str) -> &'a str {
    alert[key].as_str().unwrap()
}

fn is_active(program: &Program, rule: &str) -> bool {
    let alerts = alerts(program);
    let mut active = alerts["active"].as_array().unwrap().iter();
    active.any(|alert| alert["rule"] == rule)
}

#[test]
fn many_failed_calls_burn_fast_and_fewer_slowly() {
    for (every, rule, other) in [
        (3, "burn_rate_fast", "burn_rate_slow"),
        (9, "burn_rate_slow", "burn_rate_fast"),
    ] {
        let folder = folder();
        let url = server(move |number| {
            if number % every == every - 1 {
                garbage()
            } else {
                whole("a")
            }
        });
        let program = in_front_of(folder.path(), &url, ONCE);
        let alert = await_alert(&program, "active", rule, || many(&program, "simulated", 40));
        let sentence = text(&alert, "sentence");
        assert!(
            sentence.contains("calls that `simulated` admitted"),
            "{sentence}"
        );
        assert!(
            sentence.contains("99 % succeed. Of the failed calls: 100 % of the model `simulated` with `upstream_error`. The last error: "),
            "{sentence}"
        );
        assert!(text(&alert, "action").contains("the log of the server of `simulated`"));
        assert!(!is_active(&program, other), "{other}");
        assert!(!is_active(&program, &format!("model_{rule}")));
    }
}

#[test]
fn a_model_whose_backends_all_fail_is_an_alert_of_its_own() {
    let folder = folder();
    // Both backends of one model fail all calls.
    let (url, broken) = (server(|_| whole("a")), server(|_| garbage()));
    let config = folder.path().join("kebne.toml");
    let text_of_config = format!(
        "[alerts.rules]\nfailures_min = 3\n\
         [[backends]]\nname = \"good\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[backends]]\nname = \"bad\"\nkind = \"openai\"\nbase_url = \"{broken}\"\n{ONCE}\
         [[backends]]\nname = \"worse\"\nkind = \"openai\"\nbase_url = \"{broken}\"\n{ONCE}\
         [[models]]\nname = \"well\"\nbackends = [\"good\", \"bad\"]\n\
         [[models]]\nname = \"ill\"\nbackends = [\"bad\", \"worse\"]\n"
    );
    fs::write(&config, text_of_config).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let alert = await_alert(&program, "active", "model_burn_rate_fast", || {
        many(&program, "well", 10);
        many(&program, "ill", 10);
    });
    assert_eq!(alert["subject"], "ill");
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("of the model `ill`") && sentence.contains("Of the failed calls: "),
        "{sentence}"
    );
    assert!(text(&alert, "action").contains("`upstream` of `ill`"));
    let lane = await_alert(&program, "active", "burn_rate_fast", || {
        many(&program, "ill", 10);
    });
    assert!(["bad", "worse"].contains(&text(&lane, "subject")), "{lane}");
}

#[test]
fn a_backend_that_recovers_and_fails_again_is_flapping() {
    let folder = folder();
    let fails = Arc::new(AtomicBool::new(false));
    let is_failing = Arc::clone(&fails);
    let url = server(move |_| {
        if is_failing.load(SeqCst) {
            refusal("500 Error", "", "{}")
        } else {
            whole("a")
        }
    });
    let program = in_front_of(folder.path(), &url, "");
    for _ in 0..3 {
        fails.store(false, SeqCst);
        await_state(&program, &["ramp", "steady"], || {
            ask(&program, "simulated", 5000);
        });
        // A sample must have seen it, here and below.
        thread::sleep(Duration::from_millis(1200));
        fails.store(true, SeqCst);
        await_state(&program, &["open"], || {
            ask(&program, "simulated", 1000);
        });
        thread::sleep(Duration::from_millis(1200));
    }
    let alert = await_alert(&program, "active", "flapping", || {});
    let sentence = text(&alert, "sentence");
    assert!(sentence.contains("opened 3 times"), "{sentence}");
    assert!(text(&alert, "action").contains("`limit_max`"));
}

#[test]
fn a_load_that_takes_too_long_is_an_alert_until_it_ends() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[
            ("KEBNE__BACKENDS__0__SIMULATION__COLD_START", "4s"),
            ("KEBNE__ALERTS__RULES__COLD_START_MAX", "1s"),
        ],
    );
    let alert = thread::scope(|scope| {
        let call = scope.spawn(|| ask(&program, "simulated", 30_000));
        let alert = await_alert(&program, "active", "cold_start_long", || {});
        assert_eq!(call.join().unwrap().status, 200);
        alert
    });
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.starts_with("`simulated` has been loading its model since"),
        "{sentence}"
    );
    await_alert(&program, "recent", "cold_start_long", || {});
}

#[test]
fn refusals_that_last_are_an_alert() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[
            ("KEBNE__BACKENDS__0__SIMULATION__CAPACITY", "1"),
            ("KEBNE__BACKENDS__0__SIMULATION__CAPACITY_START", "1"),
            ("KEBNE__BACKENDS__0__SIMULATION__LATENCY", "200ms"),
            ("KEBNE__BACKENDS__0__LIMITS__QUEUE_MAX", "2"),
            ("KEBNE__ALERTS__RULES__REFUSALS_FOR", "1s"),
        ],
    );
    let alert = await_alert(&program, "active", "refusals_sustained", || {
        many(&program, "simulated", 16);
    });
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains(" with `queue_full` (as many calls wait as"),
        "{sentence}"
    );
}

#[test]
fn a_backend_without_quota_is_an_alert_that_says_what_callers_get_and_whose_command_works() {
    let folder = folder();
    let body = r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let url = server(move |_| refusal("429 Too Many Requests", "", body));
    let program = in_front_of(folder.path(), &url, "");
    let refused = ask(&program, "simulated", 5000);
    assert_eq!(refused.code(), (429, "insufficient_quota".to_owned()));
    let alert = await_alert(&program, "active", "quota_used_up", || {});
    assert_eq!(
        (&alert["severity"], &alert["subject"]),
        (&json!("critical"), &json!("simulated"))
    );
    let sentence = text(&alert, "sentence");
    let start = "The quota of `simulated` at its provider is used up, since ";
    assert!(sentence.starts_with(start), "{sentence}");
    assert!(
        sentence.contains(
            "refused at once, with 429 `insufficient_quota`. The gateway asks again with one call, "
        ),
        "{sentence}"
    );
    assert!(
        sentence.contains("exceeded your current quota"),
        "{sentence}"
    );
    let command = format!("`curl -X POST http://{}", program.address);
    let (_, path) = text(&alert, "action").split_once(&command).unwrap();
    let path = path.split_once('`').unwrap().0;
    assert_eq!(path, "/admin/v1/backends/simulated/disable");
    assert_eq!(program.send("POST", path, &[], &Value::Null).status, 200);
    await_alert(&program, "active", "lane_closed", || {});
}

#[test]
fn a_lane_that_hangs_is_a_stuck_actor() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[("KEBNE__ALERTS__RULES__STUCK_AFTER", "1s")],
    );
    assert_eq!(ask(&program, "simulated", 5000).status, 200);
    let json = [("content-type", "application/json")];
    let missing = program.send("POST", "/lab/nothing/hang", &json, &Value::Null);
    assert_eq!(missing.code(), (404, "not_found".to_owned()));
    let hung = program.send("POST", "/lab/simulated/hang", &json, &Value::Null);
    assert_eq!(hung.status, 202, "{}", hung.body);
    let alert = await_alert(&program, "active", "stuck_actor", || {});
    assert_eq!(alert["severity"], "critical");
    assert_eq!(alert["subject"], "actors");
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("The actors of the lane `simulated` have answered nothing"),
        "{sentence}"
    );
    assert!(text(&alert, "action").contains("restart the gateway"));
}

#[test]
fn workers_that_panic_again_and_again_are_an_alert_with_the_cause() {
    let folder = folder();
    let program = Program::start(
        folder.path(),
        &[
            ("KEBNE__BACKENDS__0__SIMULATION__FAULT", "panic"),
            ("KEBNE__BACKENDS__0__SIMULATION__FAULT_SHARE", "0.5"),
        ],
    );
    let alert = await_alert(&program, "active", "actor_restarts", || {
        ask(&program, "simulated", 5000);
    });
    let sentence = text(&alert, "sentence");
    assert!(sentence.contains("/worker` was restarted"), "{sentence}");
    assert!(sentence.contains("panicked"), "{sentence}");
}

#[test]
fn a_store_that_is_locked_is_an_alert_with_the_reason() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let session = program.session();
    assert_eq!(program.chat(&session, "one").status, 200);
    let path = folder.path().join("kebne-data/sessions.sqlite");
    let lock = rusqlite::Connection::open(path).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let alert = await_alert(&program, "active", "store_down", || {
        // The first answer is there before the store is found to be locked.
        let status = program.chat(&session, "two").status;
        assert!([500, 503].contains(&status), "{status}");
    });
    let sentence = text(&alert, "sentence");
    assert!(sentence.contains("locked"), "{sentence}");
    assert!(text(&alert, "action").contains("another process holds the file"));
    assert!(!is_active(&program, "actor_restarts"));
}

#[test]
fn a_server_that_announces_far_too_short_loads_makes_wrong_times_to_come_back() {
    let folder = folder();
    let loads = Arc::new(AtomicBool::new(false));
    let is_loading = Arc::clone(&loads);
    let body = r#"{"error":"Model a is currently loading","estimated_time":1.0}"#;
    let url = server(move |_| {
        if is_loading.load(SeqCst) {
            refusal("503 Service Unavailable", "", body)
        } else {
            whole("a")
        }
    });
    let rules = "[alerts.rules]\npromises_min = 1\n";
    let program = in_front_of(folder.path(), &url, rules);
    let hasty = || drop(ask(&program, "simulated", 300));
    // One load that takes as long as is announced: without any, no time to come back is judged.
    loads.store(true, SeqCst);
    await_state(&program, &["cold"], hasty);
    thread::sleep(Duration::from_secs(1));
    loads.store(false, SeqCst);
    await_state(&program, &["ramp", "steady"], || {
        ask(&program, "simulated", 5000);
    });
    thread::sleep(Duration::from_millis(1200));
    assert!(!is_active(&program, "retry_after_wrong"));
    // Now it does not end.
    loads.store(true, SeqCst);
    let alert = await_alert(&program, "active", "retry_after_wrong", hasty);
    let sentence = text(&alert, "sentence");
    assert!(sentence.contains("wrong times to come back"), "{sentence}");
    assert!(text(&alert, "action").contains("`estimated_time`"));
}

#[test]
fn a_log_that_nobody_reads_is_an_alert() {
    let folder = folder();
    let variables = [
        ("KEBNE__LOG__FILTER", "trace"),
        ("KEBNE__LOG__FORMAT", "json"),
    ];
    let mut command = Program::command(folder.path(), &variables);
    // The pipe is not read.
    let program = Program::spawn_with(&mut command, Stdio::piped());
    let alert = await_alert(&program, "active", "log_lines_dropped", || {
        many(&program, "simulated", 200);
    });
    let sentence = text(&alert, "sentence");
    assert!(
        sentence.contains("lines of the log have been lost"),
        "{sentence}"
    );
    assert!(text(&alert, "action").contains("log.filter"));
}

#[test]
fn an_alert_survives_a_restart_as_the_same_alert() {
    let folder = folder();
    let url = server(|number| {
        if number % 3 == 2 {
            garbage()
        } else {
            whole("a")
        }
    });
    let mut program = in_front_of(folder.path(), &url, ONCE);
    let burning = || {
        await_alert(&program, "active", "burn_rate_fast", || {
            many(&program, "simulated", 40);
        })
    };
    let before = burning();
    assert_eq!(program.terminate(), Some(0));
    let kept = fs::read_to_string(folder.path().join("kebne-data/learned.json")).unwrap();
    assert!(kept.contains("burn_rate_fast"), "{kept}");
    let program = Program::start_plain(folder.path(), &folder.path().join("kebne.toml"));
    let same = || {
        let active = alerts(&program)["active"].clone();
        let [alert] = active.as_array().unwrap().as_slice() else {
            panic!("{active}");
        };
        assert_eq!(
            (&alert["id"], &alert["since"]),
            (&before["id"], &before["since"])
        );
    };
    same();
    many(&program, "simulated", 80);
    thread::sleep(Duration::from_millis(1500));
    // It is not announced again.
    same();
}
