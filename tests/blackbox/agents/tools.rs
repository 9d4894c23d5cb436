//! Functions as tools of agents.

use std::{io::Write as _, time::Duration};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{AMPLE, call, model, post, results, say, start, until};
use crate::{
    functions::{Asked, function_that},
    guards::http,
    program::{Program, folder},
};

/// A model that calls the tool `weather` if it is offered, and repeats the result and the schema.
fn asking_for_weather() -> String {
    let (url, _calls) = model(Duration::ZERO, |request| {
        let offered = &request["tools"][0]["function"];
        match results(request).first() {
            Some(result) => say(&format!("{result} {}", offered["parameters"])),
            None if offered["name"] == "weather" => call("weather", &json!({"city": "Kiruna"})),
            None => say("nothing is offered"),
        }
    });
    url
}

fn settings(function: &str) -> String {
    format!(
        "[[functions]]\nname = \"weather\"\nurl = \"{function}\"\nread_only = true\n\
         input_schema = '{{\"type\": \"object\", \"required\": [\"city\"]}}'\n\
         [[agents]]\nname = \"guide\"\nmodel = \"m\"\ntools = [\"weather\"]\n"
    )
}

fn run(program: &Program, key: &str) -> Value {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("prefer", "wait=60")];
    let input = json!({"input": "How cold is it?"});
    program
        .send("POST", "/v1/agents/guide/runs", &headers, &input)
        .json()
}

