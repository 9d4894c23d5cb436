//! Model servers that the program starts and stops. The servers are this program's own simulated model.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder, send_signal},
    upstream::{read_parts, whole},
};

/// Longer than any machine needs.
const LONG: Duration = Duration::from_mins(1);

/// A backend with a server that is ready at once; `more` are keys of its process.
pub(crate) fn backend(name: &str, more: &str) -> String {
    let program = env!("CARGO_BIN_EXE_kebne");
    format!(
        "[[backends]]\nname = \"{name}\"\nkind = \"openai\"\n[backends.process]\ncommand = \"{program}\"\n\
         args = [\"simulate\", \"--port\", \"{{port}}\"]\nmin_loaded = \"200ms\"\nwait_max = \"2s\"\n{more}\n\
         [backends.process.env]\nKEBNE__SIMULATION__PRESET = \"instant\"\nKEBNE__SIMULATION__CAPACITY_START = \"8\"\n"
    )
}

pub(crate) const ONE_SLOT: &str = "[[servers.devices]]\nslots = 1\n";

fn write(folder: &Path, text: &str) -> PathBuf {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    config
}

pub(crate) fn start(folder: &Path, text: &str) -> Program {
    Program::start_plain(folder, &write(folder, text))
}

pub(crate) fn ask(program: &Program, model: &str, stream: bool) -> Answer {
    let body =
        json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": "a"}]});
    program.send("POST", CHAT, &[], &body)
}

pub(crate) fn server(program: &Program, name: &str) -> Value {
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let servers = state["servers"].as_array().unwrap();
    let found = servers.iter().find(|server| server["name"] == name);
    found.unwrap().clone()
}

