//! Servers of the Model Context Protocol behind `/mcp`: their tools as one server, keys, and what such servers do wrong.

mod faults;
mod held;
mod in_calls;
mod oauth;
mod own;
mod tools;

use std::{
    fs,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    functions::Asked,
    guards::http,
    program::{Answer, Program},
    upstream::read_parts,
};

/// Longer than any machine needs.
const AMPLE: Duration = Duration::from_secs(30);

/// A call of a tool as its server gets it.
#[derive(Debug)]
pub(crate) struct Called {
    head: String,
    name: String,
    pub(crate) arguments: Value,
}

/// A server over HTTP in the era of sessions, without one. `tools` is its list; `write` answers the calls of tools: it gets the number of the
/// call, the id of the request, and the connection.
fn server_that(
    listener: TcpListener,
    tools: impl Fn() -> Value + Send + Sync + 'static,
    write: impl Fn(usize, &Value, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> mpsc::Receiver<Called> {
    let (called, calls) = mpsc::channel();
    let shared = Arc::new((tools, write));
    thread::spawn(move || {
        let number = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let (shared, called) = (Arc::clone(&shared), called.clone());
            let number = Arc::clone(&number);
            thread::spawn(move || {
                let (head, body) = read_parts(&socket);
                let asked = Asked { head, body };
                let request = if asked.body.is_empty() {
                    Value::Null
                } else {
                    asked.json()
                };
                let (tools, write) = &*shared;
                if request["method"] != "tools/call" {
                    let answer = answer_of(&request, tools);
                    return socket.write_all(answer.as_bytes()).ok();
                }
                let params = &request["params"];
                let call = Called {
                    head: asked.head.clone(),
                    name: params["name"].as_str().unwrap_or_default().to_owned(),
                    arguments: params["arguments"].clone(),
                };
                called.send(call).ok()?;
                let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                write(number, &request["id"], &mut socket).ok()
            });
        }
    });
    calls
}

/// Returns the answer to all that is not a call of a tool.
fn answer_of(request: &Value, tools: &impl Fn() -> Value) -> String {
    let result = match request["method"].as_str().unwrap_or_default() {
        "initialize" => json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "fixture", "version": "1"},
        }),
        "tools/list" => json!({"tools": tools()}),
        "server/discover" => {
            let error = json!({"code": -32601, "message": "no such method"});
            let answer = json!({"jsonrpc": "2.0", "id": request["id"], "error": error});
            return http("application/json", &answer.to_string());
        }
        // Notifications, and what is no request.
        _ => {
            return "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned();
        }
    };
    result_text(&request["id"], &result)
}

/// Returns an answer with a result.
fn result_text(id: &Value, result: &Value) -> String {
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": result});
    http("application/json", &answer.to_string())
}

/// Returns the result of a tool with a text.
fn said(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn tool(name: &str, hints: &Value) -> Value {
    json!({
        "name": name, "description": format!("The tool {name}."), "annotations": hints,
        "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}},
    })
}

/// A server with the tools `read` (read-only), `set` (idempotent) and `write`, whose calls are answered by `write`; returns its URL.
fn server(
    write: impl Fn(usize, &Value, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Called>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let tools = || {
        json!([
            tool("read", &json!({"readOnlyHint": true})),
            tool("set", &json!({"idempotentHint": true})),
            tool("write", &json!({})),
        ])
    };
    (url, server_that(listener, tools, write))
}

/// A server that answers each call with the text `done`.
pub(crate) fn plain_server() -> (String, mpsc::Receiver<Called>) {
    server(|_, id, socket| socket.write_all(result_text(id, &said("done")).as_bytes()))
}

/// Settings of one server `s`; keys of the server follow in `more`.
pub(crate) fn settings(url: &str, more: &str) -> String {
    format!("[[mcp_servers]]\nname = \"s\"\nurl = \"{url}\"\n{more}")
}

/// Settings of a key with scopes and models; both as lists in TOML.
fn key(name: &str, scopes: &str, models: &str) -> String {
    let hash = hex::encode(Sha256::digest(name));
    format!(
        "[[server.keys]]\nname = \"{name}\"\ntenant = \"{name}\"\nhash = \"{hash}\"\nscopes = {scopes}\n{models}\n"
    )
}

fn start(folder: &Path, text: &str) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

/// Sends a request of the era of sessions.
fn ask(program: &Program, bearer: &str, method: &str, params: &Value) -> Answer {
    let bearer = format!("Bearer {bearer}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    program.send("POST", "/mcp", &headers, &request)
}

/// Returns the names of the tools that a key is offered, without the gateway's own.
fn names(program: &Program, bearer: &str) -> Vec<String> {
    let answer = ask(program, bearer, "tools/list", &json!({})).json();
    let tools = answer["result"]["tools"].as_array();
    assert!(tools.is_some(), "{answer}");
    let names = tools
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap());
    let others = names.filter(|name| !name.starts_with("kebne__"));
    others.map(str::to_owned).collect()
}

/// Waits until a key is offered the tools of a server.
pub(crate) fn until_listed(program: &Program, bearer: &str) -> Vec<String> {
    let due = Instant::now() + AMPLE;
    loop {
        let names = names(program, bearer);
        if !names.is_empty() {
            return names;
        }
        assert!(Instant::now() < due, "no tool is listed");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Calls a tool, and returns the answer of JSON-RPC.
fn call(program: &Program, bearer: &str, name: &str, arguments: &Value) -> Value {
    let params = json!({"name": name, "arguments": arguments});
    let answer = ask(program, bearer, "tools/call", &params);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Returns the text of the result of a tool, and whether it is an error.
fn text(answer: &Value) -> (String, bool) {
    let result = &answer["result"];
    let text = result["content"][0]["text"].as_str();
    assert!(text.is_some(), "{answer}");
    (text.unwrap().to_owned(), result["isError"] == true)
}
