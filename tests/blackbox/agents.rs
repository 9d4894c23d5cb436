//! Agents: runs by the API, agents as models and as targets of routes, humans, tenants, and a kill in the middle.

mod attended;
mod followed;
mod tools;

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    collections::{Caller, form},
    program::{Answer, CHAT, Program, folder},
    upstream::read_parts,
};

/// Beyond what a busy machine needs.
const AMPLE: Duration = Duration::from_mins(1);

/// A model whose answers follow from what it is asked; counts its calls.
fn model(
    time: Duration,
    answer: impl Fn(&Value) -> Value + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, answer) = (Arc::clone(&calls), Arc::new(answer));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (counted, answer) = (Arc::clone(&counted), Arc::clone(&answer));
            thread::spawn(move || {
                let mut socket = socket.unwrap();
                let request: Value = serde_json::from_str(&read_parts(&socket).1).unwrap();
                counted.fetch_add(1, SeqCst);
                thread::sleep(time);
                let body = json!({
                    "id": "1", "object": "chat.completion", "model": request["model"],
                    "choices": [{"index": 0, "message": answer(&request), "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
                });
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // A caller that was killed reads nothing.
                socket.write_all(head.as_bytes()).ok();
                socket.write_all(body.as_bytes()).ok();
            });
        }
    });
    (url, calls)
}

fn say(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

fn call(name: &str, arguments: &Value) -> Value {
    let function = json!({"name": name, "arguments": arguments.to_string()});
    json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "x", "type": "function", "function": function},
    ]})
}

/// Returns the texts of the results that a request has.
fn results(request: &Value) -> Vec<&str> {
    let messages = request["messages"].as_array().unwrap().iter();
    let tools = messages.filter(|message| message["role"] == "tool");
    tools
        .map(|message| message["content"].as_str().unwrap())
        .collect()
}

