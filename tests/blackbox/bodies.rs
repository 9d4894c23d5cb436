//! What large bodies cost: bounded memory, and no other call its time.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::program::{CHAT, Program, SESSION, folder};

const MIB: usize = 1 << 20;

/// Returns a line of the process' memory in MiB.
fn memory(program: &Program, line: &str) -> u64 {
    program.memory(line) / 1024
}

/// A chat body of about this size, of many small messages: the most expensive kind to hold as a tree.
fn many_messages(size: usize) -> String {
    let message = r#"{"role":"user","content":""},"#;
    let messages = message.repeat(size / message.len());
    let messages = messages.trim_end_matches(',');
    format!(r#"{{"model":"simulated","messages":[{messages}]}}"#)
}

#[test]
fn a_large_body_with_a_session_is_refused_without_a_tree_of_it() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let session = program.session();
    let body = many_messages(15 * MIB);
    let before = memory(&program, "VmHWM");
    for _ in 0..3 {
        let answer = program.try_send("POST", CHAT, &[(SESSION, &session)], &body);
        let answer = answer.unwrap();
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(answer.json()["error"]["param"], "messages");
    }
    let more = memory(&program, "VmHWM") - before;
    // A tree of it would take 800 MiB; the body, what is read of it and the allocator's reserve take the rest.
    assert!(more < 128, "{more} MiB more for a body of 15 MiB");
}

/// Announces a body of this size, sends this much of it, and then nothing.
fn slow_upload(program: &Program, size: usize, sent: usize) -> TcpStream {
    let mut socket = TcpStream::connect(program.address).unwrap();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n",
        program.address
    );
    // The program may have refused and closed meanwhile.
    let part = vec![b' '; sent];
    socket.write_all(head.as_bytes()).ok();
    socket.write_all(&part).ok();
    socket
}

const UPLOADS: usize = 200;

#[test]
fn slow_large_uploads_take_no_more_than_their_budget_and_give_it_back() {
    let folder = folder();
    let variables = [
        ("KEBNE__SERVER__BODY_SIZE_MAX", "8MiB"),
        ("KEBNE__SERVER__BODIES_SIZE_MAX", "32MiB"),
        ("KEBNE__SERVER__REQUEST_TIMEOUT", "60s"),
    ];
    let program = Program::start(folder.path(), &variables);
    let small = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;
    let ask = || program.try_send("POST", CHAT, &[], small).unwrap();
    assert_eq!(ask().status, 200);
    let before = memory(&program, "VmRSS");
    // Together they announce 1600 MiB and send 400 MiB.
    let mut uploads: Vec<TcpStream> = (0..UPLOADS)
        .map(|_| slow_upload(&program, 8 * MIB, 2 * MIB))
        .collect();
    let refused = |socket: &mut TcpStream| {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok();
        answer.starts_with("HTTP/1.1 503")
            && answer.contains("bodies_full")
            && answer.contains("retry-after: ")
    };
    let mut last = uploads.pop().unwrap();
    assert!(refused(&mut last));
    // Small calls are served meanwhile, and nobody waits for a large body.
    let since = Instant::now();
    assert_eq!(ask().status, 200);
    assert_eq!(
        program.send("GET", "/healthz", &[], &Value::Null).status,
        200
    );
    assert!(since.elapsed() < Duration::from_secs(5));
    let during = memory(&program, "VmHWM") - before;
    // The budget, the buffers of 200 connections, and what the allocator has not given back yet: not the 400 MiB sent.
    assert!(during < 160, "{during} MiB more for a budget of 32 MiB");
    drop(uploads);
    program.await_metric("kebne_body_bytes 0.0");
    // The allocator gives pages back while it is used.
    let since = Instant::now();
    loop {
        assert_eq!(ask().status, 200);
        let after = memory(&program, "VmRSS").saturating_sub(before);
        // Of the 400 MiB that were sent, the allocator keeps a small part for the next requests.
        if after < 48 {
            return;
        }
        let late = since.elapsed() > Duration::from_secs(20);
        assert!(!late, "{after} MiB were not given back");
    }
}

/// Waits until the process has at least so many open files.
fn await_files(program: &Program, count: usize) {
    let path = format!("/proc/{}/fd", program.child.id());
    let since = Instant::now();
    while fs::read_dir(&path).unwrap().count() < count {
        assert!(since.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(10));
    }
}

/// Opens connections, and sends the same bytes on each that is there.
fn send_on_each(program: &Program, connections: &mut Vec<TcpStream>, bytes: &[u8]) {
    connections.resize_with(connections.len().max(2 * UPLOADS), || {
        TcpStream::connect(program.address).unwrap()
    });
    for connection in connections {
        connection.write_all(bytes).unwrap();
    }
}

