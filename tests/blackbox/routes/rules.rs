//! Rules of each kind, alone and in their order.

use std::path::Path;

use serde_json::json;

use super::{RULES, bearer, both, chat, explained, key, models, start};
use crate::{
    program::{CHAT, Program, SESSION, folder},
    upstream::{asked_raw, upstream, whole},
};

/// Starts the program with these rules and the keys that they name.
fn with_keys(folder: &Path, url: &str) -> Program {
    let groups = "[[accounts.groups]]\nname = \"org\"\n[[accounts.groups]]\nname = \"team\"\nparent = \"org\"\n";
    let keys = [
        key("plain", ""),
        key("vip", ""),
        key("other", "tenant = \"acme-eu\"\n"),
        key("member", "group = \"team\"\n"),
        key("poor", "limits.budgets = [{ tokens = 4000 }]\n"),
    ];
    let text = models(url, &(keys.concat() + groups + RULES));
    start(folder, &text)
}

#[test]
fn a_rule_of_each_kind_decides_and_an_explanation_says_the_same() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let program = with_keys(folder.path(), &url);
    let plain = bearer("plain");
    let key = ("authorization", plain.as_str());
    let image = json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]});
    let tool = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let long = "word ".repeat(1000);
    let table = [
        (
            vec![key, ("x-plan", "gold-1")],
            chat("Hello there", json!({})),
            "header",
            "large",
        ),
        (
            vec![key, ("x-plan", "silver")],
            chat("Hello there", json!({})),
            "default",
            "small",
        ),
        (vec![key], chat("Look", image), "image", "large"),
        (vec![key], chat("Hello", tool), "tools", "middle"),
        (vec![key], chat(&long, json!({})), "long", "large"),
        (
            vec![key],
            chat("Wo ist mein Paket?", json!({})),
            "german",
            "middle",
        ),
    ];
    for (headers, body, rule, model) in &table {
        let found = both(&program, &requests, headers, body);
        assert_eq!(found, ((*rule).to_owned(), (*model).to_owned()), "{body}");
    }
    for (name, rule) in [("vip", "key"), ("other", "tenant"), ("member", "group")] {
        let own = bearer(name);
        let headers = [("authorization", own.as_str())];
        assert_eq!(
            both(&program, &requests, &headers, &chat("Hi", json!({}))).0,
            rule
        );
    }
    let streamed = chat("Hi", json!({"stream": true}));
    let why = explained(&program, &[key], &streamed);
    assert_eq!(why["rule"], "stream", "{why}");
    // Every rule that was looked at has a reason.
    let why = explained(&program, &[key], &chat("Hello there", json!({})));
    let looked = why["rules"].as_array().unwrap();
    assert_eq!(looked.len(), 14);
    assert!(
        looked.iter().all(|one| one["why_not"].as_str().is_some()),
        "{why}"
    );
    assert_eq!(looked[1]["why_not"], "the key is `plain`");
}

#[test]
fn a_budget_that_is_nearly_used_leads_to_another_rule() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let program = with_keys(folder.path(), &url);
    let long = "word ".repeat(1000);
    // A call that reserves more than half of its budget while it runs has not used it when it ends.
    let own = bearer("poor");
    let poor = [("authorization", own.as_str())];
    let rich = both(
        &program,
        &requests,
        &poor,
        &chat("Hi", json!({"max_tokens": 3000})),
    );
    assert_eq!(rich.0, "default");
    for _ in 0..8 {
        program.send(
            "POST",
            CHAT,
            &poor,
            &chat(&long, json!({"max_tokens": 300})),
        );
        requests.try_recv().ok();
    }
    let why = explained(&program, &poor, &chat("Hi", json!({})));
    assert_eq!(why["rule"], "thrift", "{why}");
}

#[test]
fn the_state_of_a_session_decides_and_outlives_the_program() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let text = models(&url, RULES);
    let mut program = start(folder.path(), &text);
    let gold = json!({"metadata": {"plan": "gold"}});
    let gold = program.send("POST", "/v1/sessions", &[], &gold).json();
    let (gold, plain) = (gold["id"].as_str().unwrap(), program.session());
    let body = chat("Hi", json!({}));
    let ask =
        |program: &Program, session: &str| both(program, &requests, &[(SESSION, session)], &body).0;
    assert_eq!(ask(&program, gold), "gold");
    assert_eq!(ask(&program, &plain), "session");
    assert_eq!(program.terminate(), Some(0));
    let program = start(folder.path(), &text);
    // The last turn went to `middle`, and one turn is there.
    assert_eq!(ask(&program, &plain), "after-middle");
    assert_eq!(ask(&program, &plain), "session");
}

#[test]
fn callers_of_each_dialect_may_name_a_route() {
    let (folder, (url, requests)) = (folder(), upstream(|_| whole("ok")));
    let program = start(folder.path(), &models(&url, RULES));
    let question = "Wo ist mein Paket?";
    let message = json!({"role": "user", "content": question});
    for (path, body) in [
        (CHAT, chat(question, json!({}))),
        (
            "/v1/messages",
            json!({"model": "support", "max_tokens": 9, "messages": [message]}),
        ),
        (
            "/v1/responses",
            json!({"model": "support", "input": question}),
        ),
        (
            "/v1/responses",
            json!({"model": "support", "input": [message], "store": false}),
        ),
    ] {
        let answer = program.send("POST", path, &[], &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert!(
            answer.has("x-kebne-route: support/german"),
            "{path}: {}",
            answer.head
        );
        assert_eq!(asked_raw(&requests)["model"], "middle", "{path}");
    }
    let count = program.send(
        "POST",
        "/v1/messages/count_tokens",
        &[],
        &json!({"model": "support", "messages": [message]}),
    );
    assert_eq!(count.status, 200, "{}", count.body);
}
