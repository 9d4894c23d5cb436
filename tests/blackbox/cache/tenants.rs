//! What tenants and keys share, and what counts for them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ON, await_hit, count, keys, numbered, outcome, program, question};
use crate::{
    program::{CHAT, folder},
    upstream::upstream,
};

#[test]
fn tenants_never_share_and_each_erases_its_own() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let program = program(folder.path(), &url, &[ON, &keys(&["ann", "bob"])].concat());
    let key = |name: &str| format!("Bearer key of {name}");
    let (ann, bob) = (key("ann"), key("bob"));
    let (of_ann, of_bob) = ([("authorization", &*ann)], [("authorization", &*bob)]);
    let of_tenant = [("authorization", &*ann), ("x-kebne-tenant", "one")];
    let first = program.send("POST", CHAT, &of_ann, &question("a"));
    assert_eq!(
        (first.status, outcome(&first)),
        (200, "miss"),
        "{}",
        first.body
    );
    await_hit(&program, CHAT, &of_ann, &question("a"));
    for headers in [&of_bob[..], &of_tenant] {
        let answer = program.send("POST", CHAT, headers, &question("a"));
        assert_eq!(outcome(&answer), "miss");
        assert_ne!(answer.body, first.body);
        await_hit(&program, CHAT, headers, &question("a"));
    }
    assert_eq!(count(&requests), 3);
    let list = |headers: &[(&str, &str)]| {
        program
            .send("GET", "/v1/cache", headers, &Value::Null)
            .json()
    };
    assert_eq!(
        (&list(&of_ann)["entries"], &list(&of_bob)["entries"]),
        (&json!(2), &json!(1))
    );
    let all = program
        .send("GET", "/admin/v1/cache", &of_ann, &Value::Null)
        .json();
    assert_eq!(
        (
            all["entries"].clone(),
            all["data"].as_array().unwrap().len()
        ),
        (json!(3), 2)
    );
    let erased = program.send("DELETE", "/v1/cache?model=alias", &of_bob, &Value::Null);
    assert_eq!(erased.json()["entries"], 1, "{}", erased.body);
    assert_eq!(
        outcome(&program.send("POST", CHAT, &of_bob, &question("a"))),
        "miss"
    );
    assert_eq!(
        outcome(&program.send("POST", CHAT, &of_ann, &question("a"))),
        "hit"
    );
    await_hit(&program, CHAT, &of_bob, &question("a"));
    let erased = program.send(
        "DELETE",
        "/admin/v1/cache?tenant=ann",
        &of_bob,
        &Value::Null,
    );
    assert_eq!(erased.json()["entries"], 2);
    assert_eq!(
        outcome(&program.send("POST", CHAT, &of_bob, &question("a"))),
        "hit"
    );
    assert_eq!(
        outcome(&program.send("POST", CHAT, &of_ann, &question("a"))),
        "miss"
    );
    let wrong = program.send("DELETE", "/v1/cache?tenant=ann", &of_bob, &Value::Null);
    assert_eq!(wrong.status, 400);
}

#[test]
fn a_scope_that_is_not_offered_is_refused_and_not_taken_for_all() {
    let folder = folder();
    let (url, _requests) = upstream(numbered);
    let program = program(folder.path(), &url, &[ON, &keys(&["ann", "bob"])].concat());
    let of_bob = [("authorization", "Bearer key of bob")];
    for path in [
        "/v1/cache?tenant=ann",
        "/v1/cache?model=m",
        "/admin/v1/cache?model=m",
    ] {
        let wrong = program.send("GET", path, &of_bob, &Value::Null);
        assert_eq!(wrong.status, 400, "{path}: {}", wrong.body);
    }
}

#[test]
fn a_hit_counts_as_a_call_of_its_key_and_reserves_no_money() {
    let folder = folder();
    let (url, _requests) = upstream(numbered);
    let limits = "[server.keys.limits]\nrequests_per_minute = 3\n[[server.keys.limits.budgets]]\nper = \"day\"\ntokens = 1500\n";
    let key = keys(&["ann"]);
    let program = program(folder.path(), &url, &[ON, &key, limits].concat());
    let ann = [("authorization", "Bearer key of ann")];
    let call = |text: &str| {
        let mut body = question(text);
        body["max_tokens"] = 100.into();
        program.send("POST", CHAT, &ann, &body)
    };
    assert_eq!(call("a").status, 200);
    let since = Instant::now();
    while program.send("GET", "/v1/cache", &ann, &Value::Null).json()["entries"] != 1 {
        assert!(since.elapsed() < Duration::from_secs(20));
    }
    // 1100 of 1500 tokens are used: another answer of 1100 does not fit after it, a kept one does.
    assert_eq!(outcome(&call("a")), "hit");
    assert_eq!(outcome(&call("a")), "hit");
    let fourth = call("a");
    assert_eq!(fourth.status, 429);
    assert_eq!(
        fourth.json()["error"]["code"],
        "rate_limit_exceeded",
        "{}",
        fourth.body
    );
}
