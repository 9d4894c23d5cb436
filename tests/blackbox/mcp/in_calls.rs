//! Tools of MCP servers that the gateway calls within a call: chat by the settings of a model, and the Responses API by tools of the type `mcp`.

mod bounds;
mod responses;

use std::{
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
};

use serde_json::{Value, json};

use super::{AMPLE, Called, plain_server, start, until_listed};
use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::read_parts,
};

/// Settings of the model `m`, which may use the tools of the server `s`.
const OF_MODEL: &str = "[models.tools]\nmcp = [\"s\"]\n";

/// A model whose answers follow from what it is asked, whole or streamed; each request is sent to the channel.
fn model(
    answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
) -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (asked, requests) = mpsc::channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let request: Value = serde_json::from_str(&read_parts(&socket).1).unwrap();
            // A test that has ended reads nothing.
            asked.send(request.clone()).ok();
            write(&mut socket, &request, &answer(&request)).ok();
        }
    });
    (url, requests)
}

fn write(socket: &mut TcpStream, request: &Value, message: &Value) -> io::Result<()> {
    let reason = if message["tool_calls"].is_array() {
        "tool_calls"
    } else {
        "stop"
    };
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25});
    if request["stream"] != true {
        let body = json!({
            "id": "1", "object": "chat.completion", "model": request["model"], "usage": usage,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        });
        return socket
            .write_all(crate::guards::http("application/json", &body.to_string()).as_bytes());
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes())?;
    let mut chunk = |delta: &Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        let chunk = json!({"id": "1", "object": "chat.completion.chunk", "model": request["model"], "choices": [choice]});
        socket.write_all(format!("data: {chunk}\n\n").as_bytes())
    };
    let text = message["content"].as_str().unwrap_or_default();
    for word in text.split_inclusive(' ') {
        chunk(&json!({"content": word}), None)?;
    }
    for (index, call) in message["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let mut call = call.clone();
        call["index"] = index.into();
        chunk(&json!({"tool_calls": [call]}), None)?;
    }
    chunk(&json!({}), Some(reason))?;
    let last = json!({"id": "1", "choices": [], "usage": usage});
    socket.write_all(format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes())
}

fn say(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// Returns an answer with calls, each given by its name and its arguments.
fn calls(text: &str, calls: &[(&str, Value)]) -> Value {
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| {
        let function = json!({"name": name, "arguments": arguments.to_string()});
        json!({"id": format!("x{index}"), "type": "function", "function": function})
    });
    let calls: Vec<Value> = calls.collect();
    let text = (!text.is_empty()).then_some(text);
    json!({"role": "assistant", "content": text, "tool_calls": calls})
}

/// Returns the texts of the results that a request has.
fn results(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().unwrap().iter();
    let tools = messages.filter(|message| message["role"] == "tool");
    let texts = tools.map(|message| message["content"].as_str().unwrap().to_owned());
    texts.collect()
}

/// Returns the names of the tools that a request offers.
fn offered(request: &Value) -> Vec<&str> {
    let tools = request["tools"].as_array().into_iter().flatten();
    let names = tools.map(|tool| tool["function"]["name"].as_str().unwrap());
    names.collect()
}

/// A model that reads twice at once, and then repeats the results.
fn reader() -> (String, mpsc::Receiver<Value>) {
    model(|request| {
        let results = results(request);
        if results.is_empty() {
            let one = ("s__read", json!({"text": "one"}));
            let two = ("s__read", json!({"text": "two"}));
            return calls("Let me look.", &[one, two]);
        }
        say(&format!("Found {}.", results.join(" and ")))
    })
}

/// Starts a gateway with the model `m` and the server `s`; settings of the model follow in `of_model`, all others in `more`.
fn gateway(folder: &Path, model: &str, server: &str, of_model: &str, more: &str) -> Program {
    let text = format!(
        "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{model}\"\n\
         [[models]]\nname = \"m\"\nbackends = [\"b\"]\n{of_model}{}{more}",
        super::settings(server, "")
    );
    start(folder, &text)
}

fn post(program: &Program, path: &str, bearer: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {bearer}");
    program.send("POST", path, &[("authorization", &bearer)], body)
}

fn chat(program: &Program, more: Value) -> Answer {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Read."}]});
    if let Value::Object(more) = more {
        body.as_object_mut().unwrap().extend(more);
    }
    post(program, CHAT, "any", &body)
}

/// Returns the data of all events but `[DONE]`.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines();
    let data = lines.filter_map(|line| line.strip_prefix("data: "));
    let data = data.filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn metrics(program: &Program) -> String {
    program.send("GET", "/metrics", &[], &Value::Null).body
}

fn taken(called: &mpsc::Receiver<Called>) -> Vec<(String, Value)> {
    let calls = called.try_iter();
    calls.map(|call| (call.name, call.arguments)).collect()
}

