//! What ends the rounds of a call.

use std::time::{Duration, Instant};

use super::{super::server, *};

/// A model that calls a tool whenever it may, each time with other arguments.
fn eager() -> (String, mpsc::Receiver<Value>) {
    model(|request| {
        let count = results(request).len();
        if request["tool_choice"] == "none" || offered(request).is_empty() {
            return say(&format!("After {count}."));
        }
        calls("", &[("s__write", json!({"text": count.to_string()}))])
    })
}

#[test]
fn the_last_round_is_asked_for_without_calls() {
    let folder = folder();
    let ((server, called), (url, asked)) = (plain_server(), eager());
    let more = "[mcp.tool_loop]\nrounds_max = 3\n";
    let program = gateway(folder.path(), &url, &server, OF_MODEL, more);
    until_listed(&program, "any");
    let answer = chat(&program, json!({})).json();
    assert_eq!(
        answer["choices"][0]["message"]["content"], "After 2.",
        "{answer}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(taken(&called).len(), 2);
    assert_eq!(asked.try_iter().count(), 3);
}

#[test]
fn the_same_call_again_and_again_and_too_many_tokens_end_the_answer() {
    let folder = folder();
    let (server, called) = plain_server();
    let (url, _asked) = model(|_| calls("Hm.", &[("s__write", json!({}))]));
    let more = "[mcp.tool_loop]\nrepeats_max = 2\n";
    let mut program = gateway(folder.path(), &url, &server, OF_MODEL, more);
    until_listed(&program, "any");
    let answer = chat(&program, json!({})).json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    assert_eq!(answer["mcp"]["ending"], "looping");
    assert_eq!(answer["choices"][0]["message"]["content"], "Hm.\n\nHm.");
    assert_eq!(taken(&called).len(), 2);
    program.terminate();
    let more = "[mcp.tool_loop]\ntokens_max = 25\n";
    let program = gateway(folder.path(), &url, &server, OF_MODEL, more);
    until_listed(&program, "any");
    let tool = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    let body = json!({"model": "m", "input": "Go.", "tools": [tool]});
    let answer = post(&program, "/v1/responses", "any", &body).json();
    assert_eq!(answer["status"], "incomplete", "{answer}");
    assert_eq!(taken(&called).len(), 1);
    let counted = "kebne_tool_loops_total{ending=\"tokens_used\"} 1";
    assert!(metrics(&program).contains(counted), "{}", metrics(&program));
}

#[test]
fn a_deadline_ends_the_call_and_a_long_result_is_cut() {
    let folder = folder();
    let (server, _called) = server(|number, id, socket| {
        if number > 0 {
            thread::sleep(AMPLE);
        }
        let text = super::super::said(&"x".repeat(5000));
        socket.write_all(super::super::result_text(id, &text).as_bytes())
    });
    let (url, asked) = eager();
    let more = "[mcp.tool_loop]\nresult_size_max = \"1KiB\"\n";
    let program = gateway(folder.path(), &url, &server, OF_MODEL, more);
    until_listed(&program, "any");
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Go."}]});
    let began = Instant::now();
    let headers = [("x-kebne-deadline-ms", "3000")];
    let answer = program.send("POST", CHAT, &headers, &body);
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    assert!(began.elapsed() < AMPLE / 2);
    let second = asked.try_iter().nth(1).unwrap();
    let read = results(&second);
    assert!(
        read[0].starts_with("xxx") && read[0].len() < 1100,
        "{}",
        read[0].len()
    );
}

#[test]
fn a_caller_that_leaves_ends_its_rounds() {
    let folder = folder();
    let (server, called) = server(|_, _, _| {
        thread::sleep(AMPLE);
        Ok(())
    });
    let (url, _asked) = eager();
    let program = gateway(folder.path(), &url, &server, OF_MODEL, "");
    until_listed(&program, "any");
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Go."}]}).to_string();
    let mut socket = TcpStream::connect(program.address).unwrap();
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        program.address,
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    called.recv_timeout(AMPLE).unwrap();
    drop(socket);
    let due = Instant::now() + AMPLE;
    let ended = [
        "kebne_requests_total{model=\"m\",ending=\"cancelled\"} 1",
        "kebne_requests_total{model=\"s\",ending=\"cancelled\"} 1",
        "kebne_tool_loops_total{ending=\"abandoned\"} 1",
    ];
    loop {
        let metrics = metrics(&program);
        if ended.iter().all(|line| metrics.contains(line)) {
            break;
        }
        assert!(Instant::now() < due, "{metrics}");
        thread::sleep(Duration::from_millis(50));
    }
}
