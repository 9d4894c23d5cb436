//! The service from outside: started on a free port, called over a socket, stopped.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use kebne::{
    service::{self, Shutdown},
    settings::{ProcessEnvironment, Settings},
};
use kebne_lab::simulate::{Fault, Preset};

struct Service {
    address: SocketAddr,
    shutdown: Shutdown,
    thread: JoinHandle<usize>,
}

impl Service {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Settings) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let mut settings = Settings::default();
            settings.backends[0].simulation.preset = Preset::Instant;
            settings.server.learned_path = PathBuf::new();
            settings.server.decisions_path = PathBuf::new();
            settings.server.lame_duck.0 = Duration::ZERO;
            change(&mut settings);
            actix_rt::System::new()
                .block_on(service::run(
                    listener,
                    &settings,
                    &ProcessEnvironment,
                    stop.into(),
                    || Ok(()),
                ))
                .unwrap()
        });
        Self {
            address,
            shutdown,
            thread,
        }
    }

    fn open(&self, method: &str, path: &str, body: &str) -> TcpStream {
        request(self.address, method, path, body)
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        rest(self.open(method, path, body))
    }

    /// Waits until the metrics hold a line; the bound is wide because the machine may be busy.
    fn await_metric(&self, line: &str) {
        let since = Instant::now();
        loop {
            let metrics = self.send("GET", "/metrics", "");
            if metrics.lines().any(|seen| seen == line) {
                return;
            }
            assert!(
                since.elapsed() < Duration::from_secs(20),
                "no `{line}` in:\n{metrics}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(self) -> usize {
        self.shutdown.drain.cancel();
        self.thread.join().unwrap()
    }
}

const CHAT: &str = "/v1/chat/completions";
const STREAM: &str =
    r#"{"model":"simulated","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: mine\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    socket
}

fn rest(mut socket: TcpStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn calls_are_answered_whole_and_streamed_and_counted_once() {
    let service = Service::start();
    let whole = service.send(
        "POST",
        CHAT,
        r#"{"model":"simulated","messages":[{"role":"user","content":"hi"}]}"#,
    );
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    assert!(whole.contains("x-request-id: mine"), "{whole}");
    assert!(whole.contains("chat.completion"), "{whole}");
    let streamed = service.send("POST", CHAT, STREAM);
    assert!(streamed.contains("text/event-stream"), "{streamed}");
    assert!(streamed.contains("data: [DONE]\n\n"), "{streamed}");
    let metrics = service.send("GET", "/metrics", "");
    assert!(
        metrics.contains(r#"kebne_calls_total{lane="simulated",ending="success"} 2"#),
        "{metrics}"
    );
    assert_eq!(service.stop(), 0);
}

#[test]
fn bad_input_gets_the_right_status_and_all_four_keys() {
    let service = Service::start();
    let cases = [
        (
            "POST",
            CHAT,
            r#"{"model":"nope","messages":[]}"#,
            "404",
            "model_not_found",
        ),
        (
            "POST",
            CHAT,
            r#"{"messages":[]}"#,
            "400",
            r#""param":"model""#,
        ),
        ("POST", CHAT, "{", "400", "invalid_request_error"),
        ("GET", CHAT, "", "405", "invalid_request_error"),
        ("GET", "/nowhere", "", "404", "not_found"),
    ];
    for (method, path, body, status, expected) in cases {
        let answer = service.send(method, path, body);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains(expected), "{answer}");
        for key in ["\"message\"", "\"type\"", "\"param\"", "\"code\""] {
            assert!(answer.contains(key), "{answer}");
        }
    }
    assert_eq!(service.stop(), 0);
}

fn assert_cancelled_when_the_caller_leaves(fault: Fault, part: &str) {
    let service = Service::start_with(move |settings| {
        settings.backends[0].simulation.fault = Some(fault);
    });
    let mut socket = service.open("POST", CHAT, STREAM);
    service.await_metric(r#"kebne_in_flight{lane="simulated"} 1.0"#);
    let mut seen = String::new();
    while !seen.contains(part) {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        seen.push(char::from(byte[0]));
    }
    drop(socket);
    service.await_metric(r#"kebne_calls_total{lane="simulated",ending="cancelled"} 1"#);
    service.await_metric(r#"kebne_in_flight{lane="simulated"} 0.0"#);
    service.await_metric(r#"kebne_calls_live{lane="simulated"} 0.0"#);
    assert_eq!(service.stop(), 0);
}

#[test]
fn a_caller_that_leaves_before_the_first_byte_is_counted_as_cancelled() {
    assert_cancelled_when_the_caller_leaves(Fault::Hang, "");
}

#[test]
fn a_caller_that_leaves_within_a_stream_is_counted_as_cancelled() {
    assert_cancelled_when_the_caller_leaves(Fault::Stall, "data: ");
}

#[test]
fn a_stream_that_breaks_says_so_and_does_not_look_whole() {
    let service = Service::start_with(|settings| {
        settings.backends[0].simulation.fault = Some(Fault::HalfStream);
    });
    let answer = service.send("POST", CHAT, STREAM);
    assert!(answer.contains(r#"data: {"error":"#), "{answer}");
    assert!(!answer.contains("[DONE]"), "{answer}");
    service.await_metric(r#"kebne_calls_total{lane="simulated",ending="error"} 1"#);
    assert_eq!(service.stop(), 0);
}

#[test]
fn what_does_not_end_before_the_drain_deadline_is_cut_off_and_reported() {
    let service = Service::start_with(|settings| {
        settings.backends[0].simulation.fault = Some(Fault::Hang);
        settings.server.drain_deadline.0 = Duration::from_millis(200);
    });
    let socket = service.open("POST", CHAT, STREAM);
    service.await_metric(r#"kebne_in_flight{lane="simulated"} 1.0"#);
    assert_eq!(service.stop(), 1);
    let answer = rest(socket);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("draining"), "{answer}");
}

#[test]
fn the_readmes_main_job_is_held_through_the_cold_start_and_the_program_drains() {
    let readme = include_str!("../README.md");
    let call = readme.split("curl -N ").nth(1).unwrap();
    let body = call
        .split("-d '")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_kebne"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .current_dir(folder.path())
        .env("KEBNE__SERVER__LAME_DUCK", "0s")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let output = program.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("kebne on http://").unwrap();
    let address = address.strip_suffix("/v1").unwrap().parse().unwrap();
    let answer = rest(request(address, "POST", CHAT, body));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("data: [DONE]\n\n"), "{answer}");
    let killed = Command::new("sh")
        .args(["-c", &format!("kill {}", program.id())])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(program.wait().unwrap().code(), Some(0));
    // What it learned of the cold start is there for the next one.
    let learned = std::fs::read(folder.path().join("kebne-data/learned.json")).unwrap();
    let learned: serde_json::Value = serde_json::from_slice(&learned).unwrap();
    let load_times = &learned["lanes"]["simulated"]["learned"]["loads"]["seen"];
    assert_eq!(load_times.as_array().map(Vec::len), Some(1), "{learned}");
}
