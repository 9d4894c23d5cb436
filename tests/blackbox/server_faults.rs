//! Model servers that fail, and hooks that fail or hang.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    alerts::await_alert,
    program::{Answer, CHAT, Program, folder},
    servers::{ONE_SLOT, ask, backend, is_gone, lives, server, start, until},
    upstream::{upstream, whole},
};

fn within(program: &Program, model: &str, deadline: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[("x-kebne-deadline-ms", deadline)], &body)
}

/// A backend whose sleep hook writes its process id into a file and hangs.
fn hanging(folder: &Path, more: &str) -> (String, std::sync::mpsc::Receiver<Value>) {
    let (url, asked) = upstream(|_| whole("yes"));
    let pid = folder.join("pid").display().to_string();
    let text = format!(
        "[[backends]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"{url}\"\n[backends.hooks]\nidle_timeout = \"200ms\"\n{more}\n\
         [backends.hooks.wake]\ncommand = \"/bin/true\"\n[backends.hooks.sleep]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"echo $$ > {pid}; exec sleep 300\"]\n"
    );
    (text, asked)
}

fn hung(folder: &Path) -> u32 {
    let text = fs::read_to_string(folder.join("pid")).unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn a_sleep_hook_that_hangs_is_said_and_the_next_call_wakes_the_server() {
    let folder = folder();
    let (text, _asked) = hanging(folder.path(), "sleep_timeout = \"1s\"");
    let mut program = start(folder.path(), &text);
    assert_eq!(ask(&program, "a", false).status, 200);
    until(&program, "a", |server| server["state"] == "stopping");
    let answer = ask(&program, "a", false);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let report = until(&program, "a", |server| server["is_awake"] == true);
    assert_eq!(
        report["last_error"], "the sleep hook did not end within 1s",
        "{report}"
    );
    let alert = await_alert(&program, "active", "server_fails", || {});
    let sentence = alert["sentence"].as_str().unwrap();
    assert!(sentence.contains("may still be awake"), "{sentence}");
    is_gone(hung(folder.path()));
    assert_eq!(program.terminate(), Some(0));
}

#[test]
fn a_hook_command_ends_with_the_program_that_is_killed() {
    let folder = folder();
    let (text, _asked) = hanging(folder.path(), "");
    let mut program = start(folder.path(), &text);
    assert_eq!(ask(&program, "a", false).status, 200);
    until(&program, "a", |server| server["state"] == "stopping");
    let since = Instant::now();
    while fs::read_to_string(folder.path().join("pid"))
        .unwrap_or_default()
        .is_empty()
    {
        assert!(since.elapsed() < Duration::from_secs(20), "it was not run");
        thread::sleep(Duration::from_millis(10));
    }
    let pid = hung(folder.path());
    assert!(lives(pid));
    program.signal("KILL");
    program.child.wait().unwrap();
    is_gone(pid);
}

#[test]
fn a_server_that_cannot_start_is_said_and_its_calls_go_to_the_next_backend() {
    let folder = folder();
    let missing = "[[backends]]\nname = \"missing\"\nkind = \"openai\"\n[backends.process]\ncommand = \"/no/such/server\"\nargs = [\"{port}\"]\n";
    let ends = "[[backends]]\nname = \"ends\"\nkind = \"openai\"\n[backends.process]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"echo sk-secret; exit 3\", \"{port}\"]\n";
    let models = "[[models]]\nname = \"alone\"\nbackends = [\"missing\"]\n[[models]]\nname = \"ends-alone\"\nbackends = [\"ends\"]\n\
         [[models]]\nname = \"both\"\nbackends = [\"ends\", \"good\"]\n[models.fallback]\ncold = \"1m\"\n[[backends]]\nname = \"good\"\n[backends.simulation]\npreset = \"instant\"\n";
    let program = start(folder.path(), &[missing, ends, models].concat());
    for (model, why) in [
        ("alone", "its program cannot be started"),
        ("ends-alone", "its process ends by itself"),
    ] {
        let refused = within(&program, model, "20000");
        assert_eq!(
            refused.code(),
            (503, "server_fails".to_owned()),
            "{}",
            refused.body
        );
        let message = refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(why), "{message}");
        assert!(!refused.body.contains("secret"), "{}", refused.body);
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&after), "{}", refused.head);
    }
    // The rule for a loading backend would have the call wait for a minute.
    let answer = ask(&program, "both", false);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.has("x-kebne-lane: good"), "{}", answer.head);
    assert!(
        answer.has("x-kebne-fallback: unreachable"),
        "{}",
        answer.head
    );
    let error = server(&program, "ends")["last_error"].clone();
    assert!(
        error.as_str().unwrap().contains("exit status: 3"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_unloaded_while_it_loads_is_stopped_and_loses_no_call() {
    let folder = folder();
    let text = [ONE_SLOT, &backend("a", "")].concat();
    let program = start(folder.path(), &text);
    let post = |what: &str| {
        let path = format!("/admin/v1/backends/a/{what}");
        let answer = program.send("POST", &path, &[], &Value::Null);
        assert_eq!(answer.status, 202, "{}", answer.body);
    };
    post("load");
    post("unload");
    until(&program, "a", |server| server["state"] == "stopped");
    // No earlier wish starts it again.
    thread::sleep(Duration::from_millis(300));
    let report = server(&program, "a");
    assert_eq!(
        (&report["state"], &report["failures"]),
        (&json!("stopped"), &json!(0))
    );
    thread::scope(|scope| {
        let call = scope.spawn(|| ask(&program, "a", true));
        until(&program, "a", |server| server["state"] != "stopped");
        post("unload");
        let answer = call.join().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.contains("data: [DONE]"), "{}", answer.body);
    });
}