fn start(folder: &Path, url: &str, more: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\n[agent_store]\nlease = \"1s\"\n{more}"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn get(program: &Program, path: &str) -> Answer {
    program.send("GET", path, &[], &Value::Null)
}

fn post(program: &Program, path: &str, body: &Value) -> Answer {
    program.send("POST", path, &[], body)
}

/// Waits until a run has a status.
fn until(program: &Program, place: &str, status: &str) -> Value {
    let since = Instant::now();
    loop {
        let run = get(program, place).json();
        if run["status"] == status {
            return run;
        }
        assert!(since.elapsed() < AMPLE, "not {status}: {run}");
        thread::sleep(Duration::from_millis(20));
    }
}

const HELPER: &str = "[[agents]]\nname = \"helper\"\ndescription = \"Helps.\"\nmodel = \"m\"\ninstructions = \"Help.\"\nask_human = true\n";

/// A model that asks a human once and repeats the answer.
fn asking() -> (String, Arc<AtomicUsize>) {
    model(Duration::ZERO, |request| match results(request).first() {
        Some(answer) => say(&format!("The human says: {answer}")),
        None => call("ask_human", &json!({"question": "Which?"})),
    })
}

/// A model that answers with the last message.
fn echo() -> (String, Arc<AtomicUsize>) {
    model(Duration::ZERO, |request| {
        let last = request["messages"].as_array().unwrap().last().unwrap();
        say(&format!("echo {}", last["content"].as_str().unwrap()))
    })
}

#[test]
fn an_agent_asks_a_human_and_its_run_survives_a_stop_meanwhile() {
    let folder = folder();
    let (url, calls) = asking();
    let mut program = start(folder.path(), &url, HELPER);
    assert!(!folder.path().join("kebne-data/agents.sqlite").exists());
    let answer = post(&program, "/v1/agents/helper/runs", &json!({"input": "Go."}));
    assert_eq!(answer.status, 202, "{}", answer.body);
    let place = answer.header("location").unwrap().to_owned();
    let waiting = until(&program, &place, "waiting");
    let open = &waiting["waiting"][0];
    assert_eq!(
        (&open["tool"], &open["for"]),
        (&json!("ask_human"), &json!("answer"))
    );
    assert_eq!(open["arguments"], json!({"question": "Which?"}));
    let decide = format!("{place}/approvals/{}", open["call"].as_str().unwrap());
    let missing = post(&program, &decide, &json!({"approve": true}));
    assert_eq!(missing.status, 400, "{}", missing.body);
    assert_eq!(missing.json()["error"]["param"], "answer");
    let other = post(
        &program,
        &format!("{place}/approvals/none"),
        &json!({"approve": true}),
    );
    assert_eq!(
        other.code(),
        (409, "call_does_not_wait".to_owned()),
        "{}",
        other.body
    );
    assert_eq!(program.terminate(), Some(0));
    let program = start(folder.path(), &url, HELPER);
    assert_eq!(get(&program, &place).json()["status"], "waiting");
    let decided = post(
        &program,
        &decide,
        &json!({"approve": true, "answer": "The red one."}),
    );
    assert_eq!(decided.status, 200, "{}", decided.body);
    let done = until(&program, &place, "ended");
    assert_eq!(done["output"], "The human says: The red one.");
    assert_eq!(
        (&done["ending"], &done["steps"]),
        (&json!("completed"), &json!(2))
    );
    assert_eq!(done["usage"]["input_tokens"], 40);
    assert_eq!(calls.load(SeqCst), 2);
    let again = post(&program, &decide, &json!({"approve": false}));
    assert_eq!(again.code(), (409, "run_has_ended".to_owned()));
    the_rest_of_the_run(&program, &place, &done["id"]);
}

fn the_rest_of_the_run(program: &Program, place: &str, id: &Value) {
    // All events, those behind one that was seen, and the bound of a list.
    let all = get(program, &format!("{place}/events"));
    assert_eq!(all.header("content-type"), Some("text/event-stream"));
    let kinds: Vec<&str> = all
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(
        kinds,
        [
            "began", "answered", "decided", "returned", "answered", "ended"
        ]
    );
    let rest = program.send(
        "GET",
        &format!("{place}/events"),
        &[("last-event-id", "4")],
        &Value::Null,
    );
    assert!(
        rest.body.contains("id: 5\n") && !rest.body.contains("id: 4\n"),
        "{}",
        rest.body
    );
    let list = get(program, "/v1/agents/helper/runs").json();
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"]),
        (id, &json!(false))
    );
    let kept = get(program, "/v1/privacy/data").json();
    assert!(kept.to_string().contains("\"agent_runs\":1"), "{kept}");
    program.await_metric(r#"kebne_agent_runs{status="ended"} 1.0"#);
    let erased = program.send("DELETE", "/v1/privacy/data", &[], &Value::Null);
    assert_eq!(erased.status, 200, "{}", erased.body);
    assert_eq!(
        get(program, place).code(),
        (404, "run_not_found".to_owned())
    );
}

#[test]
fn an_agent_of_a_caller_is_created_changed_run_and_removed() {
    let folder = folder();
    let (url, _calls) = echo();
    let program = start(folder.path(), &url, HELPER);
    let agents = "/v1/agents";
    let mine = json!({"name": "mine", "model": "m", "instructions": "Be brief.", "steps_max": 3});
    let made = post(&program, agents, &mine);
    assert_eq!(
        (made.status, &made.json()["source"]),
        (201, &json!("own")),
        "{}",
        made.body
    );
    assert_eq!(post(&program, agents, &mine).status, 409);
    for (body, field) in [
        (json!({"name": "a b", "model": "m"}), "name"),
        (json!({"name": "b", "model": "none"}), "model"),
        (json!({"name": "b", "model": "helper"}), "model"),
        (
            json!({"name": "b", "model": "m", "steps_max": 0}),
            "steps_max",
        ),
        (json!({"name": "b", "model": "m", "stepz": 1}), "stepz"),
    ] {
        let refused = post(&program, agents, &body);
        assert!((400..=404).contains(&refused.status), "{}", refused.body);
        assert_eq!(refused.json()["error"]["param"], field, "{}", refused.body);
    }
    let changed = post(
        &program,
        "/v1/agents/mine",
        &json!({"description": "Mine."}),
    );
    assert_eq!(changed.json()["instructions"], "Be brief.");
    assert_eq!(changed.json()["description"], "Mine.");
    let list = get(&program, agents).json();
    let names: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, [&json!("helper"), &json!("mine")]);
    its_runs_are_bounded_and_streamed(&program);
    let of_settings = program.send("DELETE", "/v1/agents/helper", &[], &Value::Null);
    assert_eq!(of_settings.code(), (409, "agent_of_settings".to_owned()));
    let removed = program.send("DELETE", "/v1/agents/mine", &[], &Value::Null);
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(get(&program, "/v1/agents/mine").status, 404);
}