#[test]
fn a_chat_without_tools_gets_the_answer_that_the_tools_of_its_model_lead_to() {
    let folder = folder();
    let ((server, called), (url, asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, OF_MODEL, "");
    until_listed(&program, "any");
    let answer = chat(&program, json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let choice = &answer["choices"][0];
    let text = "Let me look.\n\nFound done and done.";
    assert_eq!(choice["message"]["content"], text, "{answer}");
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice["message"]["tool_calls"].is_null(), "{answer}");
    assert_eq!(answer["usage"]["total_tokens"], 50);
    let expected = |text: &str| {
        let arguments = json!({"text": text}).to_string();
        json!({"server_label": "s", "name": "read", "arguments": arguments, "status": "completed"})
    };
    assert_eq!(
        answer["mcp"],
        json!({"calls": [expected("one"), expected("two")]})
    );
    let mut read = taken(&called);
    read.sort_by_key(|(_, arguments)| arguments.to_string());
    assert_eq!(read.len(), 2);
    assert_eq!(read[0], ("read".to_owned(), json!({"text": "one"})));
    let requests: Vec<Value> = asked.try_iter().collect();
    assert_eq!(requests.len(), 2);
    assert_eq!(offered(&requests[0]), ["s__read", "s__set", "s__write"]);
    let messages = requests[1]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 4);
    assert_eq!(messages[1]["content"], "Let me look.");
    assert_eq!(messages[1]["tool_calls"].as_array().unwrap().len(), 2);
    assert_eq!(messages[2]["tool_call_id"], "x0");
    assert_eq!(messages[3]["tool_call_id"], "x1");
    // The call and each of its steps end once.
    let metrics = metrics(&program);
    for line in [
        "kebne_requests_total{model=\"m\",ending=\"success\"} 3",
        "kebne_requests_total{model=\"s\",ending=\"success\"} 2",
        "kebne_tool_loops_total{ending=\"completed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn a_streamed_chat_gets_the_text_of_all_rounds_as_it_is_written() {
    let folder = folder();
    let ((server, _called), (url, _asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, OF_MODEL, "");
    until_listed(&program, "any");
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let answer = chat(&program, options);
    let events = events(&answer);
    assert!(answer.body.contains("data: [DONE]"), "{}", answer.body);
    let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]);
    let texts = deltas().filter_map(|delta| delta["content"].as_str());
    let texts: Vec<&str> = texts.collect();
    assert_eq!(texts.concat(), "Let me look.\n\nFound done and done.");
    assert!(texts.len() > 4, "{texts:?}");
    assert!(deltas().all(|delta| delta["tool_calls"].is_null()));
    let ends = events
        .iter()
        .filter(|event| event["choices"][0]["finish_reason"].is_string());
    let ends: Vec<&Value> = ends.collect();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["mcp"]["calls"].as_array().unwrap().len(), 2);
    assert_eq!(events.last().unwrap()["usage"]["total_tokens"], 50);
}

#[test]
fn anthropics_dialect_gets_the_answer_too() {
    let folder = folder();
    let ((server, _called), (url, _asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, OF_MODEL, "");
    until_listed(&program, "any");
    let body = json!({
        "model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Read."}],
    });
    let answer = post(&program, "/v1/messages", "any", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let text = "Let me look.\n\nFound done and done.";
    assert_eq!(answer["content"][0]["text"], text, "{answer}");
    assert_eq!(answer["stop_reason"], "end_turn");
    assert_eq!(answer["mcp"]["calls"][0]["name"], "read");
}

#[test]
fn calls_of_the_callers_own_functions_are_handed_to_it() {
    let folder = folder();
    let (server, called) = plain_server();
    let (url, asked) = model(|request| match results(request).len() {
        0 => calls("", &[("s__read", json!({})), ("own", json!({"a": 1}))]),
        _ => say("Done."),
    });
    let program = gateway(folder.path(), &url, &server, OF_MODEL, "");
    until_listed(&program, "any");
    let own = json!({"type": "function", "function": {"name": "own", "parameters": {}}});
    let answer = chat(&program, json!({"tools": [own]})).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
    let handed = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0]["function"]["name"], "own");
    // A chat has no place for the result of the other call.
    assert_eq!(taken(&called), []);
    assert_eq!(offered(&asked.try_iter().next().unwrap())[0], "own");
    // A caller that wants no tools has none called, and none offered.
    let answer = chat(&program, json!({"tools": [own], "tool_choice": "none"}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(offered(&asked.try_iter().next().unwrap()), ["own"]);
    let refused = chat(&program, json!({"n": 2}));
    assert_eq!(refused.json()["error"]["param"], "n", "{}", refused.body);
}

#[test]
fn a_key_gets_only_the_tools_of_servers_that_it_may_call() {
    let folder = folder();
    let ((server, called), (url, asked)) = (plain_server(), reader());
    let keys =
        super::key("all", "[\"call\"]", "") + &super::key("some", "[\"call\"]", "models = [\"m\"]");
    let program = gateway(folder.path(), &url, &server, OF_MODEL, &keys);
    until_listed(&program, "all");
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "Read."}]});
    let answer = post(&program, CHAT, "some", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(offered(&asked.try_iter().next().unwrap()), [""; 0]);
    let tool = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    let body = json!({"model": "m", "input": "Read.", "tools": [tool]});
    let refused = post(&program, "/v1/responses", "some", &body);
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(refused.json()["error"]["param"], "tools[0].server_label");
    assert_eq!(taken(&called), []);
    let answer = post(&program, "/v1/responses", "all", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(taken(&called).len(), 2);
}
