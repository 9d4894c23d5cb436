//! Settings that change while the program serves.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::program::{Answer, CHAT, Program, folder};

const PATIENCE: Duration = Duration::from_secs(20);
const RELOAD: &str = "/admin/v1/reload";

/// A program with a settings file that can be rewritten, and a log.
struct Served {
    program: Program,
    config: PathBuf,
    log: PathBuf,
    /// Sent as the key of administrative requests.
    key: &'static str,
    folder: tempfile::TempDir,
}

impl Served {
    fn start(text: &str) -> Self {
        Self::start_with_key("", text)
    }

    fn start_with_key(key: &'static str, text: &str) -> Self {
        let folder = folder();
        let (config, log) = (folder.path().join("kebne.toml"), folder.path().join("log"));
        fs::write(&config, text).unwrap();
        let mut command = Program::configured(folder.path(), &config);
        let stderr = Stdio::from(fs::File::create(&log).unwrap());
        Self {
            program: Program::spawn_with(&mut command, stderr),
            config,
            log,
            key,
            folder,
        }
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        send(&self.program, self.key, method, path, body)
    }

    /// Writes the file and has it read by the API.
    fn reload(&self, text: &str) -> Answer {
        fs::write(&self.config, text).unwrap();
        self.send("POST", RELOAD, &Value::Null)
    }

