//! Two gateways whose kept answers are those of one server of Redis.

use super::{
    redis::{Redis, configured},
    *,
};
use crate::{program::Answer, upstream::upstream};

fn gateway_of(redis: &Redis, folder: &Path, name: &str, url: &str) -> Program {
    let text = format!(
        "{}[cache]\nstore = \"redis\"\n[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"{url}\"\n\
         [[models]]\nname = \"m\"\nbackends = [\"b\"]\ncache = {{ exact = true, temperature_default = 0 }}\n",
        redis.settings()
    );
    let (home, config) = configured(folder, name, &text);
    Program::start_plain(&home, &config)
}

fn call(program: &Program, text: &str) -> (Answer, String) {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let answer = program.send("POST", CHAT, &[], &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let cached = answer
        .header("x-kebne-cache")
        .unwrap_or_default()
        .to_owned();
    (answer, cached)
}

#[test]
fn an_answer_is_kept_for_all_gateways_and_a_server_that_is_gone_costs_misses() {
    let folder = folder();
    let mut redis = Redis::start();
    let (url, requests) = upstream(|_| whole("ok"));
    let one = gateway_of(&redis, folder.path(), "one", &url);
    let two = gateway_of(&redis, folder.path(), "two", &url);
    let (first, cached) = call(&one, "Hello.");
    assert_eq!(cached, "miss");
    // It is kept after its caller has it.
    let since = Instant::now();
    let second = loop {
        let (answer, cached) = call(&two, "Hello.");
        if cached == "hit" {
            break answer;
        }
        assert!(since.elapsed() < PATIENCE, "{cached}");
    };
    assert_eq!(first.json()["choices"], second.json()["choices"]);
    let asked = requests.try_iter().count();
    assert_eq!(call(&one, "Hello.").1, "hit");
    assert_eq!(requests.try_iter().count(), 0, "after {asked}");

    let erased = one.send("DELETE", "/v1/cache", &[], &Value::Null);
    assert_eq!(erased.json()["entries"], 1, "{}", erased.body);
    assert_eq!(call(&two, "Hello.").1, "miss");

    redis.kill();
    for program in [&one, &two] {
        for text in ["Hello.", "Again."] {
            assert_ne!(call(program, text).1, "hit");
        }
    }
    redis.restart();
    let since = Instant::now();
    while call(&one, "Hello.").1 != "hit" || call(&two, "Hello.").1 != "hit" {
        assert!(since.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(100));
    }
}
