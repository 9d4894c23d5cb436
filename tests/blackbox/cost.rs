//! What calls cost: the price table, the tokens that servers report, and the question for them.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    program::{Answer, CHAT, Program, folder},
    upstream::{asked_raw, silent_after, upstream},
};

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const PRICE: &str = "[models.price]\ninput = 2\ncached_input = 0.5\noutput = 10\n";

fn answer(body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn piece(text: &str) -> String {
    let delta = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {delta}\n\n")
}

/// A stream of two tokens, with its usage.
fn stream() -> String {
    let stop = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 100}});
    let (one, two) = (piece("a"), piece("b"));
    format!("{EVENTS}{one}{two}data: {stop}\n\ndata: {usage}\n\ndata: [DONE]\n\n")
}

fn program(folder: &Path, url: &str, more: &str) -> Program {
    let config = folder.join("kebne.toml");
    let text = format!(
        "[log]\nformat = \"json\"\n[log.requests]\nfile = \"requests.log\"\n[cost]\ncurrency = \"EUR\"\n\
         [[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"m\"\nbackends = [\"b\"]\n{more}"
    );
    fs::write(&config, text).unwrap();
    Program::start_plain(folder, &config)
}

fn call(program: &Program, path: &str, more: &Value) -> Answer {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    program.send("POST", path, &[], &body)
}

fn cost(model: &str, basis: &str, amount: &str) -> String {
    format!(r#"kebne_cost_total{{model="{model}",currency="EUR",basis="{basis}"}} {amount}"#)
}

#[test]
fn a_call_costs_what_its_reported_tokens_cost() {
    let folder = folder();
    let (url, _requests) = upstream(|number| {
        let details = json!({"cached_tokens": 400});
        let usage = match number {
            0 => {
                json!({"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": details})
            }
            _ => json!({"prompt_tokens": 500, "total_tokens": 500}),
        };
        let message = json!({"role": "assistant", "content": "a"});
        answer(&match number {
            0 => {
                json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
            }
            1 => {
                json!({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "usage": usage})
            }
            _ => json!({"results": [], "usage": {"total_tokens": 500}}),
        })
    });
    let program = program(folder.path(), &url, PRICE);
    assert_eq!(call(&program, CHAT, &json!({})).status, 200);
    // 600 * 2 + 400 * 0.5 + 100 * 10 millionths
    program.await_metric(&cost("m", "reported", "0.0024"));
    let input = json!({"input": "a"});
    assert_eq!(call(&program, "/v1/embeddings", &input).status, 200);
    program.await_metric(&cost("m", "reported", "0.0034"));
    let rerank = json!({"query": "a", "documents": ["b"]});
    assert_eq!(call(&program, "/v1/rerank", &rerank).status, 200);
    program.await_metric(&cost("m", "reported", "0.0044"));
    program.await_metric(&cost("m", "estimated", "0.0"));
    let log = fs::read_to_string(folder.path().join("requests.log")).unwrap();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["cost"], first.get("cost_estimated")),
        (&json!(0.0024), None)
    );
}

#[test]
fn the_usage_of_a_stream_is_asked_for_and_kept_from_a_caller_that_did_not_ask() {
    let folder = folder();
    let (url, requests) = upstream(|_| stream());
    let program = program(folder.path(), &url, PRICE);
    let asks = json!({"stream": true, "stream_options": {"include_usage": true}});
    let refuses = json!({"stream": true, "stream_options": {"include_usage": false, "x": 1}});
    for (more, is_shown) in [
        (json!({"stream": true}), false),
        (refuses, false),
        (asks, true),
    ] {
        let answer = call(&program, CHAT, &more);
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("data: [DONE]\n\n"), "{}", answer.body);
        assert_eq!(answer.body.contains("usage"), is_shown, "{}", answer.body);
        assert_eq!(
            asked_raw(&requests)["stream_options"]["include_usage"],
            true
        );
    }
    program.await_metric(&cost("m", "reported", "0.009"));
}

