//! Fairness and priorities: tenants by their keys, priorities and shares, over the wire. Bounds are wide, the machine may be busy.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Answer, CHAT, Program, folder};

const BUSY: &str = "[[backends]]\nname = \"b\"\nsimulation = {preset = \"instant\", latency = \"30ms\"}\n\
    limits = {law = \"fixed\", limit_initial = 2, limit_max = 2}\n[[models]]\nname = \"m\"\nbackends = [\"b\"]\n";

/// Starts the program with keys, each named and keyed by one word, with more settings.
fn start(folder: &Path, backend: &str, keys: &[(&str, &str)]) -> Program {
    let mut text = String::new();
    for (name, more) in keys {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        writeln!(
            text,
            "[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [\"call\", \"read_state\"]\n{more}"
        )
        .unwrap();
    }
    let config = folder.join("kebne.toml");
    fs::write(&config, format!("{text}{backend}")).unwrap();
    Program::start_plain(folder, &config)
}

fn ask(program: &Program, key: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {key}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let body =
        json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &all, &body)
}

/// Waits until so many calls wait.
fn await_queue(program: &Program, key: &str, least: u64) {
    let bearer = format!("Bearer {key}");
    loop {
        let state = program.send("GET", "/state", &[("authorization", &bearer)], &Value::Null);
        let queued = state.json()["lanes"][0]["pool"]["queued"].as_u64();
        if queued >= Some(least) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A key, its headers, and how many callers it has.
type Callers<'a> = (&'a str, &'a [(&'a str, &'a str)], usize);

/// Each tenant calls all the time with so many callers, until `measured` calls of the last one are served; returns
/// how many of each were served meanwhile.
fn compete(program: &Program, callers: &[Callers<'_>], measured: usize) -> Vec<usize> {
    let served: Vec<AtomicUsize> = callers.iter().map(|_| AtomicUsize::new(0)).collect();
    let over = AtomicBool::new(false);
    let result = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (place, (key, headers, count)) in callers.iter().enumerate() {
            for _ in 0..*count {
                let (served, over, result) = (&served, &over, &result);
                scope.spawn(move || {
                    while !over.load(SeqCst) {
                        assert_eq!(ask(program, key, headers).status, 200);
                        let mine = served[place].fetch_add(1, SeqCst) + 1;
                        let last = place + 1 == served.len();
                        if last && mine == measured && !over.swap(true, SeqCst) {
                            let counts = served.iter().map(|count| count.load(SeqCst));
                            *result.lock().unwrap() = counts.collect();
                        }
                    }
                });
            }
        }
    });
    result.into_inner().unwrap()
}

fn jain(served: &[usize]) -> f64 {
    let real = |count: &usize| f64::from(u32::try_from(*count).unwrap());
    let sum: f64 = served.iter().map(real).sum();
    let squares: f64 = served.iter().map(|count| real(count).powi(2)).sum();
    sum * sum / (real(&served.len()) * squares)
}

#[test]
fn a_tenant_that_offers_ten_times_its_share_takes_nothing_from_the_others() {
    let folder = folder();
    let program = start(folder.path(), BUSY, &[("greedy", ""), ("a", ""), ("b", "")]);
    let callers = [
        ("greedy", &[][..], 40),
        ("a", &[][..], 4),
        ("b", &[][..], 4),
    ];
    let served = compete(&program, &callers, 50);
    assert!(jain(&served) >= 0.95, "{served:?}");
}

#[test]
fn keys_of_one_tenant_share_its_turn_and_named_tenants_have_their_own() {
    let folder = folder();
    let shared = "tenant = \"t\"";
    let keys = [
        ("one", shared),
        ("two", shared),
        ("proxy", "names_tenants = true"),
    ];
    let program = start(folder.path(), BUSY, &keys);
    let tenant = |name| [("x-kebne-tenant", name)];
    let (x, y) = (tenant("x"), tenant("y"));
    let callers = [
        ("one", &[][..], 5),
        ("two", &[][..], 5),
        ("proxy", &x[..], 5),
        ("proxy", &y[..], 5),
    ];
    let served = compete(&program, &callers, 50);
    let by_tenant = [served[0] + served[1], served[2], served[3]];
    assert!(jain(&by_tenant) >= 0.95, "{served:?}");
}

#[test]
fn a_tenant_with_a_larger_share_is_served_that_much_more() {
    let folder = folder();
    let program = start(
        folder.path(),
        BUSY,
        &[("large", "weight = 3.0"), ("small", "")],
    );
    let callers = [("large", &[][..], 12), ("small", &[][..], 12)];
    let served = compete(&program, &callers, 40);
    assert!((90..=150).contains(&served[0]), "{served:?}");
}

#[test]
fn a_low_band_waits_while_a_high_one_is_served() {
    let folder = folder();
    let one_at_a_time = BUSY.replace("= 2", "= 1");
    let keys = [("user", ""), ("batch", "priority = 5")];
    let program = start(folder.path(), &one_at_a_time, &keys);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                assert_eq!(ask(&program, "batch", &[]).status, 200);
                served.fetch_add(1, SeqCst);
            });
        }
        await_queue(&program, "user", 20);
        let user = [("authorization", "Bearer user")];
        let metrics = program.send("GET", "/metrics", &user, &Value::Null).body;
        assert!(
            metrics.contains(r#"kebne_queue_by_priority{lane="b",priority="5"}"#),
            "{metrics}"
        );
        for _ in 0..3 {
            let before = served.load(SeqCst);
            assert_eq!(ask(&program, "user", &[]).status, 200);
            let meanwhile = served.load(SeqCst) - before;
            // The one on its way, the reserved one, and what a busy machine lets through before and after.
            assert!(meanwhile <= 5, "{meanwhile} of the low priority went first");
        }
        assert!(served.load(SeqCst) < 25, "there was no backlog to overtake");
    });
}

#[test]
fn headers_without_sense_and_beyond_the_key_are_refused_by_name() {
    let folder = folder();
    let program = start(folder.path(), BUSY, &[("batch", "priority = 5")]);
    for (header, value, status) in [
        ("x-kebne-priority", "first", 400),
        ("x-kebne-priority", "4", 403),
        ("x-kebne-tenant", "somebody", 403),
        ("x-wait-for-model", "perhaps", 400),
    ] {
        let answer = ask(&program, "batch", &[(header, value)]);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.json()["error"]["param"], header);
        assert!(
            answer.body.contains(&format!("`{header}`")),
            "{}",
            answer.body
        );
    }
    assert_eq!(
        ask(&program, "batch", &[("x-kebne-priority", "9")]).status,
        200
    );
}

#[test]
fn a_caller_that_will_not_wait_for_a_load_is_told_how_long_it_takes() {
    let folder = folder();
    let asleep = BUSY.replace("latency = \"30ms\"", "cold_start = \"60s\"");
    let program = start(folder.path(), &asleep, &[("k", "")]);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&program, "k", &[("x-kebne-deadline-ms", "3000")]));
        await_queue(&program, "k", 1);
        let answer = ask(&program, "k", &[("x-wait-for-model", "false")]);
        assert_eq!(answer.code(), (503, "model_loading".to_owned()));
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
        let estimated = answer.json()["error"]["estimated_time"].as_f64().unwrap();
        assert!((30.0..=80.0).contains(&estimated), "{estimated}");
        drop(waits.join().unwrap());
    });
}
