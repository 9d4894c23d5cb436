//! Health checks of backends, beside the calls.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{read_parts, whole},
};

/// A server whose health check and whose calls each succeed or fail.
#[derive(Clone, Default)]
struct Server {
    is_ill: Arc<AtomicBool>,
    loads: Arc<AtomicBool>,
}

impl Server {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let server = self.clone();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let (head, _) = read_parts(&socket);
                let no = |status: &str, body: &str| {
                    let length = body.len();
                    format!(
                        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                    )
                };
                let answer = if head.starts_with("GET /health ") {
                    if server.is_ill.load(SeqCst) {
                        no("503 No", "")
                    } else {
                        no("200 OK", "ok")
                    }
                } else if server.loads.load(SeqCst) {
                    no(
                        "503 No",
                        r#"{"error":"Model is loading","estimated_time":300.0}"#,
                    )
                } else {
                    whole("yes")
                };
                socket.write_all(answer.as_bytes()).ok();
            }
        });
        url
    }
}

fn start(folder: &Path, url: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"a\"\nkind = \"openai\"\nbase_url = \"{url}\"\n[backends.health]\npath = \"/health\"\nevery = \"100ms\"\n\
         [[backends]]\nname = \"b\"\nsimulation = {{preset = \"instant\"}}\n\
         [[models]]\nname = \"m\"\nbackends = [\"a\", \"b\"]\n[models.fallback]\ncold = \"at_once\"\n"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn ask(program: &Program) -> Answer {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

#[test]
fn a_backend_that_was_never_called_is_passed_over_while_its_check_fails() {
    let (folder, server) = (folder(), Server::default());
    server.is_ill.store(true, SeqCst);
    let program = start(folder.path(), &server.start());
    program.await_metric(r#"kebne_health{lane="a"} 0"#);
    let passed = ask(&program);
    assert!(passed.has("x-kebne-lane: b"), "{}", passed.head);
    assert!(
        passed.has("x-kebne-fallback: unreachable"),
        "{}",
        passed.head
    );
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["health"][0]["last_error"], "status 503");
    let listed = program
        .send("GET", "/admin/v1/backends/a", &[], &Value::Null)
        .json();
    assert_eq!(listed["health"]["up"], false);
    server.is_ill.store(false, SeqCst);
    program.await_metric(r#"kebne_health{lane="a"} 1"#);
    assert!(ask(&program).has("x-kebne-lane: a"));
}

#[test]
fn a_failing_check_does_not_take_out_a_backend_that_serves() {
    let (folder, server) = (folder(), Server::default());
    let program = start(folder.path(), &server.start());
    assert!(ask(&program).has("x-kebne-lane: a"));
    server.is_ill.store(true, SeqCst);
    program.await_metric(r#"kebne_health{lane="a"} 0"#);
    assert!(ask(&program).has("x-kebne-lane: a"));
}

#[test]
fn a_check_that_succeeds_has_a_loading_backend_asked_before_it_is_due() {
    let (folder, server) = (folder(), Server::default());
    server.is_ill.store(true, SeqCst);
    server.loads.store(true, SeqCst);
    let program = start(folder.path(), &server.start());
    assert!(ask(&program).has("x-kebne-lane: b"));
    // It announces five minutes, and has loaded long before.
    server.loads.store(false, SeqCst);
    server.is_ill.store(false, SeqCst);
    let since = Instant::now();
    while !ask(&program).has("x-kebne-lane: a") {
        assert!(since.elapsed() < Duration::from_secs(30));
        thread::sleep(Duration::from_millis(50));
    }
}
