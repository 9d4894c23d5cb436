//! Routes: rules of each kind, intents, sessions that stay and escalate, canaries, shadows, keys, and explanations.

mod intents;
mod keys;
mod rules;
mod shadows;
mod targets;

use std::{
    fs,
    path::Path,
    sync::mpsc::Receiver,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{Answer, CHAT, Program, SESSION, folder},
    upstream::{asked_raw, upstream, whole},
};

const EXPLAIN: &str = "/v1/route";

const PATIENCE: Duration = Duration::from_secs(20);

/// Settings of models that one backend serves.
fn models(url: &str, more: &str) -> String {
    let mut text = format!("[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n");
    for name in ["small", "middle", "large"] {
        let model = format!(
            "[[models]]\nname = \"{name}\"\nbackends = [\"b\"]\naliases = [\"{name}-alias\"]\n"
        );
        text += &model;
    }
    text + more
}

const RULES: &str = r#"
[[routes]]
name = "support"
default = "small-alias"
[[routes.rules]]
name = "header"
target = "large"
when = { headers = { X-Plan = "gold*" } }
[[routes.rules]]
name = "key"
target = "large"
when = { keys = ["vip"] }
[[routes.rules]]
name = "tenant"
target = "large"
when = { tenants = ["acme-*"] }
[[routes.rules]]
name = "group"
target = "large"
when = { groups = ["org"] }
[[routes.rules]]
name = "thrift"
target = "small"
when = { budget_left_max = 0.5 }
[[routes.rules]]
name = "image"
target = "large"
when = { inputs = ["image", "audio"] }
[[routes.rules]]
name = "tools"
target = "middle"
when = { tools = true }
[[routes.rules]]
name = "stream"
target = "middle"
when = { stream = true }
[[routes.rules]]
name = "long"
target = "large"
when = { tokens_min = 1000 }
[[routes.rules]]
name = "german"
target = "middle"
when = { languages = ["de"] }
[[routes.rules]]
name = "gold"
target = "large"
when = { variables = { plan = "gold" } }
[[routes.rules]]
name = "after-middle"
target = "large"
when = { last_targets = ["middle-alias"], turns_min = 1, turns_max = 1 }
[[routes.rules]]
name = "session"
target = "middle"
when = { session = true }
[[routes.rules]]
name = "never"
target = "large"
when = { days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], hours = "00:00-24:00", tokens_max = 0 }
"#;

fn start(folder: &Path, text: &str) -> Program {
    let config = folder.join("kebne.toml");
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

/// A key whose text is its name.
fn key(name: &str, more: &str) -> String {
    let hash = hex::encode(Sha256::digest(name.as_bytes()));
    format!("[[server.keys]]\nname = \"{name}\"\nhash = \"{hash}\"\n{more}")
}

fn bearer(name: &str) -> String {
    format!("Bearer {name}")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "JSON reads better where it is passed by value"
)]
fn chat(text: &str, more: Value) -> Value {
    let mut body = json!({"model": "support", "messages": [{"role": "user", "content": text}]});
    let fields = body.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    body
}

