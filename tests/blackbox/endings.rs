//! How a call ends is decided when its answer is written, not when it is there.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    program::{CHAT, Program, folder},
    upstream::{in_front_of, upstream, whole},
};

/// More than the sockets between program and caller can hold.
const LARGE: usize = 24 << 20;

fn ask(program: &Program) -> TcpStream {
    let body = r#"{"model":"simulated","messages":[{"role":"user","content":"a"}]}"#;
    let mut socket = TcpStream::connect(program.address).unwrap();
    let length = body.len();
    write!(
        socket,
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}",
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