    /// Writes the file and has it read by the API; returns the report.
    fn reloaded(&self, text: &str) -> Value {
        let answer = self.reload(text);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// Writes the file and has it read by SIGHUP; returns once it is in effect.
    fn hang_up(&self, text: &str) {
        let before = self.state()["applied"].as_u64().unwrap();
        fs::write(&self.config, text).unwrap();
        self.program.signal("HUP");
        let since = Instant::now();
        while self.state()["applied"].as_u64().unwrap() == before {
            assert!(since.elapsed() < PATIENCE, "{}", self.state());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns what `/state` says of the settings.
    fn state(&self) -> Value {
        self.send("GET", "/state", &Value::Null).json()["settings"].clone()
    }

    fn backends(&self) -> Vec<String> {
        let list = self.send("GET", "/admin/v1/backends", &Value::Null).json();
        let data = list["data"].as_array().unwrap().iter();
        data.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn await_log(&self, text: &str) {
        let since = Instant::now();
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            if log.contains(text) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "no `{text}` in\n{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn send(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    let headers: &[(&str, &str)] = match key {
        "" => &[],
        _ => &[("authorization", &bearer)],
    };
    program.send(method, path, headers, body)
}

fn ask(program: &Program, key: &str, model: &str) -> Answer {
    let body =
        json!({"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "a"}]});
    send(program, key, "POST", CHAT, &body)
}

/// Makes a streamed call; panics unless its stream is whole.
fn stream(address: SocketAddr, model: &str) {
    let body = json!({"model": model, "stream": true, "max_tokens": 8, "messages": [{"role": "user", "content": "a"}]});
    let body = body.to_string();
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let length = body.len();
    write!(
        socket,
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("data: [DONE]"), "{text}");
}

fn key(name: &str, more: &str) -> String {
    let hash = hex::encode(Sha256::digest(name.as_bytes()));
    format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}")
}

/// Returns a simulated backend whose calls take a while, with further keys of its limits.
fn backend(name: &str, limits: &str) -> String {
    let simulation =
        "simulation = {preset = \"instant\", latency = \"30ms\", latency_spread = 0.0}";
    format!("[[backends]]\nname = \"{name}\"\n{simulation}\n[backends.limits]\n{limits}\n")
}

fn model(name: &str, backends: &str, more: &str) -> String {
    format!("[[models]]\nname = \"{name}\"\nbackends = [{backends}]\n{more}\n")
}

fn shown(list: &Value, field: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one[field].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn backends_and_models_change_under_load_without_losing_a_call() {
    let (a, b) = (backend("a", ""), backend("b", ""));
    let of_a = model("m", "\"a\"", "");
    let served = Served::start(&format!("{a}{of_a}"));
    let stop = AtomicBool::new(false);
    let program = &served.program;
    let answered: usize = thread::scope(|scope| {
        let stop = &stop;
        let callers: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn(move || {
                    let mut answered = 0_usize;
                    while !stop.load(SeqCst) {
                        if number % 2 == 0 {
                            let answer = ask(program, "", "m");
                            assert_eq!(answer.status, 200, "{}", answer.body);
                        } else {
                            stream(program.address, "m");
                        }
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let of_both = model("m", "[\"a\", \"b\"]", "");
        let of_b = model("m", "\"b\"", "aliases = [\"short\"]");
        let changed = backend("a", "queue_max = 77");
        for round in 0..3 {
            // Added, changed, removed, and back.
            let report = served.reloaded(&format!("{a}{b}{of_both}"));
            assert_eq!(report["backends"]["started"], json!(["b"]), "{report}");
            assert_eq!(served.backends(), ["a", "b"]);
            let report = served.reloaded(&format!("{changed}{b}{of_both}"));
            assert_eq!(report["backends"]["started"], json!(["a"]), "{report}");
            assert_eq!(report["backends"]["retired"], json!(["a"]), "{report}");
            let keys = shown(&report["changed"], "key");
            assert_eq!(keys, ["backends[a].limits.queue_max"]);
            if round == 1 {
                served.hang_up(&format!("{b}{of_b}"));
            } else {
                served.reloaded(&format!("{b}{of_b}"));
            }
            assert_eq!(served.backends(), ["b"]);
            assert_eq!(ask(program, "", "short").status, 200);
            served.reloaded(&format!("{a}{of_a}"));
            assert_eq!(ask(program, "", "short").status, 404);
        }
        stop.store(true, SeqCst);
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .sum()
    });
    // How many there are depends on the machine; each caller had some.
    assert!(answered >= 6, "{answered}");
    let success = answered + 3;
    program.await_metric(&format!(
        r#"kebne_requests_total{{model="m",ending="success"}} {success}"#
    ));
    program.await_metric(r#"kebne_settings_reloads_total{result="applied"} 12"#);
    served.await_log("event=\"settings_reloaded\"");
}

#[test]
fn wrong_settings_change_nothing_and_are_named_with_their_place() {
    let (a, m) = (backend("a", ""), model("m", "\"a\"", ""));
    let served = Served::start(&format!("{a}{m}"));
    let file = served.config.display().to_string();
    for (text, place, key) in [
        (format!("{a}{m}\n[server"), "kebne.toml:11:8", ""),
        (
            format!("{a}{m}[server]\nno_such_key = 1\n"),
            "kebne.toml:11:1",
            "server.no_such_key",
        ),
        (
            format!("{a}{}{}", backend("b", ""), model("m", "\"c\"", "")),
            "kebne.toml",
            "models[0].backends[0]",
        ),
        (
            format!(
                "{a}{m}[[backends]]\nname = \"o\"\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key_env = \"NO_SUCH_VARIABLE\"\n"
            ),
            "kebne.toml",
            "backends[1].api_key_env",
        ),
    ] {
        let answer = served.reload(&text);
        assert_eq!(
            answer.code(),
            (400, "settings_refused".to_owned()),
            "{}",
            answer.body
        );
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            message.contains(place) && message.contains(key),
            "{message}"
        );
        assert_eq!(served.backends(), ["a"]);
        assert_eq!(ask(&served.program, "", "m").status, 200);
        let state = served.state();
        assert!(state["error"].as_str().unwrap().contains(key), "{state}");
    }
    fs::remove_file(&served.config).unwrap();
    let answer = served.send("POST", RELOAD, &Value::Null);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains(&file), "{}", answer.body);
    let metrics = served.send("GET", "/metrics", &Value::Null).body;
    for line in [
        r#"kebne_settings_reloads_total{result="refused"} 5"#,
        "kebne_settings_last_reload_successful 0.0",
    ] {
        assert!(
            metrics.lines().any(|seen| seen == line),
            "{line}\n{metrics}"
        );
    }
    served.await_log("event=\"settings_refused\"");
    served.reloaded(&format!("{a}{m}"));
    assert_eq!(served.state()["error"], Value::Null);
}

#[test]
fn what_cannot_change_is_named_and_stays() {
    let (a, m) = (backend("a", ""), model("m", "\"a\"", ""));
    let served = Served::start(&format!("{a}{m}[server]\nworkers = 2\n"));
    let report = served.reloaded(&format!(
        "{a}{m}[server]\nworkers = 3\ndeadline_default = \"30s\"\n[context]\ntokens_max = 9\n"
    ));
    assert_eq!(
        shown(&report["changed"], "key"),
        ["server.deadline_default"]
    );
    let kept = shown(&report["needs_restart"], "key");
    assert_eq!(kept, ["context.tokens_max", "server.workers"]);
    assert_eq!(served.state()["needs_restart"], report["needs_restart"]);
    served.await_log("server.workers");
    served
        .program
        .await_metric("kebne_settings_needing_restart 2.0");
    // Still there, still pending.
    let again = served.send("POST", RELOAD, &Value::Null).json();
    assert_eq!(again["changed"], json!([]));
    assert_eq!(again["needs_restart"], report["needs_restart"]);
    let back = served.reloaded(&format!("{a}{m}[server]\nworkers = 2\n"));
    assert_eq!(back["needs_restart"], json!([]));
    assert_eq!(ask(&served.program, "", "m").status, 200);
}

#[test]
fn a_contradiction_to_what_cannot_change_is_refused() {
    let (a, m) = (backend("a", ""), model("m", "\"a\"", ""));
    let served = Served::start(&format!("{a}{m}[server]\nbodies_size_max = \"40MiB\"\n"));
    let answer = served.reload(&format!(
        "{a}{m}[server]\nbodies_size_max = \"90MiB\"\nbody_size_max = \"30MiB\"\n"
    ));
    assert_eq!(answer.code(), (400, "settings_refused".to_owned()));
    for part in ["server.bodies_size_max", "cannot change", "body_size_max"] {
        assert!(answer.body.contains(part), "{part}: {}", answer.body);
    }
    assert_eq!(ask(&served.program, "", "m").status, 200);
}

#[test]
fn keys_groups_and_limits_follow_the_file() {
    let rest = format!("{}{}", backend("a", ""), model("m", "\"a\"", ""));
    let admin = key("root", "scopes = [\"admin\", \"read_state\", \"call\"]\n");
    let served = Served::start_with_key("root", &format!("{admin}{rest}"));
    let program = &served.program;
    assert_eq!(ask(program, "new", "m").status, 401);
    // A stored key follows its group.
    let group = "[[accounts.groups]]\nname = \"team\"\n[accounts.groups.limits]\n";
    served.reloaded(&format!(
        "{admin}{}{rest}{group}",
        key("new", "group = \"team\"\n")
    ));
    assert_eq!(ask(program, "new", "m").status, 200);
    let draft = json!({"name": "stored", "group": "team"});
    let made = served.send("POST", "/admin/v1/keys", &draft);
    assert_eq!(made.status, 200, "{}", made.body);
    let stored = made.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(ask(program, &stored, "m").status, 200);
    let tight = format!("{group}requests_per_minute = 3\n");
    served.hang_up(&format!(
        "{admin}{}{rest}{tight}",
        key("new", "group = \"team\"\n")
    ));
    let statuses: Vec<_> = (0..3)
        .flat_map(|_| [ask(program, &stored, "m"), ask(program, "new", "m")])
        .map(|answer| answer.status)
        .collect();
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    // The key is gone, and others keep working.
    served.reloaded(&format!("{admin}{rest}{group}"));
    assert_eq!(ask(program, "new", "m").status, 401);
    assert_eq!(ask(program, &stored, "m").status, 200);
    let scopes = key("root", "scopes = [\"admin\", \"read_state\"]\n");
    served.reloaded(&format!("{scopes}{rest}{group}"));
    assert_eq!(ask(program, "root", "m").code().1, "insufficient_scope");
}

#[test]
fn the_first_key_closes_a_gateway_without_keys() {
    let rest = format!("{}{}", backend("a", ""), model("m", "\"a\"", ""));
    let served = Served::start(&rest);
    assert_eq!(ask(&served.program, "", "m").status, 200);
    let admin = key("root", "scopes = [\"admin\", \"call\"]\n");
    served.reloaded(&format!("{admin}{rest}"));
    assert_eq!(ask(&served.program, "", "m").status, 401);
    assert_eq!(ask(&served.program, "root", "m").status, 200);
    // Keys can be created now, so their store runs.
    let made = send(
        &served.program,
        "root",
        "POST",
        "/admin/v1/keys",
        &json!({"name": "x"}),
    );
    assert_eq!(made.status, 200, "{}", made.body);
    assert!(
        served
            .folder
            .path()
            .join("kebne-data/accounts.sqlite")
            .exists()
    );
    // A file without keys, such as one that is being written, does not open the gateway again.
    fs::write(&served.config, &rest).unwrap();
    let answer = send(
        &served.program,
        "root",
        "POST",
        "/admin/v1/reload",
        &Value::Null,
    );
    assert_eq!(answer.code(), (400, "settings_refused".to_owned()));
    assert!(answer.body.contains("server.keys"), "{}", answer.body);
    assert_eq!(ask(&served.program, "", "m").status, 401);
    assert_eq!(ask(&served.program, "root", "m").status, 200);
}

#[test]
fn prices_prompts_and_bounds_follow_the_file() {
    let a = backend("a", "");
    let served = Served::start(&format!("{a}{}", model("m", "\"a\"", "")));
    let program = &served.program;
    let priced = model("n", "\"a\"", "[models.price]\ninput = 2\noutput = 10");
    let prompt = "[[prompts]]\nname = \"p\"\ntemplate = \"hello\"\n";
    let bound = "[server]\nbody_size_max = \"1KiB\"\n";
    served.reloaded(&format!(
        "{a}{}{priced}{prompt}{bound}",
        model("m", "\"a\"", "")
    ));
    assert_eq!(ask(program, "", "n").status, 200);
    // The count of the call and its cost are not written at once.
    let cost = (0..200).find_map(|_| {
        let metrics = served.send("GET", "/metrics", &Value::Null).body;
        let mut lines = metrics.lines();
        let cost = lines.find(|line| line.starts_with(r#"kebne_cost_total{model="n""#))?;
        let is_counted = !cost.ends_with(" 0.0");
        thread::sleep(Duration::from_millis(if is_counted { 0 } else { 50 }));
        is_counted.then(|| cost.to_owned())
    });
    assert!(cost.is_some(), "the call has a cost");
    let prompts = served.send("GET", "/v1/prompts", &Value::Null).json();
    assert_eq!(prompts["data"][0]["name"], "p");
    let long = json!({"model": "m", "messages": [{"role": "user", "content": "a".repeat(2000)}]});
    let answer = served.send("POST", CHAT, &long);
    assert_eq!(answer.code(), (413, "request_too_large".to_owned()));
}

#[test]
fn the_log_follows_its_filter() {
    let rest = format!("{}{}", backend("a", ""), model("m", "\"a\"", ""));
    let served = Served::start(&format!("{rest}[log]\nfilter = \"warn\"\n"));
    assert_eq!(ask(&served.program, "", "m").status, 200);
    served.reloaded(&format!("{rest}[log]\nfilter = \"info\"\n"));
    assert_eq!(ask(&served.program, "", "m").status, 200);
    served.await_log("CALL");
    let log = fs::read_to_string(&served.log).unwrap();
    assert_eq!(log.matches("CALL").count(), 1, "{log}");
    let none = format!("{rest}[log]\nfilter = \"info\"\n[log.requests]\nsample = 0.0\n");
    served.reloaded(&none);
    assert_eq!(ask(&served.program, "", "m").status, 200);
    let report = served.reloaded(&format!("{none}format = \"json\"\n"));
    assert_eq!(
        shown(&report["needs_restart"], "key"),
        ["log.requests.format"]
    );
    let log = fs::read_to_string(&served.log).unwrap();
    assert_eq!(log.matches("CALL").count(), 1, "{log}");
}

#[test]
fn a_backend_that_an_operator_drained_stays_drained() {
    let (a, b) = (backend("a", ""), backend("b", ""));
    let m = model("m", "\"a\", \"b\"", "");
    let served = Served::start(&format!("{a}{b}{m}"));
    served.send("POST", "/admin/v1/backends/a/drain", &Value::Null);
    served.reloaded(&format!("{}{b}{m}", backend("a", "queue_max = 5")));
    let a = served.send("GET", "/admin/v1/backends/a", &Value::Null);
    assert_eq!(a.json()["service"], "drained", "{}", a.body);
    assert!(ask(&served.program, "", "m").has("x-kebne-lane: b"));
    served.send("POST", "/admin/v1/backends/a/reopen", &Value::Null);
    assert!(ask(&served.program, "", "m").has("x-kebne-lane: a"));
}

/// A server that notes the `authorization` and `x-token` headers of each call and answers it.
fn noting_server() -> (String, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (noted, notes) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let header = |name: &str| {
                let mut lines = head.lines();
                let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.unwrap_or_default().to_owned()
            };
            let length: usize = header("content-length").parse().unwrap();
            socket.read_exact(&mut vec![0; length]).unwrap();
            noted
                .send((header("authorization"), header("x-token")))
                .ok();
            let body = json!({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices":
                [{"index": 0, "message": {"role": "assistant", "content": "b"}, "finish_reason": "stop"}]})
            .to_string();
            write!(
                socket,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    (url, notes)
}

#[test]
fn secrets_in_files_are_read_again() {
    let (url, notes) = noting_server();
    let secrets = folder();
    let (key, token) = (secrets.path().join("key"), secrets.path().join("token"));
    fs::write(&key, "first\n").unwrap();
    fs::write(&token, "one").unwrap();
    let text = format!(
        "[[backends]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"{url}\"\napi_key_file = {key:?}\n[backends.headers_file]\nx-token = {token:?}\n"
    );
    let served = Served::start(&text);
    let sent = || {
        assert_eq!(ask(&served.program, "", "a").status, 200);
        notes.recv_timeout(PATIENCE).unwrap()
    };
    let pair = |key: &str, token: &str| (format!("bearer {key}"), token.to_owned());
    assert_eq!(sent(), pair("first", "one"));
    fs::write(&key, "second\n").unwrap();
    assert_eq!(sent(), pair("first", "one"));
    let report = served.reloaded(&text);
    assert_eq!(report["changed"], json!([]));
    assert_eq!(report["backends"]["started"], json!(["a"]));
    assert_eq!(sent(), pair("second", "one"));
    fs::write(&token, "two").unwrap();
    served.reloaded(&text);
    assert_eq!(sent(), pair("second", "two"));
    assert_eq!(served.reloaded(&text)["backends"]["started"], json!([]));
    // A file that is gone is an error that names it, and changes nothing.
    fs::remove_file(&key).unwrap();
    let answer = served.reload(&text);
    assert_eq!(answer.code().1, "settings_refused");
    let message = answer.json()["error"]["message"].to_string();
    assert!(
        message.contains("backends[0].api_key_file") && message.contains("key"),
        "{message}"
    );
    assert_eq!(sent(), pair("second", "two"));
    let log = fs::read_to_string(&served.log).unwrap();
    assert!(!log.contains("second"), "{log}");
}

#[test]
fn included_files_come_and_go() {
    let (a, m) = (backend("a", ""), model("m", "\"a\"", ""));
    let main = format!("include = [\"conf.d/*.toml\"]\n{a}{m}");
    let served = Served::start(&main);
    let conf = served.folder.path().join("conf.d");
    fs::create_dir(&conf).unwrap();
    let of_b = format!("{}{}", backend("b", ""), model("n", "\"b\"", ""));
    fs::write(conf.join("b.toml"), of_b).unwrap();
    served.reloaded(&main);
    assert_eq!(served.backends(), ["a", "b"]);
    assert_eq!(ask(&served.program, "", "n").status, 200);
    fs::write(conf.join("c.toml"), "[server]\nno_such_key = 1\n").unwrap();
    let answer = served.reload(&main);
    let message = answer.json()["error"]["message"].to_string();
    assert!(
        message.contains("conf.d/c.toml:2:1: server.no_such_key"),
        "{message}"
    );
    fs::remove_file(conf.join("c.toml")).unwrap();
    fs::remove_file(conf.join("b.toml")).unwrap();
    served.reloaded(&main);
    assert_eq!(served.backends(), ["a"]);
    assert_eq!(ask(&served.program, "", "n").status, 404);
}
