//! Everything goes wrong at once, and the program serves afterwards.
//!
//! It takes longest of these tests. They are started in the order of their names, so that it begins among the first.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::program::{CHAT, Program, SESSION, folder};

/// Requests of each kind, and the connections that send them.
const REQUESTS: usize = 1000;
const SENDERS: usize = 20;
/// Time for which another process holds the session file: longer than any patience for it.
const LOCK_HELD: Duration = Duration::from_secs(14);
/// Memory that the process may hold some time after two storms beyond what it held before them: counters and histories
/// of the lanes, the buffers that each thread of HTTP and of the store keeps, and pages that the allocator has not given
/// back. The second storm leaves no more than the first.
const MEMORY_KEPT_MAX_KIB: u64 = 64 * 1024;
/// Memory that the process may ever hold.
const MEMORY_MAX_KIB: u64 = 512 * 1024;
/// Time in which a lane that had only panics serves again; wide, because the machine may be busy.
const RECOVERS_WITHIN: Duration = Duration::from_mins(1);

/// Three backends: one that serves, one whose every third attempt panics, one whose server does not exist.
fn start(folder: &Path) -> Program {
    let config = folder.join("kebne.toml");
    let text = r#"
[server]
lame_duck = "0s"

[[backends]]
name = "good"
kind = "simulated"
simulation = { preset = "instant" }

[[backends]]
name = "panics"
kind = "simulated"
simulation = { preset = "instant", fault = "panic", fault_share = 0.3 }

[[backends]]
name = "gone"
kind = "openai"
base_url = "http://127.0.0.1:1/v1"
"#;
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "a"}]}).to_string()
}

fn call(address: SocketAddr, model: &str, headers: &[(&str, &str)]) -> Option<u16> {
    let answer = Program::exchange(address, "POST", CHAT, headers, &chat(model));
    answer.map(|answer| answer.status)
}

/// Sends requests from several threads at once and returns the threads.
fn storm(
    count: usize,
    send: impl Fn(usize) + Copy + Send + 'static,
) -> Vec<thread::JoinHandle<()>> {
    let share = count / SENDERS;
    (0..SENDERS)
        .map(|sender| {
            thread::spawn(move || (0..share).for_each(|number| send(sender * share + number)))
        })
        .collect()
}

/// Announces a body that is too large or sends one that is as large as is allowed, and does not care for the answer.
fn huge(address: SocketAddr, number: usize) {
    let Ok(mut socket) = TcpStream::connect(address) else {
        return;
    };
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    socket
        .set_write_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let size: usize = if number.is_multiple_of(10) {
        8 << 20
    } else {
        64 << 20
    };
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n{SESSION}: sess_none\r\ncontent-length: {size}\r\n\r\n"
    );
    // The program may answer and close before the body is through.
    if socket.write_all(head.as_bytes()).is_err() {
        return;
    }
    let piece = vec![b' '; 64 << 10];
    for _ in 0..size / piece.len() {
        if socket.write_all(&piece).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok();
}

/// Sends what no client of good will sends.
fn hostile(address: SocketAddr, number: usize) {
    let Ok(mut socket) = TcpStream::connect(address) else {
        return;
    };
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let deep = "[".repeat(100_000);
    let headers = "x-h: 1\r\n".repeat(300);
    let request = match number % 8 {
        0 => "\u{0}\u{1}\u{2}garbage\r\n\r\n".to_owned(),
        1 => format!("POST {CHAT} HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 2\r\n\r\n{{}}"),
        2 => format!(
            "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\norigin: https://evil.example\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{{}}"
        ),
        3 => format!(
            "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{deep}",
            deep.len()
        ),
        4 => format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n"),
        5 => format!(
            "POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
        ),
        6 => "GET /v1/sessions/../../etc/passwd HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".to_owned(),
        _ => format!("POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 50\r\n\r\n{{"),
    };
    if socket.write_all(request.as_bytes()).is_err() {
        return;
    }
    socket.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).unwrap_or_default();
    assert!(!status.starts_with('2'), "{request:.80}: {text}");
}