#[test]
fn what_slow_chunked_uploads_take_of_the_budget_covers_the_memory_of_their_connections() {
    let folder = folder();
    let program = Program::start(folder.path(), &[]);
    let small = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;
    for _ in 0..50 {
        let answer = program.try_send("POST", CHAT, &[], small).unwrap();
        assert_eq!(answer.status, 200);
    }
    let mut connections = Vec::new();
    let line = format!("POST {CHAT} HTTP/1.1\r\nhost: {}\r\n", program.address);
    send_on_each(&program, &mut connections, line.as_bytes());
    await_files(&program, connections.len());
    let before = program.memory("RssAnon");
    let head = "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    send_on_each(&program, &mut connections, head.as_bytes());
    let mut arrived = 0;
    // Each body is moved to a larger buffer twice.
    for size in [3 << 10, 4 << 10, 8 << 10] {
        let chunk = format!("{size:x}\r\n{}\r\n", " ".repeat(size));
        send_on_each(&program, &mut connections, chunk.as_bytes());
        arrived += size;
        let share = (arrived.next_power_of_two() + (44 << 10)) * connections.len();
        program.await_metric(&format!("kebne_body_bytes {share}.0"));
        let more = program.memory("RssAnon") - before;
        let charged = u64::try_from(share >> 10).unwrap();
        assert!(
            more < charged + 2048,
            "{more} KiB more for {charged} KiB that were taken"
        );
    }
}

/// What a caller receives until its connection is closed, and whether it was closed.
fn answer(socket: &mut TcpStream) -> (String, bool) {
    let timeout = Some(Duration::from_secs(20));
    socket.set_read_timeout(timeout).unwrap();
    let mut answer = Vec::new();
    let ended = socket.read_to_end(&mut answer);
    // A reset closes it as well.
    let is_open = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    (String::from_utf8_lossy(&answer).into_owned(), !is_open)
}

#[test]
fn the_connection_of_a_chunked_body_that_is_refused_is_closed() {
    let folder = folder();
    let variables = [("KEBNE__SERVER__BODY_SIZE_MAX", "1MiB")];
    let program = Program::start(folder.path(), &variables);
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 64 << 10], b"\r\n"].concat();
    for (path, chunks, status) in [(CHAT, 18, 413), ("/v1/no-such-path", 3, 404)] {
        let mut socket = TcpStream::connect(program.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        for _ in 0..chunks {
            socket.write_all(&chunk).unwrap();
        }
        // The end of the body never comes.
        let (answer, is_closed) = answer(&mut socket);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(is_closed, "{path}: the connection is still open");
    }
}

/// Returns the bytes that bodies hold.
fn held_bytes(program: &Program) -> usize {
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    let mut lines = metrics.lines();
    let held = lines.find_map(|line| line.strip_prefix("kebne_body_bytes "));
    let held = held.unwrap().trim_end_matches(".0");
    held.parse().unwrap()
}

/// The caller announces a body and sends it only if it is asked to, as curl does for bodies of more than 1 MiB.
#[test]
fn a_body_is_asked_for_only_if_its_request_is_let_in() {
    let folder = folder();
    let variables = [
        ("KEBNE__SERVER__BODY_SIZE_MAX", "1MiB"),
        ("KEBNE__SERVER__BODIES_SIZE_MAX", "2MiB"),
    ];
    let program = Program::start(folder.path(), &variables);
    let small = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;
    let expecting = |path: &str, host: &str, length: usize| {
        let mut socket = TcpStream::connect(program.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket
    };
    // Less than 1 MiB is left for large bodies.
    let held = slow_upload(&program, 1 << 20, 900 << 10);
    let since = Instant::now();
    while held_bytes(&program) < 900 << 10 {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    for (host, length, status, code) in [
        ("localhost", 2 << 20, 413, "request_too_large"),
        ("evil.example", small.len(), 403, "host_not_allowed"),
        ("localhost", 1 << 20, 503, "bodies_full"),
    ] {
        let (answer, is_closed) = answer(&mut expecting(CHAT, host, length));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(code) && is_closed, "{answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
    }
    drop(held);
    let mut asked = expecting(CHAT, "localhost", small.len());
    let mut first = [0; 25];
    asked.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 100 Continue\r\n\r\n");
    asked.write_all(small.as_bytes()).unwrap();
    let (answer, _) = answer(&mut asked);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Refused calls are counted as those without `Expect` are.
    for status in [413, 503] {
        program.await_metric(&format!(
            r#"kebne_answers_total{{model="",status="{status}"}} 1"#
        ));
    }
}
