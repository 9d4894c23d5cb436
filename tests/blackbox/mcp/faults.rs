//! What servers do wrong: they are away, die, hang, refuse, lie, answer too much, and tell secrets.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    AMPLE, call, plain_server, result_text, said, server, server_that, settings, start, text, tool,
    until_listed,
};
use crate::{
    guards::http,
    program::{Program, folder},
};

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

#[test]
fn only_a_tool_that_permits_it_is_called_again_after_a_failure() {
    for (name, is_repeated) in [("s__write", false), ("s__read", true), ("s__set", true)] {
        for dies in [false, true] {
            let folder = folder();
            let (url, calls) = server(move |number, id, socket| match number {
                // The connection is closed without an answer.
                0 if dies => Ok(()),
                0 => socket.write_all(status("500 Internal Server Error").as_bytes()),
                _ => socket.write_all(result_text(id, &said("again")).as_bytes()),
            });
            let program = start(folder.path(), &settings(&url, ""));
            until_listed(&program, "any");
            let answer = call(&program, "any", name, &json!({}));
            let (said, is_error) = text(&answer);
            assert_eq!(!is_error, is_repeated, "{name} {dies}: {said}");
            let expected = if is_repeated { 2 } else { 1 };
            assert_eq!(calls.try_iter().count(), expected, "{name} {dies}");
        }
    }
}

#[test]
fn a_refusal_has_done_nothing_and_is_repeated() {
    for line in ["429 Too Many Requests", "503 Service Unavailable"] {
        let folder = folder();
        let (url, calls) = server(move |number, id, socket| match number {
            0 => socket.write_all(status(line).as_bytes()),
            _ => socket.write_all(result_text(id, &said("again")).as_bytes()),
        });
        let program = start(folder.path(), &settings(&url, ""));
        until_listed(&program, "any");
        let answer = call(&program, "any", "s__write", &json!({}));
        assert_eq!(text(&answer), ("again".to_owned(), false), "{line}");
        assert_eq!(calls.try_iter().count(), 2, "{line}");
    }
}

#[test]
fn a_server_that_hangs_costs_its_timeout_and_no_other_call() {
    let folder = folder();
    let (url, _calls) = server(|number, id, socket| {
        if number == 1 {
            thread::sleep(AMPLE);
        }
        socket.write_all(result_text(id, &said("quick")).as_bytes())
    });
    let program = start(folder.path(), &settings(&url, "timeout = \"1s\"\n"));
    until_listed(&program, "any");
    // Until the first answer there is one call at a time.
    call(&program, "any", "s__write", &json!({}));
    let began = Instant::now();
    thread::scope(|scope| {
        let hangs = scope.spawn(|| call(&program, "any", "s__write", &json!({})));
        thread::sleep(Duration::from_millis(300));
        let answer = call(&program, "any", "s__write", &json!({}));
        assert_eq!(text(&answer), ("quick".to_owned(), false));
        assert!(began.elapsed() < Duration::from_secs(1));
        let (said, is_error) = text(&hangs.join().unwrap());
        assert!(is_error, "{said}");
    });
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_caller_that_leaves_cancels_its_call() {
    let folder = folder();
    let (closed, was_closed) = std::sync::mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let (url, calls) = server(move |_, _, socket: &mut TcpStream| {
        socket.set_read_timeout(Some(AMPLE))?;
        // Ends when the gateway closes the connection.
        let read = socket.read(&mut [0; 1])?;
        closed.lock().unwrap().send(read).ok();
        Ok(())
    });
    let program = start(folder.path(), &settings(&url, ""));
    until_listed(&program, "any");
    let params = json!({"name": "s__write", "arguments": {}});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let request = request.to_string();
    let mut caller = TcpStream::connect(program.address).unwrap();
    write!(
        caller,
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n{request}",
        request.len()
    )
    .unwrap();
    calls.recv_timeout(AMPLE).unwrap();
    drop(caller);
    let due = Instant::now() + AMPLE;
    loop {
        let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
        let line = "kebne_requests_total{model=\"s\",ending=\"cancelled\"} 1";
        if metrics.contains(line) {
            break;
        }
        assert!(Instant::now() < due, "{metrics}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(was_closed.recv_timeout(AMPLE), Ok(0));
}

#[test]
fn a_server_that_starts_late_is_waited_for() {
    let folder = folder();
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let url = format!("http://{address}/mcp");
    let program = start(folder.path(), &settings(&url, "prefix = \"\"\n"));
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_ne!(state["mcp"][0]["state"], "up");
    thread::sleep(Duration::from_secs(1));
    let listener = TcpListener::bind(address).unwrap();
    let tools = || json!([tool("late", &json!({}))]);
    let _calls = server_that(listener, tools, |_, id, socket| {
        socket.write_all(result_text(id, &said("here")).as_bytes())
    });
    assert_eq!(until_listed(&program, "any"), ["late"]);
    let answer = call(&program, "any", "late", &json!({}));
    assert_eq!(text(&answer), ("here".to_owned(), false));
}

#[test]
fn a_process_that_dies_is_started_again() {
    let folder = folder();
    let script = r#"
echo x >> starts
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  say() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
  case "$line" in
    *'"server/discover"'*) say '"error":{"code":-32601,"message":"no"}' ;;
    *'"initialize"'*) say '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"tools/list"'*) say '"result":{"tools":[{"name":"die","inputSchema":{"type":"object"}},{"name":"live","inputSchema":{"type":"object"}}]}' ;;
    *'"die"'*) exit 3 ;;
    *'"tools/call"'*) say '"result":{"content":[{"type":"text","text":"alive"}]}' ;;
  esac