/// Waits until a server is as wanted.
pub(crate) fn until(program: &Program, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let server = server(program, name);
        if wanted(&server) {
            return server;
        }
        assert!(since.elapsed() < LONG, "{server}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn pid(server: &Value) -> u32 {
    u32::try_from(server["pid"].as_u64().unwrap()).unwrap()
}

pub(crate) fn lives(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

pub(crate) fn is_gone(pid: u32) {
    let since = Instant::now();
    while lives(pid) {
        assert!(since.elapsed() < LONG, "{pid} was left behind");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_models_share_room_for_one_and_every_caller_is_answered() {
    let folder = folder();
    let text = [ONE_SLOT, &backend("a", ""), &backend("b", "")].concat();
    let program = start(folder.path(), &text);
    assert_eq!(server(&program, "a")["state"], "stopped");
    thread::scope(|scope| {
        for number in 0..50 {
            let program = &program;
            scope.spawn(move || {
                let model = if number % 3 == 0 { "b" } else { "a" };
                let stream = number % 2 == 0;
                let answer = ask(program, model, stream);
                assert_eq!(answer.status, 200, "{number}: {}", answer.body);
                assert!(answer.has(&format!("x-kebne-lane: {model}")));
                if stream {
                    assert!(answer.body.contains("data: [DONE]"), "{}", answer.body);
                }
            });
        }
    });
    let (a, b) = (server(&program, "a"), server(&program, "b"));
    let loads = a["loads"].as_u64().unwrap() + b["loads"].as_u64().unwrap();
    assert!((2..=6).contains(&loads), "{loads} loads: {a} {b}");
    let states = [&a["state"], &b["state"]];
    assert_eq!(states.iter().filter(|state| **state == "ready").count(), 1);
    assert_eq!((&a["failures"], &b["failures"]), (&json!(0), &json!(0)));
}

#[test]
fn a_server_that_is_killed_is_started_again_for_the_calls_that_it_leaves() {
    let folder = folder();
    let program = start(folder.path(), &backend("a", ""));
    assert_eq!(ask(&program, "a", false).status, 200);
    let first = pid(&server(&program, "a"));
    thread::scope(|scope| {
        for number in 0..20 {
            let program = &program;
            scope.spawn(move || {
                let answer = ask(program, "a", false);
                assert_eq!(answer.status, 200, "{number}: {}", answer.body);
            });
            if number == 10 {
                send_signal("KILL", first);
            }
        }
    });
    let after = until(&program, "a", |server| server["state"] == "ready");
    assert_ne!(pid(&after), first);
    assert_eq!(
        (&after["loads"], &after["failures"]),
        (&json!(2), &json!(1))
    );
    assert!(
        after["last_error"].as_str().unwrap().contains("signal: 9"),
        "{after}"
    );
}

#[test]
fn a_server_that_never_serves_is_said_and_does_not_hold_the_others() {
    let folder = folder();
    let silent = "[[backends]]\nname = \"silent\"\nkind = \"openai\"\n[backends.process]\ncommand = \"/bin/sh\"\n\
         args = [\"-c\", \"echo no such model; exec sleep 600\", \"{port}\"]\nstart_timeout = \"500ms\"\n";
    let text = [ONE_SLOT, silent, &backend("good", "")].concat();
    let program = start(folder.path(), &text);
    thread::scope(|scope| {
        let program = &program;
        scope.spawn(move || {
            let body = json!({"model": "silent", "messages": [{"role": "user", "content": "a"}]});
            let answer = program.send("POST", CHAT, &[("x-kebne-deadline-ms", "8000")], &body);
            assert_eq!(answer.status, 503, "{}", answer.body);
        });
        until(program, "silent", |server| {
            server["failures"].as_u64().unwrap() > 0
        });
        for _ in 0..10 {
            assert_eq!(ask(program, "good", false).status, 200);
            thread::sleep(Duration::from_millis(200));
        }
    });
    let silent = server(&program, "silent");
    assert_eq!(silent["is_failing"], true);
    let error = silent["last_error"].as_str().unwrap();
    assert!(error.contains("not healthy within 500ms"), "{error}");
    assert!(error.ends_with("(last line: no such model)"), "{error}");
    assert_eq!(server(&program, "good")["loads"], 1);
}

#[test]
fn servers_end_with_the_program_however_it_ends() {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let config = write(
        folder.path(),
        &backend("a", &format!("port = {port}\nkeep_warm = true")),
    );
    let mut program = Program::start_plain(folder.path(), &config);
    let ready = until(&program, "a", |server| server["state"] == "ready");
    assert_eq!(ready["port"], port);
    let first = pid(&ready);
    program.signal("KILL");
    program.child.wait().unwrap();
    is_gone(first);
    // Its port is free.
    let mut program = Program::start_plain(folder.path(), &config);
    let ready = until(&program, "a", |server| server["state"] == "ready");
    let second = pid(&ready);
    assert_eq!(ask(&program, "a", true).status, 200);
    assert_eq!(program.terminate(), Some(0));
    assert!(!lives(second), "it was left behind");
}

#[test]
fn only_named_variables_reach_a_server() {
    let folder = folder();
    let config = write(folder.path(), &backend("a", "pass_env = [\"PASSED\"]"));
    let mut command = Program::configured(folder.path(), &config);
    command.env("MODEL_KEY", "secret").env("PASSED", "on");
    let program = Program::spawn_with(&mut command, std::process::Stdio::null());
    assert_eq!(ask(&program, "a", false).status, 200);
    let pid = pid(&server(&program, "a"));
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let mut names: Vec<_> = environment
        .split('\0')
        .filter_map(|pair| Some(pair.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    let expected = [
        "KEBNE__SIMULATION__CAPACITY_START",
        "KEBNE__SIMULATION__PRESET",
        "PASSED",
    ];
    assert_eq!(names, expected);
}

#[test]
fn an_operator_loads_and_unloads_and_an_idle_server_is_stopped() {
    let folder = folder();
    let text = [
        backend("a", ""),
        backend("idle", "idle_timeout = \"300ms\""),
        "[[backends]]\nname = \"other\"\n".to_owned(),
    ]
    .concat();
    let program = start(folder.path(), &text);
    let post = |name: &str, what: &str| {
        let path = format!("/admin/v1/backends/{name}/{what}");
        program.send("POST", &path, &[], &Value::Null)
    };
    assert_eq!(post("a", "load").status, 202);
    until(&program, "a", |server| server["state"] == "ready");
    assert_eq!(post("a", "unload").status, 202);
    until(&program, "a", |server| server["state"] == "stopped");
    assert_eq!(ask(&program, "a", false).status, 200);
    assert_eq!(ask(&program, "idle", false).status, 200);
    until(&program, "idle", |server| server["state"] == "stopped");
    let idle = server(&program, "idle");
    assert_eq!((&idle["failures"], &idle["swaps"]), (&json!(0), &json!(0)));
    assert_eq!(post("other", "load").code(), (400, "no_server".to_owned()));
    assert_eq!(
        post("none", "load").code(),
        (404, "backend_not_found".to_owned())
    );
    let listed = program
        .send("GET", "/admin/v1/servers", &[], &Value::Null)
        .json();
    assert_eq!(listed["data"][1]["name"], "idle");
}

/// A server that another system runs: it serves after `POST /wake` until `POST /sleep`.
fn sleeper() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hooks = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&hooks);
    let is_awake = Arc::new(AtomicBool::new(false));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, seen, is_awake) =
                (socket.unwrap(), Arc::clone(&seen), Arc::clone(&is_awake));
            thread::spawn(move || {
                let (head, body) = read_parts(&socket);
                let is_hook = head.starts_with("POST /wake ") || head.starts_with("POST /sleep ");
                if is_hook {
                    let key = head.to_lowercase().contains("authorization: bearer k");
                    let path = head.split(' ').nth(1).unwrap();

                    seen.lock().unwrap().push(format!("{path} {key} {body}"));
                    is_awake.store(path == "/wake", SeqCst);
                }
                let answer = if is_hook || head.starts_with("GET /health ") && is_awake.load(SeqCst)
                {
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
                } else if is_awake.load(SeqCst) {
                    whole("yes")
                } else {
                    "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
                };
                socket.write_all(answer.as_bytes()).ok();
            });
        }
    });
    (url, hooks)
}

