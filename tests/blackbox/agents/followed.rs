//! Runs whose text is read while the model writes it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;

use super::{AMPLE, HELPER, asking, get, post, start, until};
use crate::program::folder;

#[test]
fn a_stream_of_events_has_the_text_of_a_step_before_the_step_is_kept() {
    let folder = folder();
    let (url, _calls) = asking();
    let program = start(folder.path(), &url, HELPER);
    let answer = post(&program, "/v1/agents/helper/runs", &json!({"input": "Go."}));
    let place = answer.header("location").unwrap().to_owned();
    let waiting = until(&program, &place, "waiting");
    let mut socket = TcpStream::connect(program.address).unwrap();
    socket.set_read_timeout(Some(AMPLE)).unwrap();
    let request = format!(
        "GET {place}/events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        program.address
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut read = String::new();
    let mut part = [0; 1024];
    // From its first event on the reader is there.
    while !read.contains("event: answered") {
        let count = socket.read(&mut part).unwrap();
        assert!(count > 0, "{read}");
        read += &String::from_utf8_lossy(&part[..count]);
    }
    let call = waiting["waiting"][0]["call"].as_str().unwrap();
    let decide = format!("{place}/approvals/{call}");
    let decision = json!({"approve": true, "answer": "The red one."});
    assert_eq!(post(&program, &decide, &decision).status, 200);
    socket.read_to_string(&mut read).unwrap();
    let text = "event: text\ndata: {\"text\":\"The human says: The red one.\"}\n\n";
    let told = read.find(text);
    assert!(told.is_some(), "{read}");
    assert!(told < read.rfind("event: answered"), "{read}");
    assert!(read.contains("event: ended"), "{read}");
    // What is kept is the answer.
    let run = get(&program, &place).json();
    assert_eq!(run["output"], "The human says: The red one.");
    assert_eq!(run["usage"]["output_tokens"], 10, "{run}");
}
