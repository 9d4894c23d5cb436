//! Shadows that share a backend with the model of the call.

use std::{
    io::Write as _,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use serde_json::json;

use super::{ask, chat, models, start};
use crate::{
    program::{CHAT, Program, folder},
    upstream::{asked_raw, upstream_that, whole},
};

const ROUTE: &str = "[[routes]]\nname = \"support\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"all\"\ntarget = \"small\"\n\
    shadow = { model = \"large\", share = 1.0 }\n";

#[test]
fn a_shadow_on_the_backend_of_the_call_takes_no_place_that_calls_need() {
    let folder = folder();
    let (holds, gate) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new((Mutex::new(false), Condvar::new())),
    );
    let (held, opened) = (Arc::clone(&holds), Arc::clone(&gate));
    let (url, requests) = upstream_that(move |_, socket| {
        if held.load(SeqCst) {
            let mut is_open = opened.0.lock().unwrap();
            while !*is_open {
                is_open = opened.1.wait(is_open).unwrap();
            }
        }
        socket.write_all(whole("ok").as_bytes())
    });
    let four = "[backends.limits]\nlimit_initial = 4\nlimit_max = 4\n";
    let text = models(&url, ROUTE).replacen("[[models]]", &format!("{four}[[models]]"), 1);
    let program = start(folder.path(), &text);
    let shadows = |ending: &str, count: u32| {
        program.await_metric(&format!(
            "kebne_route_shadows_total{{route=\"support\",model=\"large\",ending=\"{ending}\"}} {count}"
        ));
    };
    // A backend that has not served yet takes one call at a time.
    let direct = chat("Hi", json!({"model": "small"}));
    assert_eq!(program.send("POST", CHAT, &[], &direct).status, 200);
    asked_raw(&requests);
    program.await_metric(r#"kebne_limit{lane="b"} 4.0"#);
    program.await_metric(r#"kebne_in_flight{lane="b"} 0.0"#);
    let both = || {
        let mut sent = [asked_raw(&requests), asked_raw(&requests)];
        sent.sort_by_key(|request| request["model"].to_string());
        sent.map(|request| request["model"].clone())
    };
    // While the backend has places, the copy is sent to it.
    ask(&program, "Hi");
    assert_eq!(both(), ["large", "small"]);
    shadows("success", 1);
    // The first call and its copy hold half of the places. Those that follow have no copies, and are served.
    holds.store(true, SeqCst);
    let calls: Vec<_> = (0..3)
        .map(|number| {
            let (address, body) = (program.address, chat(&format!("call {number}"), json!({})));
            let call = thread::spawn(move || {
                Program::exchange(address, "POST", CHAT, &[], &body.to_string()).unwrap()
            });
            // Each call and each copy has reached the backend before the next one is made.
            if number == 0 {
                assert_eq!(both(), ["large", "small"]);
            } else {
                assert_eq!(asked_raw(&requests)["model"], "small");
            }
            call
        })
        .collect();
    shadows("dropped", 2);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for call in calls {
        assert_eq!(call.join().unwrap().status, 200);
    }
    shadows("success", 2);
}