fn its_runs_are_bounded_and_streamed(program: &Program) {
    let wait = [("prefer", "wait=60")];
    let run = program.send(
        "POST",
        "/v1/agents/mine/runs",
        &wait,
        &json!({"input": "Hello."}),
    );
    assert_eq!(
        (run.status, &run.json()["output"]),
        (200, &json!("echo Hello.")),
        "{}",
        run.body
    );
    let streamed = post(
        program,
        "/v1/agents/mine/runs",
        &json!({"input": "Hi.", "stream": true}),
    );
    assert!(
        streamed.body.contains("event: answered") && streamed.body.contains("event: ended"),
        "{}",
        streamed.body
    );
    let bounded = json!({"input": [{"role": "user", "content": "Hi."}], "budget": {"tokens": 10}});
    let run = program
        .send("POST", "/v1/agents/mine/runs", &wait, &bounded)
        .json();
    assert_eq!(
        (&run["budget"]["tokens"], &run["ending"]),
        (&json!(10), &json!("completed"))
    );
    for (body, field) in [
        (json!({"input": ""}), "input"),
        (
            json!({"input": "a", "budget": {"steps": 0}}),
            "budget.steps",
        ),
        (json!({"input": "a", "sessions": "x"}), "sessions"),
    ] {
        let refused = post(program, "/v1/agents/mine/runs", &body);
        assert_eq!(
            (refused.status, &refused.json()["error"]["param"]),
            (400, &json!(field)),
            "{}",
            refused.body
        );
    }
    let missing = post(program, "/v1/agents/none/runs", &json!({"input": "a"}));
    assert_eq!(missing.code(), (404, "agent_not_found".to_owned()));
}

#[test]
fn an_agent_searches_collections_and_a_call_can_wait_for_approval() {
    let folder = folder();
    let (url, _calls) = model(Duration::ZERO, |request| match results(request).first() {
        Some(found) => say(found),
        None => call("search", &json!({"query": "How high is Kebnekaise?"})),
    });
    let program = start(folder.path(), &url, "");
    let caller = Caller {
        program: &program,
        key: None,
    };
    let store = post(&program, "/v1/vector_stores", &json!({"name": "mountains"})).json();
    let id = store["id"].as_str().unwrap();
    let file = [("k.md", "Kebnekaise is 2096 metres high.")];
    let documents = format!("/v1/vector_stores/{id}/documents");
    let import = caller.send_form(&documents, &form(None, &file));
    assert_eq!(import.status, 200, "{}", import.body);
    caller.await_read(id);
    let agent = json!({"name": "guide", "model": "m", "collections": [id], "ask": ["search"]});
    assert_eq!(post(&program, "/v1/agents", &agent).status, 201);
    let answer = post(
        &program,
        "/v1/agents/guide/runs",
        &json!({"input": "How high?"}),
    );
    let place = answer.header("location").unwrap().to_owned();
    let waiting = until(&program, &place, "waiting");
    assert_eq!(waiting["waiting"][0]["for"], "approval");
    let decide = format!(
        "{place}/approvals/{}",
        waiting["waiting"][0]["call"].as_str().unwrap()
    );
    assert_eq!(
        post(&program, &decide, &json!({"approve": true})).status,
        200
    );
    let done = until(&program, &place, "ended");
    assert!(done["output"].as_str().unwrap().contains("2096"), "{done}");
}

