//! Two gateways whose keys, limits and budgets are those of one server of Redis.

use sha2::{Digest as _, Sha256};

use super::{
    redis::{Redis, configured},
    *,
};
use crate::{program::Answer, upstream::upstream_that};

const KEYS: &str = "/admin/v1/keys";

/// A model server whose answers report 60 tokens.
fn backend() -> String {
    let (url, requests) = upstream_that(move |_, socket| {
        let body = json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}],
            "usage": {"prompt_tokens": 50, "completion_tokens": 10}});
        let body = body.to_string();
        let length = body.len();
        write!(
            socket,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    });
    // Nobody looks at them.
    thread::spawn(move || for _ in requests {});
    url
}

fn gateway_of(redis: &Redis, folder: &Path, name: &str, url: &str) -> Program {
    let hash = hex::encode(Sha256::digest(b"root"));
    let text = format!(
        "{}[accounts]\nstore = \"redis\"\n[[server.keys]]\nname = \"root\"\nhash = \"{hash}\"\n\
         scopes = [\"admin\", \"read_state\", \"call\"]\n\
         [[backends]]\nname = \"m\"\nkind = \"openai\"\nbase_url = \"{url}\"\nmodel = \"m\"\n",
        redis.settings()
    );
    let (home, config) = configured(folder, name, &text);
    Program::start_plain(&home, &config)
}

fn with_key(program: &Program, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {key}");
    program.send(method, path, &[("authorization", &bearer)], body)
}

fn create(program: &Program, body: &Value) -> (String, String) {
    let answer = with_key(program, "root", "POST", KEYS, body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// Makes a call that may use 54 tokens by its estimate, and uses 60.
fn call(program: &Program, key: &str) -> Answer {
    let body =
        json!({"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "a"}]});
    with_key(program, key, "POST", CHAT, &body)
}

fn shared(program: &Program) -> Value {
    let state = with_key(program, "root", "GET", "/state", &Value::Null).json();
    state["accounts"]["shared"].clone()
}

fn used(program: &Program, id: &str) -> Value {
    let path = format!("{KEYS}/{id}/usage");
    with_key(program, "root", "GET", &path, &Value::Null).json()
}

/// Waits until something is so.
fn wait(what: &str, time: Duration, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < time, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_key_and_its_budget_are_those_of_all_gateways_and_the_server_may_be_killed() {
    let (folder, mut redis, url) = (folder(), Redis::start(), backend());
    let one = gateway_of(&redis, folder.path(), "one", &url);
    let two = gateway_of(&redis, folder.path(), "two", &url);
    let budget = json!({"tokens": 3000, "per": "day"});
    let (id, key) = create(&one, &json!({"name": "a", "limits": {"budgets": [budget]}}));
    let soon = Duration::from_secs(2);
    wait("the key is known", soon, || call(&two, &key).status != 401);
    wait("the budget is used up", PATIENCE, || {
        admitted_of(&[&one, &two], &key) == 0
    });
    for program in [&one, &two] {
        let refused = call(program, &key);
        assert_eq!(refused.status, 429, "{}", refused.body);
        assert!(
            refused.body.contains("insufficient_quota"),
            "{}",
            refused.body
        );
        wait("both know of all calls", PATIENCE, || {
            admitted_tokens(program, &id) >= 2940
        });
        // A call uses 6 tokens beyond its estimate, and a block may be too small for the last one.
        let tokens = admitted_tokens(program, &id);
        assert!(tokens <= 3060, "{tokens}");
    }
    assert_eq!(admitted_tokens(&one, &id), admitted_tokens(&two, &id));
    let (rich, rich_key) = create(
        &two,
        &json!({"name": "b", "limits": {"requests_per_minute": 6000}}),
    );
    wait("the second key is known", soon, || {
        call(&one, &rich_key).status == 200
    });
    redis.kill();
    go_on_without_the_server(&[&one, &two], &rich, &rich_key);
    redis.restart();
    for program in [&one, &two] {
        wait("the leases are back", PATIENCE, || {
            shared(program)["state"] == "held"
        });
    }
    // The budget is still used up although the server has lost everything.
    wait("the sums are back", PATIENCE, || {
        call(&one, &key).status == 429 && call(&two, &key).status == 429
    });
    wait("all calls count once", PATIENCE, || {
        let calls = |program| used(program, &rich)["usage"]["today"]["calls"].clone();
        let all = calls(&one);
        all == calls(&two) && all.as_u64() >= Some(41)
    });
    let revoked = with_key(
        &one,
        "root",
        "DELETE",
        &format!("{KEYS}/{rich}"),
        &Value::Null,
    );
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    wait("the key is revoked everywhere", soon, || {
        call(&two, &rich_key).status == 401
    });
}

/// Checks what gateways do whose server is down: calls are answered, and keys stay as they are.
fn go_on_without_the_server(gateways: &[&Program], id: &str, key: &str) {
    wait("the state is said", PATIENCE, || {
        shared(gateways[0])["state"] == "over"
    });
    for program in gateways {
        for _ in 0..20 {
            let answer = call(program, key);
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let refused = with_key(
            program,
            "root",
            "DELETE",
            &format!("{KEYS}/{id}"),
            &Value::Null,
        );
        assert_eq!(refused.status, 503, "{}", refused.body);
        let metrics = with_key(program, "root", "GET", "/metrics", &Value::Null).body;
        assert!(
            metrics.contains("kebne_accounts_state{state=\"over\"} 1"),
            "{metrics}"
        );
    }
}

/// Makes a call at each gateway; returns how many were admitted.
fn admitted_of(programs: &[&Program], key: &str) -> usize {
    let calls = programs.iter().map(|program| call(program, key).status);
    calls.filter(|status| *status == 200).count()
}

fn admitted_tokens(program: &Program, id: &str) -> u64 {
    let usage = used(program, id);
    usage["usage"]["today"]["tokens"].as_u64().unwrap_or(0)
}