done
"#;
    fs::write(folder.path().join("server.sh"), script).unwrap();
    let text_of = "[[mcp_servers]]\nname = \"s\"\ncommand = \"/bin/sh\"\nargs = [\"server.sh\"]\n";
    let program = start(folder.path(), text_of);
    until_listed(&program, "any");
    let (said, is_error) = text(&call(&program, "any", "s__die", &json!({})));
    assert!(is_error, "{said}");
    // The call waits in the lane until the next process is there.
    let answer = call(&program, "any", "s__live", &json!({}));
    assert_eq!(text(&answer), ("alive".to_owned(), false));
    let starts = fs::read_to_string(folder.path().join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 2);
}

#[test]
fn an_answer_that_is_none_is_an_error_that_the_model_reads() {
    type Write = fn(usize, &Value, &mut TcpStream) -> std::io::Result<()>;

    let html = |_: usize, _: &Value, socket: &mut TcpStream| {
        socket.write_all(http("text/html", "<html>hello</html>").as_bytes())
    };
    let broken = |_: usize, _: &Value, socket: &mut TcpStream| {
        socket.write_all(http("application/json", "{\"jsonrpc\": \"2.0\", ").as_bytes())
    };
    let large = |_: usize, id: &Value, socket: &mut TcpStream| {
        socket.write_all(result_text(id, &said(&"x".repeat(100_000))).as_bytes())
    };
    let ways: [(&str, Write); 3] = [("html", html), ("broken", broken), ("large", large)];
    for (name, write) in ways {
        let folder = folder();
        let (url, calls) = server(write);
        let program = start(
            folder.path(),
            &settings(&url, "answer_size_max = \"64KiB\"\n"),
        );
        until_listed(&program, "any");
        let (said, is_error) = text(&call(&program, "any", "s__read", &json!({})));
        assert!(is_error, "{name}: {said}");
        assert!(!said.contains("<html>"), "{name}: {said}");
        assert_eq!(calls.try_iter().count(), 1, "{name} is called again");
    }
}

#[test]
fn the_error_of_a_server_reaches_its_caller_without_the_secrets_of_the_gateway() {
    let folder = folder();
    fs::write(folder.path().join("key"), "very-secret-key\n").unwrap();
    let (url, calls) = server(|_, id, socket| {
        let error = json!({"code": -32602, "message": "`text` is missing; key very-secret-key"});
        let answer = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
        socket.write_all(http("application/json", &answer).as_bytes())
    });
    let program = start(folder.path(), &settings(&url, "api_key_file = \"key\"\n"));
    until_listed(&program, "any");
    let answer = call(&program, "any", "s__write", &json!({}));
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(message.contains("`text` is missing"), "{answer}");
    assert!(!message.contains("very-secret"), "{answer}");
    let called = calls.recv_timeout(AMPLE).unwrap();
    let head = called.head.to_lowercase();
    assert!(
        head.contains("authorization: bearer very-secret-key"),
        "{head}"
    );
}

#[test]
fn a_reload_adds_and_removes_servers() {
    let folder = folder();
    let ((one, _calls), (two, _others)) = (plain_server(), plain_server());
    let program = start(folder.path(), &settings(&one, ""));
    until_listed(&program, "any");
    let config = folder.path().join("kebne.toml");
    let other = format!("[[mcp_servers]]\nname = \"t\"\nurl = \"{two}\"\ntools = [\"read\"]\n");
    fs::write(&config, other).unwrap();
    let answer = program.send("POST", "/admin/v1/reload", &[], &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(until_listed(&program, "any"), ["t__read"]);
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_kebne"))
        .args(["check", "--config"])
        .arg(&config)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(checked.status.success());
    let wrong =
        "[[mcp_servers]]\nname = \"t\"\nurl = \"http://localhost\"\napi_key_file = \"nowhere\"\n";
    fs::write(&config, wrong).unwrap();
    let answer = program.send("POST", "/admin/v1/reload", &[], &Value::Null);
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert_eq!(super::names(&program, "any"), ["t__read"]);
    let checked = Program::configured(folder.path(), &config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(said.contains("nowhere"), "{said}");
}