fn chat(model: &str, more: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "Hello."}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[test]
fn an_agent_is_a_model_on_every_surface_and_a_target_of_routes() {
    let folder = folder();
    let (url, calls) = echo();
    let more = "[[agents]]\nname = \"helper\"\nmodel = \"m\"\n[[routes]]\nname = \"desk\"\ndefault = \"m\"\n\
        [[routes.rules]]\nname = \"short\"\nagent = \"helper\"\nwhen = { tokens_max = 1000 }\n";
    let program = start(folder.path(), &url, more);
    let none = json!({});
    let answer = post(&program, CHAT, &chat("helper", &none));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["choices"][0]["message"]["content"], "echo Hello.");
    assert_eq!(
        (&body["model"], &body["usage"]["total_tokens"]),
        (&json!("helper"), &json!(25))
    );
    let run = answer.header("x-kebne-run").unwrap();
    let run = get(&program, &format!("/v1/agents/helper/runs/{run}")).json();
    assert_eq!(run["ending"], "completed");
    let streamed = post(&program, CHAT, &chat("helper", &json!({"stream": true})));
    assert!(
        streamed.body.contains("echo Hello.") && streamed.body.contains("data: [DONE]"),
        "{}",
        streamed.body
    );
    let messages = json!({"model": "helper", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello."}]});
    let answer = post(&program, "/v1/messages", &messages);
    assert_eq!(
        answer.json()["content"][0]["text"],
        "echo Hello.",
        "{}",
        answer.body
    );
    let answer = post(
        &program,
        "/v1/responses",
        &json!({"model": "helper", "input": "Hello."}),
    );
    assert!(answer.body.contains("echo Hello."), "{}", answer.body);
    let answer = post(&program, CHAT, &chat("desk", &none));
    assert_eq!(answer.json()["model"], "helper", "{}", answer.body);
    let explained = post(&program, "/v1/route", &chat("desk", &none)).json();
    assert_eq!(
        explained["target"],
        json!({"kind": "agent", "model": "helper"})
    );
    assert_eq!(calls.load(SeqCst), 5);
    let refused = post(
        &program,
        CHAT,
        &chat(
            "helper",
            &json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ),
    );
    assert_eq!(
        (refused.status, &refused.json()["error"]["param"]),
        (400, &json!("tools")),
        "{}",
        refused.body
    );
    let models = get(&program, "/v1/models").body;
    assert!(models.contains("\"helper\""), "{models}");
    let lanes = get(&program, "/state").json();
    assert_eq!(
        lanes["agents"]["since_start"]["ended"]["completed"], 5,
        "{}",
        lanes["agents"]
    );
}

#[test]
fn an_agent_without_an_answer_says_why_and_is_not_run_twice() {
    let folder = folder();
    let (url, calls) = asking();
    let program = start(folder.path(), &url, HELPER);
    let answer = post(&program, CHAT, &chat("helper", &json!({})));
    assert!((400..500).contains(&answer.status), "{}", answer.body);
    assert!(answer.body.contains("waits for a human"), "{}", answer.body);
    assert_eq!(calls.load(SeqCst), 1);
    let runs = get(&program, "/v1/agents/helper/runs").json();
    assert_eq!(runs["data"].as_array().unwrap().len(), 1);
    let (url, calls) = model(Duration::ZERO, |_| say(""));
    let program = start(folder.path(), &url, HELPER);
    let answer = post(&program, CHAT, &chat("helper", &json!({})));
    assert!(answer.body.contains("stalled"), "{}", answer.body);
    assert_eq!(calls.load(SeqCst), 2);
}

#[test]
fn a_run_in_a_session_remembers_what_was_said_and_adds_its_turn() {
    let folder = folder();
    let (url, _calls) = model(Duration::ZERO, |request| {
        let messages = request["messages"].as_array().unwrap();
        say(&format!("{} messages", messages.len()))
    });
    let program = start(folder.path(), &url, HELPER);
    let session = program.session();
    let wait = [("prefer", "wait=60")];
    let place = "/v1/agents/helper/runs";
    let body = json!({"input": "One.", "session": session});
    // The instructions and the input; then the turn before them too.
    for expected in ["2 messages", "4 messages"] {
        let run = program.send("POST", place, &wait, &body).json();
        assert_eq!(run["output"], expected, "{run}");
        let since = Instant::now();
        let turns = if expected == "2 messages" { 1 } else { 2 };
        while program.texts(&session).len() < 2 * turns {
            assert!(since.elapsed() < AMPLE);
            thread::sleep(Duration::from_millis(20));
        }
    }
    let unknown = json!({"input": "One.", "session": "none"});
    assert_eq!(program.send("POST", place, &wait, &unknown).status, 404);
}

fn with_keys(more: &str) -> String {
    let mut text = more.to_owned();
    for (name, rest) in [
        ("ann", "[server.keys.limits]\nrequests_at_once = 1\n"),
        ("bob", ""),
    ] {
        let hash = hex::encode(Sha256::digest(name.as_bytes()));
        // Writing to a string does not fail.
        let _always_written = write!(
            text,
            "[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\nscopes = [\"call\", \"read_state\", \"admin\"]\n{rest}"
        );
    }
    text
}

#[test]
fn runs_belong_to_their_tenant_and_are_charged_once_to_its_key() {
    let folder = folder();
    let (url, _calls) = echo();
    let program = start(folder.path(), &url, &with_keys(HELPER));
    let as_key = |key: &str, method: &str, path: &str, body: &Value| {
        let bearer = format!("Bearer {key}");
        program.send(
            method,
            path,
            &[("authorization", &bearer), ("prefer", "wait=60")],
            body,
        )
    };
    // One call at once is enough for an agent and its model.
    let answer = as_key("ann", "POST", CHAT, &chat("helper", &json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let run = as_key(
        "ann",
        "POST",
        "/v1/agents/helper/runs",
        &json!({"input": "Hi."}),
    );
    let run = run.json();
    assert_eq!(run["output"], "echo Hi.", "{run}");
    let place = format!("/v1/agents/helper/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(as_key("ann", "GET", &place, &Value::Null).status, 200);
    for path in ["", "/events"] {
        let refused = as_key("bob", "GET", &format!("{place}{path}"), &Value::Null);
        assert_eq!(refused.code(), (404, "run_not_found".to_owned()));
    }
    let refused = as_key("bob", "POST", &format!("{place}/cancel"), &Value::Null);
    assert_eq!(refused.status, 404);
    let agent = json!({"name": "mine", "model": "m"});
    assert_eq!(as_key("ann", "POST", "/v1/agents", &agent).status, 201);
    assert_eq!(
        as_key("bob", "GET", "/v1/agents/mine", &Value::Null).status,
        404
    );
    let metrics = as_key("ann", "GET", "/metrics", &Value::Null).body;
    let tokens = |model: &str| {
        let labels = format!("kebne_tokens_total{{model=\"{model}\",kind=\"input\"}} ");
        let mut values = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(&labels));
        values
            .next()
            .map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    // Two calls of the model, and nothing once more for the agent.
    assert!(
        (tokens("m") - 40.0).abs() < 0.1 && tokens("helper") < 0.1,
        "{metrics}"
    );
}

/// The process is killed while models are asked; each run goes on at its last confirmed step in the next process.
#[test]
fn a_killed_process_loses_no_run_and_repeats_no_confirmed_step() {
    let folder = folder();
    let (url, calls) = model(Duration::from_millis(150), |request| {
        let task = request["messages"][1]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        match results(request).len() {
            3 => say(&format!("done {task}")),
            round => call(
                "ask_worker",
                &json!({"task": format!("{task} part {round}")}),
            ),
        }
    });
    let (worker, worked) = model(Duration::from_millis(50), |request| {
        say(&format!(
            "worked on {}",
            request["messages"][0]["content"].as_str().unwrap()
        ))
    });
    let more = format!(
        "[[backends]]\nname = \"w\"\nkind = \"openai\"\nbase_url = \"{worker}\"\n\
         [[agents]]\nname = \"boss\"\nmodel = \"m\"\ninstructions = \"Lead.\"\nagents = [\"worker\"]\n\
         [[agents]]\nname = \"worker\"\nmodel = \"w\"\n"
    );
    let mut program = start(folder.path(), &url, &more);
    let places: Vec<String> = (0..6)
        .map(|at| {
            let body = json!({"input": format!("task {at}")});
            let answer = post(&program, "/v1/agents/boss/runs", &body);
            answer.header("location").unwrap().to_owned()
        })
        .collect();
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(400));
        program.signal("KILL");
        program.child.wait().unwrap();
        program = start(folder.path(), &url, &more);
    }
    for (at, place) in places.iter().enumerate() {
        let done = until(&program, place, "ended");
        assert_eq!(done["output"], format!("done task {at}"), "{done}");
        assert_eq!(done["steps"], 4);
        let events = get(&program, &format!("{place}/events")).body;
        assert_eq!(events.matches("event: answered").count(), 4, "{events}");
        for part in 0..3 {
            let result = format!("worked on task {at} part {part}");
            assert!(events.contains(&result), "{result}: {events}");
        }
    }
    // Each task is one run, however often its process was killed.
    let tasks = get(&program, "/v1/agents/worker/runs?limit=100").json();
    assert_eq!(tasks["data"].as_array().unwrap().len(), 18);
    // Each kill repeats at most what was being asked.
    let (calls, worked) = (calls.load(SeqCst), worked.load(SeqCst));
    assert!((24..=24 + 18).contains(&calls), "{calls}");
    assert!((18..=18 + 18).contains(&worked), "{worked}");
}

/// The first settings and the first command of the page, as a reader would try them, with the simulated model.
#[test]
fn the_example_of_the_page_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/agents.md")).unwrap();
    let block = |kind: &str| {
        let block = page.split(kind).nth(1).unwrap();
        block.split("```").next().unwrap().to_owned()
    };
    let folder = folder();
    let config = folder.path().join("kebne.toml");
    let fast = "[[backends]]\nname = \"simulated\"\nsimulation = { preset = \"instant\" }\n";
    fs::write(&config, format!("{fast}{}", block("```toml\n"))).unwrap();
    let program = Program::start_plain(folder.path(), &config);
    let command = block("```sh\n");
    let path = command.split("8080").nth(1).unwrap();
    let path = path.split_whitespace().next().unwrap();
    let body = command.split("--json '").nth(1).unwrap();
    let body = body.split('\'').next().unwrap();
    let answer = program
        .try_send("POST", path, &[("prefer", "wait")], body)
        .unwrap();
    let run = answer.json();
    assert_eq!(
        (answer.status, &run["ending"]),
        (200, &json!("completed")),
        "{run}"
    );
    assert!(run["output"].as_str().unwrap().contains("Hello"), "{run}");
}

/// Settings that are read again add an agent, which is a model at once.
#[test]
fn a_reload_adds_an_agent_and_removes_one() {
    let folder = folder();
    let (url, _calls) = echo();
    let program = start(folder.path(), &url, HELPER);
    let config = folder.path().join("kebne.toml");
    let before = fs::read_to_string(&config).unwrap();
    let after = before.replace("\"helper\"", "\"other\"");
    fs::write(&config, after).unwrap();
    let reloaded = post(&program, "/admin/v1/reload", &Value::Null);
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    let answer = post(&program, CHAT, &chat("other", &json!({})));
    assert!(answer.body.contains("echo Hello."), "{}", answer.body);
    assert_eq!(
        post(&program, CHAT, &chat("helper", &json!({}))).status,
        404
    );
    assert_eq!(get(&program, "/v1/agents/helper").status, 404);
}