#[test]
fn a_server_of_another_system_is_woken_once_and_put_to_sleep() {
    let folder = folder();
    let (url, hooks) = sleeper();
    let text = format!(
        "[[backends]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"{url}/v1\"\n[backends.hooks]\nhealth = \"/health\"\nidle_timeout = \"500ms\"\n\
         [backends.hooks.wake]\nurl = \"{url}/wake\"\nkey_env = \"HOOK_KEY\"\nbody = \"up\"\n[backends.hooks.sleep]\nurl = \"{url}/sleep\"\n"
    );
    let config = write(folder.path(), &text);
    let mut command = Program::configured(folder.path(), &config);
    let program = Program::spawn_with(command.env("HOOK_KEY", "k"), std::process::Stdio::null());
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let answer = ask(&program, "a", false);
                assert_eq!(answer.status, 200, "{}", answer.body);
            });
        }
    });
    let report = until(&program, "a", |server| server["state"] == "stopped");
    assert_eq!(
        (&report["kind"], &report["failures"]),
        (&json!("hooks"), &json!(0))
    );
    assert_eq!(*hooks.lock().unwrap(), ["/wake true up", "/sleep false "]);
    assert_eq!(ask(&program, "a", false).status, 200);
    assert_eq!(hooks.lock().unwrap().len(), 3);
}

#[test]
fn a_reload_restarts_a_server_only_if_its_process_has_changed() {
    let folder = folder();
    let before = backend("a", "");
    let program = start(folder.path(), &before);
    let reload = |text: &str| {
        write(folder.path(), text);
        let answer = program.send("POST", "/admin/v1/reload", &[], &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    assert_eq!(ask(&program, "a", false).status, 200);
    let first = pid(&server(&program, "a"));
    let report = reload(&format!("{before}[backends.limits]\nqueue_max = 77\n"));
    assert_eq!(report["backends"]["started"], json!(["a"]), "{report}");
    assert_eq!(ask(&program, "a", false).status, 200);
    assert_eq!(pid(&server(&program, "a")), first);
    reload(&backend("a", "stop_grace = \"9s\""));
    assert_eq!(ask(&program, "a", false).status, 200);
    let after = until(&program, "a", |server| server["state"] == "ready");
    assert_ne!(pid(&after), first);
    is_gone(first);
    reload("[[backends]]\nname = \"other\"\n");
    is_gone(pid(&after));
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["servers"], json!([]));
}

#[test]
fn a_caller_that_does_not_wait_gets_the_learned_time() {
    let folder = folder();
    let program = env!("CARGO_BIN_EXE_kebne");
    let text = format!(
        "[[backends]]\nname = \"a\"\nkind = \"openai\"\n[backends.process]\ncommand = \"/bin/sh\"\n\
         args = [\"-c\", \"sleep 1; exec {program} simulate --port {{port}}\"]\n\
         [backends.process.env]\nKEBNE__SIMULATION__PRESET = \"instant\"\nKEBNE__SIMULATION__CAPACITY_START = \"8\"\n"
    );
    let program = start(folder.path(), &text);
    assert_eq!(ask(&program, "a", false).status, 200);
    let unloaded = program.send("POST", "/admin/v1/backends/a/unload", &[], &Value::Null);
    assert_eq!(unloaded.status, 202);
    until(&program, "a", |server| server["state"] == "stopped");
    let body = json!({"model": "a", "messages": [{"role": "user", "content": "a"}]});
    let refused = program.send("POST", CHAT, &[("x-wait-for-model", "false")], &body);
    assert_eq!(refused.code(), (503, "model_loading".to_owned()));
    let estimated = refused.json()["error"]["estimated_time"].as_f64().unwrap();
    assert!((0.5..20.0).contains(&estimated), "{}", refused.body);
    // It is loaded all the same, because a call has asked for it.
    until(&program, "a", |server| server["state"] == "ready");
}

#[test]
fn load_times_are_kept_for_the_next_start() {
    let folder = folder();
    let config = write(folder.path(), &backend("a", ""));
    let mut program = Program::start_plain(folder.path(), &config);
    assert_eq!(ask(&program, "a", false).status, 200);
    let learned = server(&program, "a")["load_p50_ms"].clone();
    assert!(learned.as_u64().unwrap() > 0);
    assert_eq!(program.terminate(), Some(0));
    let program = Program::start_plain(folder.path(), &config);
    let server = server(&program, "a");
    assert_eq!(
        (&server["loads"], &server["load_p50_ms"]),
        (&json!(0), &learned)
    );
}