fn ask(program: &Program, text: &str) -> Answer {
    let answer = program.send("POST", CHAT, &[], &chat(text, json!({})));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

fn explained(program: &Program, headers: &[(&str, &str)], body: &Value) -> Value {
    let answer = program.send("POST", EXPLAIN, headers, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Waits until the examples of the route have vectors.
fn await_intents(program: &Program) {
    let since = Instant::now();
    let body = chat("Where is my parcel?", json!({}));
    while explained(program, &[], &body)["intent"]["outcome"] == "not_ready" {
        assert!(since.elapsed() < PATIENCE, "the intents are not ready");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes a call and has it explained; both must agree. Returns the rule and the model.
fn both(
    program: &Program,
    requests: &Receiver<Value>,
    headers: &[(&str, &str)],
    body: &Value,
) -> (String, String) {
    let why = explained(program, headers, body);
    let answer = program.send("POST", CHAT, headers, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let sent = asked_raw(requests)["model"].as_str().unwrap().to_owned();
    let rule = answer.header("x-kebne-route").unwrap();
    let rule = rule.strip_prefix("support/").unwrap().to_owned();
    assert_eq!(
        (&why["rule"], &why["model"]),
        (&json!(rule), &json!(sent)),
        "{why}"
    );
    (rule, sent)
}

#[test]
fn a_reload_changes_routes_while_calls_are_served() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let route = |target: &str, example: &str| {
        let route = format!(
            "[[routes]]\nname = \"support\"\ndefault = \"small\"\n[[routes.rules]]\nname = \"r\"\ntarget = \"{target}\"\n\
             when = {{ intents = [\"i\"] }}\n[[routes.intents]]\nname = \"i\"\nexamples = [\"{example}\"]\n"
        );
        models(&url, &route)
    };
    let program = start(folder.path(), &route("middle", "Where is my parcel?"));
    let reload = |text: &str| {
        fs::write(folder.path().join("kebne.toml"), text).unwrap();
        program.send("POST", "/admin/v1/reload", &[], &Value::Null)
    };
    let model = || {
        await_intents(&program);
        ask(&program, "Where is my parcel?");
        asked_raw(&requests)["model"].clone()
    };
    assert_eq!(model(), "middle");
    let report = reload(&route("large", "Where is my parcel?"));
    assert_eq!(report.status, 200, "{}", report.body);
    let changed = report.json()["changed"][0]["key"].clone();
    assert_eq!(changed, "routes[support].rules[r].target");
    assert_eq!(model(), "large");
    assert_eq!(
        reload(&route("large", "Quantum chromodynamics")).status,
        200
    );
    assert_eq!(model(), "small");
    let wrong = reload(&route("gone", "x"));
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert!(
        wrong.body.contains("routes[0].rules[0].target"),
        "{}",
        wrong.body
    );
    assert_eq!(reload(&models(&url, "")).status, 200);
    for path in [CHAT, EXPLAIN] {
        let answer = program.send("POST", path, &[], &chat("Hi", json!({})));
        assert_eq!(answer.code(), (404, "model_not_found".to_owned()));
    }
}

#[test]
fn what_is_wrong_with_an_explanation_is_told() {
    let (folder, (url, _requests)) = (folder(), upstream(|_| whole("ok")));
    let program = start(folder.path(), &models(&url, RULES));
    let model = program.send("POST", EXPLAIN, &[], &chat("Hi", json!({"model": "small"})));
    assert_eq!(model.status, 400);
    assert_eq!(model.json()["error"]["param"], "model");
    let session = program.send(
        "POST",
        EXPLAIN,
        &[(SESSION, "none")],
        &chat("Hi", json!({})),
    );
    assert_eq!(session.code(), (404, "session_not_found".to_owned()));
    let body = program.send("POST", EXPLAIN, &[], &json!({"messages": []}));
    assert_eq!(body.json()["error"]["param"], "model");
}

/// The example of the page is started as it stands there, and its questions go as its table says.
#[test]
fn the_example_of_the_page_does_what_the_page_says() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routes.md")).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (settings, rest) = rest.split_once("```").unwrap();
    let folder = folder();
    let instant =
        "[[backends]]\nname = \"simulated\"\n[backends.simulation]\npreset = \"instant\"\n";
    let program = start(folder.path(), &format!("{instant}{settings}"));
    await_intents(&program);
    let rows = rest
        .lines()
        .skip_while(|line| !line.starts_with("| question"))
        .skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut asked = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (question, expected) = (cells[1], cells[2].trim_matches('`'));
        let answer = ask(&program, question);
        assert_eq!(answer.header("x-kebne-route"), Some(expected), "{question}");
        asked += 1;
    }
    assert!(asked >= 3);
    let session = program.session();
    let complaint = chat("This is terrible service and unacceptable", json!({}));
    let headers = [(SESSION, session.as_str())];
    for expected in ["support/default", "support/escalate"] {
        let answer = program.send("POST", CHAT, &headers, &complaint);
        assert_eq!(answer.header("x-kebne-route"), Some(expected));
    }
    let after = program.send(
        "POST",
        CHAT,
        &headers,
        &chat("How high is Kebnekaise?", json!({})),
    );
    assert_eq!(after.header("x-kebne-route"), Some("support/escalate"));
}
