//! Tools of the type `mcp` in the Responses API.

use std::fs;

use super::*;

const RESPONSES: &str = "/v1/responses";

fn tool(more: Value) -> Value {
    let mut tool = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    if let Value::Object(more) = more {
        tool.as_object_mut().unwrap().extend(more);
    }
    tool
}

fn ask(program: &Program, tool: &Value, more: Value) -> Answer {
    let mut body = json!({"model": "m", "input": "Read.", "tools": [tool]});
    if let Value::Object(more) = more {
        body.as_object_mut().unwrap().extend(more);
    }
    post(program, RESPONSES, "any", &body)
}

fn kinds(response: &Value) -> Vec<&str> {
    let items = response["output"].as_array();
    assert!(items.is_some(), "{response}");
    let items = items.unwrap().iter();
    items.map(|item| item["type"].as_str().unwrap()).collect()
}

#[test]
fn a_response_reports_lists_calls_and_text_and_can_be_continued() {
    let folder = folder();
    let ((server, called), (url, asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, "", "");
    let answer = ask(
        &program,
        &tool(json!({"allowed_tools": ["read"]})),
        json!({}),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let first = answer.json();
    let kinds_of_first = [
        "mcp_list_tools",
        "message",
        "mcp_call",
        "mcp_call",
        "message",
    ];
    assert_eq!(kinds(&first), kinds_of_first, "{first}");
    assert_eq!(first["status"], "completed");
    assert_eq!(first["usage"]["total_tokens"], 50);
    let items = first["output"].as_array().unwrap();
    assert_eq!(items[0]["server_label"], "s");
    assert_eq!(items[0]["tools"].as_array().unwrap().len(), 1);
    assert_eq!(items[0]["tools"][0]["name"], "read");
    assert_eq!(items[0]["tools"][0]["annotations"]["read_only"], true);
    assert_eq!(items[1]["content"][0]["text"], "Let me look.");
    assert_eq!(
        (&items[2]["name"], &items[2]["output"], &items[2]["error"]),
        (&json!("read"), &json!("done"), &Value::Null)
    );
    assert_eq!(items[2]["arguments"], r#"{"text":"one"}"#);
    assert_eq!(items[2]["status"], "completed");
    assert_eq!(items[4]["content"][0]["text"], "Found done and done.");
    let requests: Vec<Value> = asked.try_iter().collect();
    assert_eq!(offered(&requests[0]), ["s__read"]);
    assert_eq!(taken(&called).len(), 2);
    // It is continued with what was called, and the tools are not listed again.
    let more = json!({"previous_response_id": first["id"], "input": "And now?"});
    let second = ask(&program, &tool(json!({})), more).json();
    assert_eq!(kinds(&second), ["message"], "{second}");
    let request = asked.try_iter().next().unwrap();
    let messages = request["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|one| one["role"].as_str().unwrap())
        .collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "tool", "assistant", "user"]
    );
    assert_eq!(messages[1]["tool_calls"][0]["function"]["name"], "s__read");
    assert_eq!(
        messages[1]["tool_calls"][0]["id"],
        messages[2]["tool_call_id"]
    );
    assert_eq!(taken(&called), []);
    // Its items are taken back as input, too.
    let mut input = first["output"].as_array().unwrap().clone();
    input.push(json!({"role": "user", "content": "And now?"}));
    let third = ask(&program, &tool(json!({})), json!({"input": input})).json();
    assert_eq!(kinds(&third), ["message"], "{third}");
    assert_eq!(
        asked.try_iter().next().unwrap()["messages"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn a_streamed_response_reports_each_step() {
    let folder = folder();
    let ((server, _called), (url, _asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, "", "");
    let answer = ask(&program, &tool(json!({})), json!({"stream": true}));
    let events = events(&answer);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let has = |part: &[&str]| {
        let mut rest = kinds.iter();
        part.iter().all(|kind| rest.any(|one| one == kind))
    };
    assert!(
        has(&[
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.mcp_list_tools.in_progress",
            "response.mcp_list_tools.completed",
            "response.output_item.done",
            "response.output_text.delta",
            "response.output_text.done",
            "response.output_item.added",
            "response.mcp_call.in_progress",
            "response.mcp_call_arguments.delta",
            "response.mcp_call_arguments.done",
            "response.mcp_call.completed",
            "response.output_item.done",
            "response.output_text.delta",
            "response.completed",
        ]),
        "{kinds:?}"
    );
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let last = &events.last().unwrap()["response"];
    let done = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done");
    let done: Vec<&Value> = done.map(|event| &event["item"]).collect();
    assert_eq!(last["output"].as_array().unwrap().len(), done.len());
    // It was kept, so it can be read.
    let path = format!("{RESPONSES}/{}", last["id"].as_str().unwrap());
    let kept = program.send("GET", &path, &[], &Value::Null).json();
    assert_eq!(kept["output"], last["output"]);
}

#[test]
fn a_call_that_needs_an_approval_waits_for_it() {
    let folder = folder();
    let (server, called) = plain_server();
    let (url, asked) = model(|request| match results(request).first() {
        None => calls(
            "",
            &[("s__write", json!({"text": "x"})), ("s__read", json!({}))],
        ),
        Some(result) => say(&format!("It says: {result}")),
    });
    let program = gateway(folder.path(), &url, &server, "", "");
    let never = json!({"never": {"read_only": true}});
    let tool = tool(json!({"require_approval": never}));
    let first = ask(&program, &tool, json!({})).json();
    assert_eq!(
        kinds(&first),
        ["mcp_list_tools", "mcp_call", "mcp_approval_request"],
        "{first}"
    );
    let request = first["output"][2].clone();
    assert_eq!(
        (&request["name"], &request["server_label"]),
        (&json!("write"), &json!("s"))
    );
    assert_eq!(request["arguments"], r#"{"text":"x"}"#);
    assert_eq!(taken(&called), [("read".to_owned(), json!({}))]);
    asked.try_iter().count();
    let decide = |approve: bool, previous: &Value| {
        let answer = json!({
            "type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve,
            "reason": "not today",
        });
        let more = json!({"previous_response_id": previous["id"], "input": [answer]});
        ask(&program, &tool, more).json()
    };
    let denied = decide(false, &first);
    assert_eq!(kinds(&denied), ["message"], "{denied}");
    assert_eq!(taken(&called), []);
    let read = results(&asked.try_iter().next().unwrap());
    assert!(
        read.contains(&"denied by the user: not today".to_owned()),
        "{read:?}"
    );
    let approved = decide(true, &first);
    assert_eq!(kinds(&approved), ["mcp_call", "message"], "{approved}");
    assert_eq!(approved["output"][0]["approval_request_id"], request["id"]);
    assert_eq!(approved["output"][0]["output"], "done");
    assert_eq!(taken(&called), [("write".to_owned(), json!({"text": "x"}))]);
    let unknown =
        json!({"type": "mcp_approval_response", "approval_request_id": "mcpr_0", "approve": true});
    let refused = ask(&program, &tool, json!({"input": [unknown]}));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert_eq!(
        refused.json()["error"]["param"],
        "input[0].approval_request_id"
    );
}

#[test]
fn what_the_settings_do_not_name_is_refused_and_the_field_is_named() {
    let folder = folder();
    let ((server, called), (url, asked)) = (plain_server(), reader());
    let program = gateway(folder.path(), &url, &server, "", "");
    for (more, param) in [
        (json!({"server_url": server}), "tools[0].server_url"),
        (
            json!({"connector_id": "connector_dropbox"}),
            "tools[0].connector_id",
        ),
        (json!({"authorization": "x"}), "tools[0].authorization"),
        (json!({"server_label": "m"}), "tools[0].server_label"),
        (json!({"server_label": "other"}), "tools[0].server_label"),
        (
            json!({"require_approval": "maybe"}),
            "tools[0].require_approval",
        ),
        (json!({"allowed_tools": [1]}), "tools[0].allowed_tools"),
    ] {
        let refused = ask(&program, &tool(more), json!({}));
        assert_eq!(refused.status, 400, "{param}: {}", refused.body);
        assert_eq!(refused.json()["error"]["param"], param, "{}", refused.body);
    }
    assert_eq!((taken(&called).len(), asked.try_iter().count()), (0, 0));
}

/// The server is a program that is spoken with by its standard input and output.
#[test]
fn a_failure_of_a_tool_and_the_functions_of_the_caller_are_reported() {
    let folder = folder();
    let script = super::super::tools::SCRIPT.replace(
        r#""result":{"content":[{"type":"text","text":"'"$TOKEN $HOME $SECRET"'"}]}"#,
        r#""result":{"isError":true,"content":[{"type":"text","text":"no such file"}]}"#,
    );
    fs::write(folder.path().join("server.sh"), script).unwrap();
    let (url, asked) = model(|_| {
        calls(
            "",
            &[
                ("sh__token", json!({})),
                ("sh__none", json!({})),
                ("own", json!({})),
            ],
        )
    });
    let text = format!(
        "[[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[mcp_servers]]\nname = \"sh\"\ncommand = \"/bin/sh\"\nargs = [\"server.sh\"]\n"
    );
    let program = start(folder.path(), &text);
    let own = json!({"type": "function", "name": "own", "parameters": {}});
    let server = tool(json!({"server_label": "sh"}));
    let answer = ask(&program, &server, json!({"tools": [server, own]})).json();
    assert_eq!(
        kinds(&answer),
        ["mcp_list_tools", "mcp_call", "function_call"],
        "{answer}"
    );
    let call = &answer["output"][1];
    assert_eq!(
        (&call["status"], &call["error"]),
        (&json!("failed"), &json!("no such file"))
    );
    assert_eq!(answer["output"][2]["name"], "own");
    assert_eq!(asked.try_iter().count(), 1);
    let result = json!({"type": "function_call_output", "call_id": answer["output"][2]["call_id"], "output": "1"});
    let more = json!({"previous_response_id": answer["id"], "input": [result], "tools": [server, own], "tool_choice": "none"});
    ask(&program, &server, more);
    let read = results(&asked.try_iter().next().unwrap());
    assert_eq!(read, ["error: no such file", "1"]);
}
