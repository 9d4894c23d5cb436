//! How a call ends is decided when its answer is written, not when it is there.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
};

use serde_json::{Value, json};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{in_front_of, upstream, upstream_that, whole},
};

/// More than the sockets between program and caller can hold.
const LARGE: usize = 24 << 20;

fn ask(program: &Program) -> TcpStream {
    ask_for(program, false, "")
}

fn ask_for(program: &Program, stream: bool, header: &str) -> TcpStream {
    let body = format!(
        r#"{{"model":"simulated","stream":{stream},"messages":[{{"role":"user","content":"a"}}]}}"#
    );
    let mut socket = TcpStream::connect(program.address).unwrap();
    let length = body.len();
    write!(
        socket,
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n{header}content-length: {length}\r\n\r\n{body}",
        program.address
    )
    .unwrap();
    socket
}

#[test]
fn a_whole_answer_counts_as_success_when_it_is_written() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole(&"x".repeat(LARGE)));
    let program = in_front_of(folder.path(), &url, "");
    let mut left = ask(&program);
    let mut head = [0; 12];
    left.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    program.await_metric(r#"kebne_calls_live{lane="simulated"} 1.0"#);
    drop(left);
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="cancelled"} 1"#);
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="cancelled"} 1"#);
    let mut answer = Vec::new();
    ask(&program).read_to_end(&mut answer).unwrap();
    assert!(answer.len() > LARGE && answer.ends_with(b"}"));
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="success"} 1"#);
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="success"} 1"#);
}

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// Returns an event of a stream.
fn chunk(text: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// Returns a stream that is larger than the sockets between program and caller can hold.
fn large_stream() -> String {
    let mut text = STREAM_HEAD.to_owned();
    let part = chunk(&"x".repeat(4096), "null");
    while text.len() < LARGE {
        text.push_str(&part);
    }
    text.push_str(&chunk("", "\"stop\""));
    text.push_str("data: [DONE]\n\n");
    text
}

#[test]
fn a_caller_who_takes_nothing_is_cut_off_and_its_memory_is_free_again() {
    let folder = folder();
    let (url, _requests) = upstream(|number| match number {
        1 => large_stream(),
        _ => whole(&"x".repeat(LARGE)),
    });
    // Room for one answer.
    let server = "[server]\nwrite_timeout = \"1s\"\nanswers_size_max = \"30MiB\"";
    let program = in_front_of(folder.path(), &url, server);
    let mut stalled = Vec::new();
    for (number, stream) in [(1, false), (2, true)] {
        let mut socket = ask_for(&program, stream, "");
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200", "{stream}");
        stalled.push(socket);
        let cancelled = r#"ending="cancelled""#;
        program.await_metric(&format!(
            r#"kebne_calls_total{{lane="simulated",{cancelled}}} {number}"#
        ));
        program.await_metric(&format!(
            r#"kebne_requests_total{{model="simulated",{cancelled}}} {number}"#
        ));
        program.await_metric(r#"kebne_calls_live{lane="simulated"} 0.0"#);
    }
    let mut answer = Vec::new();
    ask(&program).read_to_end(&mut answer).unwrap();
    assert!(answer.len() > LARGE && answer.ends_with(b"}"));
    for mut socket in stalled {
        let mut rest = Vec::new();
        // What the kernel held may still be read; the end is missing.
        socket.read_to_end(&mut rest).ok();
        assert!(rest.len() < LARGE, "{}", rest.len());
    }
}

#[test]
fn an_answer_without_room_is_shed_by_its_lane_too_and_does_not_fall_back() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole(&"x".repeat(LARGE)));
    let more = "[server]\nanswers_size_max = \"30MiB\"\n\
        [[backends]]\nname = \"other\"\nkind = \"simulated\"\nsimulation = {preset = \"instant\"}\n\
        [[models]]\nname = \"simulated\"\nbackends = [\"simulated\", \"other\"]";
    let program = in_front_of(folder.path(), &url, more);
    let mut stalled = ask(&program);
    stalled.read_exact(&mut [0; 12]).unwrap();
    let body = json!({"model": "simulated", "messages": [{"role": "user", "content": "a"}]});
    let refused = program.send("POST", CHAT, &[], &body);
    assert_eq!(refused.code(), (503, "answers_full".to_owned()));
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="shed"} 1"#);
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="error"} 0"#);
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="shed"} 1"#);
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    let lane = &state["lanes"][0];
    assert_eq!(lane["name"], "simulated");
    assert_eq!(
        lane["last_failure"],
        Value::Null,
        "the backend has not failed"
    );
}