fn hang_up(program: &Program) {
    program.signal("HUP");
}

/// Calls until the model answers.
fn recovers(address: SocketAddr, model: &str, headers: &[(&str, &str)]) {
    let since = Instant::now();
    while call(address, model, headers) != Some(200) {
        assert!(
            since.elapsed() < RECOVERS_WITHIN,
            "`{model}` does not serve"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Blocks the session file, and meanwhile sends every kind of storm, hang-ups and closings of a lane.
fn everything_at_once(program: &Program, folder: &Path, session: &str) {
    let address = program.address;
    let lock = Connection::open(folder.join("kebne-data/sessions.sqlite")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = Instant::now();
    let mut threads = storm(REQUESTS, move |number| huge(address, number));
    threads.extend(storm(REQUESTS, move |number| hostile(address, number)));
    threads.extend(storm(REQUESTS, move |_| {
        call(address, "panics", &[("x-kebne-deadline-ms", "500")]);
    }));
    threads.extend(storm(REQUESTS / 5, move |_| {
        call(address, "gone", &[("x-kebne-deadline-ms", "500")]);
    }));
    for _ in 0..20 {
        let (id, close) = (session.to_owned(), "/backends/gone/close");
        threads.push(thread::spawn(move || {
            call(
                address,
                "good",
                &[(SESSION, &id), ("x-kebne-deadline-ms", "20000")],
            );
        }));
        hang_up(program);
        Program::exchange(address, "POST", close, &[], "");
        assert_eq!(
            call(address, "good", &[]),
            Some(200),
            "the good lane serves meanwhile"
        );
    }
    thread::sleep(LOCK_HELD.saturating_sub(locked.elapsed()));
    lock.execute_batch("ROLLBACK").unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Sends a second storm, and waits until the program holds little more than `before` both.
fn memory_returns(program: &Program, before: u64) {
    let address = program.address;
    let first = program.memory("RssAnon");
    let mut threads = storm(REQUESTS / 2, move |number| huge(address, number));
    threads.extend(storm(REQUESTS / 2, move |number| hostile(address, number)));
    for thread in threads {
        thread.join().unwrap();
    }
    let second = program.memory("RssAnon");
    let since = Instant::now();
    loop {
        let now = program.memory("RssAnon");
        if now < before + MEMORY_KEPT_MAX_KIB {
            return;
        }
        assert!(
            since.elapsed() < RECOVERS_WITHIN,
            "{before} KiB before, {first} after one storm, {second} after two, {now} now"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn after_a_storm_of_every_kind_the_process_is_alive_and_every_lane_serves() {
    let folder = folder();
    let mut program = start(folder.path());
    let address = program.address;
    let session = program.session();
    let in_session: [(&str, &str); 1] = [(SESSION, &session)];
    assert_eq!(call(address, "good", &in_session), Some(200));
    recovers(address, "panics", &[]);
    let before = program.memory("RssAnon");

    everything_at_once(&program, folder.path(), &session);

    assert!(
        program.child.try_wait().unwrap().is_none(),
        "the process lives"
    );
    recovers(address, "good", &[]);
    recovers(address, "panics", &[]);
    recovers(address, "good", &in_session);
    let reopened = program.send("POST", "/backends/gone/reopen", &[], &Value::Null);
    assert_eq!(reopened.json()["lane"], "open");
    let most = program.memory("VmHWM");
    assert!(most < MEMORY_MAX_KIB, "{most} KiB at most");
    memory_returns(&program, before);
    for lane in ["good", "panics", "gone"] {
        program.await_metric(&format!("kebne_in_flight{{lane=\"{lane}\"}} 0.0"));
    }
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    for lane in state["lanes"].as_array().unwrap() {
        let endings = lane["endings"]["ended"].as_object().unwrap();
        let ended: u64 = endings.values().filter_map(Value::as_u64).sum();
        assert_eq!(lane["endings"]["calls"], ended, "{lane}");
    }
    assert_eq!(program.terminate(), Some(0));
}