#[test]
fn an_agent_calls_a_function_that_starts_cold() {
    let folder = folder();
    let (function, asked) = function_that(|number, socket| {
        let answer = if number == 0 {
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned()
        } else {
            http("application/json", r#"{"degrees":-12}"#)
        };
        socket.write_all(answer.as_bytes())
    });
    let program = start(folder.path(), &asking_for_weather(), &settings(&function));
    let run = run(&program, "any");
    let output = run["output"].as_str().unwrap_or_default();
    assert!(output.starts_with(r#"{"degrees":-12}"#), "{run}");
    assert!(output.contains("city"), "{run}");
    let calls: Vec<Asked> = (0..2).map(|_| asked.recv_timeout(AMPLE).unwrap()).collect();
    assert_eq!(calls[1].json(), json!({"city": "Kiruna"}));
    // By its id the function can tell that it is the same call.
    let id = calls[0].header("x-request-id");
    assert!(id.is_some());
    assert_eq!(id, calls[1].header("x-request-id"));
}

#[test]
fn a_key_that_must_not_call_a_function_has_no_agent_that_does() {
    let folder = folder();
    let (function, asked) =
        function_that(|_, socket| socket.write_all(http("application/json", "{}").as_bytes()));
    let hash = hex::encode(Sha256::digest("web"));
    let key = format!(
        "[[server.keys]]\nname = \"web\"\nhash = \"{hash}\"\nscopes = [\"call\"]\nmodels = [\"m\", \"guide\"]\n"
    );
    let more = settings(&function) + &key;
    let program = start(folder.path(), &asking_for_weather(), &more);
    let run = run(&program, "web");
    assert_eq!(run["output"], "nothing is offered", "{run}");
    assert_eq!(asked.try_iter().count(), 0);
}

#[cfg(feature = "mcp")]
#[test]
fn an_agent_calls_a_tool_of_an_mcp_server() {
    let folder = folder();
    let (server, calls) = crate::mcp::plain_server();
    let (url, _calls) = model(Duration::ZERO, |request| {
        let offered = request["tools"].as_array().into_iter().flatten();
        let names = offered.map(|tool| tool["function"]["name"].as_str().unwrap_or_default());
        let names: Vec<&str> = names.collect();
        match results(request).first() {
            Some(result) => say(&format!("{result} {names:?}")),
            None if names.contains(&"s__read") => call("s__read", &json!({"text": "x"})),
            None => say("nothing is offered"),
        }
    });
    let agent =
        "[[agents]]\nname = \"guide\"\nmodel = \"m\"\ntools = [\"s__read\", \"s__absent\"]\n";
    let more = crate::mcp::settings(&server, "") + agent;
    let program = start(folder.path(), &url, &more);
    crate::mcp::until_listed(&program, "any");
    let run = run(&program, "any");
    assert_eq!(run["output"], r#"done ["s__read"]"#, "{run}");
    let called = calls.recv_timeout(AMPLE).unwrap();
    assert_eq!(called.arguments, json!({"text": "x"}));
}

/// The name under which a function is offered differs from its own; a human must approve its calls by either.
#[test]
fn a_function_of_ask_is_not_called_before_it_is_approved() {
    let folder = folder();
    let (function, asked) =
        function_that(|_, socket| socket.write_all(http("application/json", "{}").as_bytes()));
    let (url, _calls) = model(Duration::ZERO, |request| match results(request).first() {
        Some(result) => say(result),
        None => call("f_dot", &json!({})),
    });
    let more = format!(
        "[[functions]]\nname = \"f.dot\"\nurl = \"{function}\"\n\
         [[agents]]\nname = \"guide\"\nmodel = \"m\"\ntools = [\"f.dot\"]\nask = [\"f.dot\"]\n"
    );
    let program = start(folder.path(), &url, &more);
    let run = run(&program, "any");
    assert_eq!(run["status"], "waiting", "{run}");
    assert_eq!(run["waiting"][0]["for"], "approval");
    assert_eq!(asked.try_iter().count(), 0);
    let place = format!("/v1/agents/guide/runs/{}", run["id"].as_str().unwrap());
    let decide = format!(
        "{place}/approvals/{}",
        run["waiting"][0]["call"].as_str().unwrap()
    );
    assert_eq!(
        post(&program, &decide, &json!({"approve": true})).status,
        200
    );
    assert_eq!(until(&program, &place, "ended")["output"], "{}");
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn an_agent_of_a_caller_names_what_exists() {
    let folder = folder();
    let (function, _asked) =
        function_that(|_, socket| socket.write_all(http("application/json", "{}").as_bytes()));
    let more = settings(&function)
        + "[[functions]]\nname = \"f.dot\"\nurl = \"http://127.0.0.1:9/\"\n[[functions]]\nname = \"f_dot\"\nurl = \"http://127.0.0.1:9/\"\n\
           [[routes]]\nname = \"desk\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nagent = \"guide\"\n";
    let program = start(folder.path(), &asking_for_weather(), &more);
    for (body, field, words) in [
        (
            json!({"tools": ["weather"], "ask": ["rain"]}),
            "ask",
            "no tool `rain`",
        ),
        (
            json!({"tools": ["rain"]}),
            "tools",
            "no function or MCP server for `rain`",
        ),
        (
            json!({"tools": ["f.dot", "f_dot"]}),
            "tools",
            "offered as `f_dot`",
        ),
        (json!({"agents": ["none"]}), "agents", "no agent `none`"),
        (
            json!({"hand_offs": ["none"]}),
            "hand_offs",
            "no agent `none`",
        ),
        (json!({"model": "desk"}), "model", "lead to one"),
        (json!({"model": "guide"}), "model", "must not be an agent"),
    ] {
        let mut agent = json!({"name": "mine", "model": "m"});
        let fields = body.as_object().unwrap().clone();
        agent.as_object_mut().unwrap().extend(fields);
        let refused = post(&program, "/v1/agents", &agent);
        let error = &refused.json()["error"];
        assert_eq!(
            (refused.status, &error["param"]),
            (400, &json!(field)),
            "{}",
            refused.body
        );
        assert!(refused.body.contains(words), "{}", refused.body);
    }
    let mine = json!({"name": "mine", "model": "m", "tools": ["weather"], "ask": ["weather"], "agents": ["guide"]});
    let made = post(&program, "/v1/agents", &mine);
    assert_eq!(made.status, 201, "{}", made.body);
}