#[test]
fn a_stalled_stream_past_its_deadline_counts_as_timeout_in_its_lane_and_among_the_requests() {
    let folder = folder();
    let (url, _requests) = upstream(|_| large_stream());
    let program = in_front_of(folder.path(), &url, "[server]\nwrite_timeout = \"3s\"");
    let mut stalled = ask_for(&program, true, "x-kebne-deadline-ms: 1000\r\n");
    stalled.read_exact(&mut [0; 12]).unwrap();
    program.await_metric(r#"kebne_calls_total{lane="simulated",ending="timeout"} 1"#);
    program.await_metric(r#"kebne_requests_total{model="simulated",ending="timeout"} 1"#);
}

#[test]
fn a_stop_counts_whole_answers_that_it_cuts_off() {
    let folder = folder();
    let (url, _requests) = upstream(|_| whole(&"x".repeat(LARGE)));
    let server = "[server]\ndrain_deadline = \"100ms\"";
    let mut program = in_front_of(folder.path(), &url, server);
    let mut stalled = ask(&program);
    stalled.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(program.terminate(), Some(1));
}

#[test]
fn stalled_streams_of_large_events_wait_within_the_budget_and_arrive_whole() {
    const STREAMS: usize = 8;
    const EVENTS: usize = 10;
    const EVENT: usize = 4 << 20;
    /// The budget, and what the program may hold besides it: half of all events together. It is about 80 MiB on an idle
    /// machine and 125 MiB on a busy one. Without the budget all 320 MiB are held. Pages of the program's file do not count.
    const MEMORY_MAX_KIB: u64 = (16 + 144) << 10;
    let folder = folder();
    let large = chunk(&"x".repeat(EVENT), "null");
    let (url, _requests) = upstream_that(move |_, socket| {
        socket.write_all(STREAM_HEAD.as_bytes())?;
        socket.write_all(chunk("a", "null").as_bytes())?;
        for _ in 0..EVENTS {
            socket.write_all(large.as_bytes())?;
        }
        socket.write_all(chunk("", "\"stop\"").as_bytes())?;
        socket.write_all(b"data: [DONE]\n\n")
    });
    let more = "event_size_max = \"5MiB\"\n[server]\nanswers_size_max = \"16MiB\"\n\
        write_timeout = \"10m\"\ndeadline_default = \"10m\"";
    let program = in_front_of(folder.path(), &url, more);
    let mut stalled: Vec<_> = (0..STREAMS).map(|_| ask_for(&program, true, "")).collect();
    for socket in &mut stalled {
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    // A stream waits for room: those that have it are not read.
    program.await_metric("kebne_answer_bytes 16777216.0");
    let readers: Vec<_> = stalled
        .into_iter()
        .map(|mut socket| {
            thread::spawn(move || {
                let mut answer = Vec::new();
                socket.read_to_end(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    for reader in readers {
        let answer = reader.join().unwrap();
        assert!(answer.len() > EVENTS * EVENT, "{}", answer.len());
        let end = String::from_utf8_lossy(&answer[answer.len() - 100..]);
        assert!(end.contains("data: [DONE]"), "{end}");
    }
    let most = program.memory("VmHWM") - program.memory("RssFile");
    assert!(most < MEMORY_MAX_KIB, "{most} KiB");
    program.await_metric("kebne_answer_bytes 0.0");
    let success = r#"kebne_calls_total{lane="simulated",ending="success"}"#;
    program.await_metric(&format!("{success} {STREAMS}"));
}
