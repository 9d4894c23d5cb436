//! The tools of several servers as one server: names, keys, both eras, guards, and what is counted.

use std::{fs, io::Write as _};

use serde_json::{Value, json};

use super::{
    ask, call, key, names, plain_server, result_text, said, server, settings, start, text,
    until_listed,
};
use crate::program::{CHAT, folder};

/// A server of the era of sessions by standard input and output, in the language of the shell. Its tool returns the variable `TOKEN`.
pub(super) const SCRIPT: &str = r#"
while IFS= read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
  say() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
  case "$line" in
    *'"server/discover"'*) say '"error":{"code":-32601,"message":"no"}' ;;
    *'"initialize"'*) say '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"tools/list"'*) say '"result":{"tools":[{"name":"token","inputSchema":{"type":"object"}},{"name":"other","inputSchema":{"type":"object"}}]}' ;;
    *'"tools/call"'*) say '"result":{"content":[{"type":"text","text":"'"$TOKEN $HOME $SECRET"'"}]}' ;;
  esac
done
"#;

#[test]
fn servers_over_http_and_pipes_are_one_server_whose_calls_are_counted() {
    let folder = folder();
    fs::write(folder.path().join("server.sh"), SCRIPT).unwrap();
    fs::write(folder.path().join("token"), "t0ken\n").unwrap();
    let (url, calls) = plain_server();
    let process = "[[mcp_servers]]\nname = \"sh\"\ncommand = \"/bin/sh\"\nargs = [\"server.sh\"]\ntools = [\"tok*\"]\n\
        pass_env = [\"PATH\"]\nprefix = \"shell-\"\n[mcp_servers.env_file]\nTOKEN = \"token\"\n";
    let program = start(folder.path(), &(settings(&url, "") + process));
    let due = std::time::Instant::now() + super::AMPLE;
    while names(&program, "any").len() < 4 {
        assert!(std::time::Instant::now() < due);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let listed = names(&program, "any");
    assert_eq!(listed, ["s__read", "s__set", "s__write", "shell-token"]);
    let answer = call(&program, "any", "s__read", &json!({"text": "x"}));
    assert_eq!(
        (text(&answer), &answer["id"]),
        (("done".to_owned(), false), &json!(7))
    );
    let called = calls.recv_timeout(super::AMPLE).unwrap();
    assert_eq!(
        (called.name.as_str(), &called.arguments),
        ("read", &json!({"text": "x"}))
    );
    // Of the environment the process has what the settings name.
    let answer = call(&program, "any", "shell-token", &json!({}));
    assert_eq!(text(&answer).0.trim(), "t0ken");
    let unknown = call(&program, "any", "shell-other", &json!({}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    // It is counted as every call is, once.
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    for line in [
        "kebne_requests_total{model=\"s\",ending=\"success\"} 1",
        "kebne_requests_total{model=\"sh\",ending=\"success\"} 1",
        "kebne_mcp_server_up{server=\"s\"} 1",
        "kebne_mcp_tools{server=\"sh\",status=\"offered\"} 1",
        "kebne_mcp_tools{server=\"s\",status=\"held\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let state = program.send("GET", "/state", &[], &Value::Null).json();
    assert_eq!(state["mcp"][0]["state"], "up", "{}", state["mcp"]);
    assert_eq!(state["mcp"][1]["protocol"], "2025-11-25");
    assert_eq!(state["mcp"][1]["left_out"], 1);
    let lanes = state["lanes"].as_array().unwrap();
    assert!(lanes.iter().any(|lane| lane["name"] == "sh"));
}

#[test]
fn a_client_of_the_era_without_sessions_gets_the_tools_of_a_server_of_the_other() {
    let (folder, (url, _calls)) = (folder(), plain_server());
    let program = start(folder.path(), &settings(&url, ""));
    until_listed(&program, "any");
    let modern = |method: &str, name: &str, mut params: Value| {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        if !name.is_empty() {
            headers.push(("mcp-name", name));
        }
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        program.send("POST", "/mcp", &headers, &request).json()
    };
    let found = modern("server/discover", "", json!({}));
    assert!(
        found["result"]["capabilities"]["tools"].is_object(),
        "{found}"
    );
    let listed = modern("tools/list", "", json!({}));
    assert_eq!(listed["result"]["resultType"], "complete", "{listed}");
    let params = json!({"name": "s__write", "arguments": {}});
    let called = modern("tools/call", "s__write", params);
    assert_eq!(text(&called), ("done".to_owned(), false));
    // The server does not say so, because its era has no such field.
    assert_eq!(called["result"]["resultType"], "complete");
    let begun = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"},
    });
    let begun = ask(&program, "any", "initialize", &begun).json();
    assert_eq!(begun["result"]["protocolVersion"], "2025-11-25", "{begun}");
}

#[test]
fn a_key_is_offered_only_the_servers_that_it_names() {
    let (folder, (url, calls)) = (folder(), plain_server());
    let text = settings(&url, "")
        + &key("all", "[\"call\"]", "")
        + &key("some", "[\"call\"]", "models = [\"s\"]")
        + &key("none", "[\"call\"]", "models = [\"simulated\"]")
        + &key("watch", "[\"read_state\"]", "");
    let program = start(folder.path(), &text);
    assert_eq!(until_listed(&program, "all").len(), 3);
    assert_eq!(names(&program, "some").len(), 3);
    assert_eq!(names(&program, "none"), [""; 0]);
    let refused = call(&program, "none", "s__read", &json!({}));
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(ask(&program, "wrong", "tools/list", &json!({})).status, 401);
    assert_eq!(ask(&program, "watch", "tools/list", &json!({})).status, 403);
    assert_eq!(calls.try_iter().count(), 0);
}

#[test]
fn a_server_is_no_model_and_no_function() {
    let (folder, (url, calls)) = (folder(), plain_server());
    let program = start(folder.path(), &settings(&url, ""));
    until_listed(&program, "any");
    let chat = json!({"model": "s", "messages": [{"role": "user", "content": "a"}]});
    assert_eq!(program.send("POST", CHAT, &[], &chat).status, 404);
    let direct = json!({"name": "read", "arguments": {}});
    let headers = [("content-type", "application/json")];
    let answer = program.send("POST", "/v1/functions/s", &headers, &direct);
    assert_eq!(answer.status, 404, "{}", answer.body);
    let models = program.send("GET", "/v1/models", &[], &Value::Null).json();
    let models = models["data"].as_array().unwrap();
    assert!(models.iter().all(|model| model["id"] != "s"));
    assert!(models.iter().any(|model| model["id"] == "simulated"));
    assert_eq!(calls.try_iter().count(), 0);
}

#[test]
fn guards_check_what_is_sent_to_a_tool_and_what_it_returns() {
    let folder = folder();
    let (url, calls) = server(|_, id, socket| {
        let text = result_text(id, &said("write to bob@example.com"));
        socket.write_all(text.as_bytes())
    });
    let guard = "[[guards]]\nname = \"pii\"\n[[guards.rules]]\npattern = \"email\"\n\
        [[guards.rules]]\nname = \"project\"\nregex = 'project [A-Z]+'\naction = \"refuse\"\n";
    let text_of = settings(&url, "guards = [\"pii\"]\n") + guard;
    let program = start(folder.path(), &text_of);
    until_listed(&program, "any");
    let answer = call(
        &program,
        "any",
        "s__write",
        &json!({"text": "from ann@example.com"}),
    );
    let (said, is_error) = text(&answer);
    assert!(
        !is_error && !said.contains("bob@") && said.starts_with("write to "),
        "{said}"
    );
    let called = calls.recv_timeout(super::AMPLE).unwrap();
    let sent = called.arguments["text"].as_str().unwrap();
    assert!(
        !sent.contains("ann@") && sent.starts_with("from "),
        "{sent}"
    );
    let refused = call(&program, "any", "s__write", &json!({"text": "project X"}));
    assert!(
        refused["error"].is_object() || text(&refused).1,
        "{refused}"
    );
    assert_eq!(calls.try_iter().count(), 0);
}

#[test]
fn pages_of_other_origins_and_hosts_are_refused() {
    let (folder, (url, calls)) = (folder(), plain_server());
    let program = start(folder.path(), &settings(&url, ""));
    until_listed(&program, "any");
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let accept = ("accept", "application/json, text/event-stream");
    let kind = ("content-type", "application/json");
    let foreign = [accept, kind, ("origin", "https://evil.example")];
    assert_eq!(program.send("POST", "/mcp", &foreign, &request).status, 403);
    let text = request.to_string();
    let rebound = format!(
        "POST /mcp HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        text.len()
    );
    let answer = crate::program::Program::exchange_raw(program.address, &rebound).unwrap();
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert_eq!(program.send("GET", "/mcp", &[], &Value::Null).status, 405);
    assert_eq!(
        program.send("DELETE", "/mcp", &[], &Value::Null).status,
        405
    );
    let wrong = program.send("POST", "/mcp", &[kind], &request);
    assert_eq!(wrong.status, 406, "{}", wrong.body);
    assert_eq!(calls.try_iter().count(), 0);
}

#[test]
fn many_tools_are_found_by_a_tool_instead_of_being_listed() {
    let (folder, (url, calls)) = (folder(), plain_server());
    let text_of = settings(&url, "") + "[mcp]\nlist_max = 2\nown_tools = false\n";
    let program = start(folder.path(), &text_of);
    let find = || {
        call(
            &program,
            "any",
            "kebne__find_tools",
            &json!({"query": "tool set"}),
        )
    };
    let due = std::time::Instant::now() + super::AMPLE;
    while find()["error"].is_object() {
        assert!(std::time::Instant::now() < due, "{}", find());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let listed = ask(&program, "any", "tools/list", &json!({})).json();
    let listed = listed["result"]["tools"].as_array().unwrap().clone();
    let listed: Vec<_> = listed
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, ["kebne__find_tools", "kebne__call_tool"]);
    let found = find();
    let tools = &found["result"]["structuredContent"]["tools"];
    assert_eq!(tools[0]["name"], "s__set", "{found}");
    assert!(tools[0]["input_schema"]["properties"]["text"].is_object());
    let arguments = json!({"name": "s__set", "arguments": {"text": "x"}});
    let called = call(&program, "any", "kebne__call_tool", &arguments);
    assert_eq!(text(&called), ("done".to_owned(), false));
    assert_eq!(
        calls.recv_timeout(super::AMPLE).unwrap().arguments,
        json!({"text": "x"})
    );
    let unknown = call(
        &program,
        "any",
        "kebne__call_tool",
        &json!({"name": "kebne__state"}),
    );
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
}

#[test]
fn an_endpoint_can_offer_the_tools_of_one_server_or_of_an_agent() {
    let folder = folder();
    let ((one, _calls), (two, _others)) = (plain_server(), plain_server());
    let more = format!(
        "[[mcp_servers]]\nname = \"t\"\nurl = \"{two}\"\ntools = [\"read\"]\n\
         [[agents]]\nname = \"guide\"\nmodel = \"simulated\"\ntools = [\"s__read\", \"t__read\"]\n"
    );
    let text_of = settings(&one, "")
        + &more
        + &key("all", "[\"call\"]", "")
        + &key("some", "[\"call\"]", "models = [\"s\"]");
    let program = start(folder.path(), &text_of);
    let due = std::time::Instant::now() + super::AMPLE;
    while names(&program, "all").len() < 4 {
        assert!(std::time::Instant::now() < due);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let at = |bearer: &str, path: &str| {
        let bearer = format!("Bearer {bearer}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let answer = program.send("POST", path, &headers, &request);
        if answer.status != 200 {
            return vec![answer.status.to_string()];
        }
        let tools = answer.json()["result"]["tools"].as_array().unwrap().clone();
        let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(at("all", "/mcp/t"), ["t__read"]);
    assert_eq!(at("all", "/mcp/guide"), ["s__read", "t__read"]);
    assert_eq!(at("some", "/mcp/s").len(), 3);
    for path in ["/mcp/t", "/mcp/guide", "/mcp/simulated", "/mcp/nothing"] {
        assert_eq!(at("some", path), ["404"], "{path}");
    }
    assert_eq!(at("all", "/mcp/simulated"), ["404"]);
}