#[test]
fn a_server_that_refuses_the_question_is_not_asked_again() {
    let folder = folder();
    let refusal =
        json!({"object": "error", "message": "extra_forbidden: stream_options", "code": 422});
    let (url, requests) = upstream(move |number| match number {
        0 => answer(&refusal).replace("200 OK", "422 Unprocessable"),
        _ => stream(),
    });
    let program = program(folder.path(), &url, PRICE);
    for _ in 0..2 {
        assert_eq!(call(&program, CHAT, &json!({"stream": true})).status, 200);
    }
    let asked: Vec<_> = (0..3).map(|_| asked_raw(&requests)).collect();
    let has = |request: &Value| request.get("stream_options").is_some();
    assert_eq!(
        asked.iter().map(has).collect::<Vec<_>>(),
        [true, false, false]
    );
}

#[test]
fn without_a_price_the_callers_bytes_are_sent_as_they_came() {
    let folder = folder();
    let (url, requests) = upstream(|_| stream());
    let program = program(folder.path(), &url, "");
    let answer = call(&program, CHAT, &json!({"stream": true}));
    assert!(answer.body.contains("usage"), "{}", answer.body);
    assert_eq!(asked_raw(&requests).get("stream_options"), None);
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    assert!(!metrics.contains("kebne_cost_total{"), "{metrics}");
}

#[test]
fn a_stream_that_its_caller_leaves_costs_an_estimate_of_what_has_arrived() {
    let folder = folder();
    let server = silent_after(format!("{EVENTS}{}{}", piece("a"), piece("b")));
    let more = format!("{PRICE}[[models]]\nname = \"simulated\"\nbackends = [\"b\"]\n{PRICE}");
    let program = program(folder.path(), &server.url, &more);
    program.leave(true, &server);
    let cancelled = r#"kebne_requests_total{model="simulated",ending="cancelled"} 1"#;
    program.await_metric(cancelled);
    let metrics = program.send("GET", "/metrics", &[], &Value::Null).body;
    let prefix = cost("simulated", "estimated", "");
    let estimated = metrics.lines().find_map(|line| line.strip_prefix(&*prefix));
    let estimated: f64 = estimated.unwrap().parse().unwrap();
    // Two tokens of output, and some of input.
    assert!((0.00002..0.0002).contains(&estimated), "{estimated}");
}

#[test]
fn a_stream_counts_in_a_budget_with_the_tokens_that_its_caller_did_not_ask_for() {
    let folder = folder();
    let (url, requests) = upstream(|_| stream());
    let hash = hex::encode(Sha256::digest(b"ann"));
    let more = format!(
        "[[server.keys]]\nname = \"ann\"\nhash = \"{hash}\"\nscopes = [\"call\", \"admin\"]\n\
         [[server.keys.limits.budgets]]\ntokens = 2400\nper = \"day\"\n"
    );
    let program = program(folder.path(), &url, &more);
    let send = |method: &str, path: &str, body: &Value| {
        program.send(method, path, &[("authorization", "Bearer ann")], body)
    };
    let messages = json!([{"role": "user", "content": "a"}]);
    let body = json!({"model": "m", "stream": true, "messages": messages});
    for _ in 0..2 {
        let answer = send("POST", CHAT, &body);
        assert_eq!(answer.status, 200);
        assert!(!answer.body.contains("usage"), "{}", answer.body);
        assert_eq!(
            asked_raw(&requests)["stream_options"]["include_usage"],
            true
        );
    }
    let usage = send("GET", "/admin/v1/keys/settings:ann/usage", &Value::Null).json();
    assert_eq!(usage["usage"]["today"]["tokens"], 2200, "{usage}");
    // 256 tokens of output are assumed without a bound.
    let refused = send("POST", CHAT, &body);
    assert_eq!(refused.code(), (429, "insufficient_quota".to_owned()));
    let message = json!({"model": "m", "max_tokens": 300, "messages": messages});
    let refused = send("POST", "/v1/messages", &message);
    assert_eq!(
        (refused.status, &refused.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let bounded = json!({"model": "m", "stream": true, "max_tokens": 20, "messages": messages});
    assert_eq!(send("POST", CHAT, &bounded).status, 200);
}
