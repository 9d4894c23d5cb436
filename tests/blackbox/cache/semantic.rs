//! Answers to similar questions.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{ON, ask, await_hit, count, keys, numbered, outcome, program, question};
use crate::{
    program::{CHAT, Program, folder},
    upstream::{upstream, upstream_that, whole},
};

/// Words that are neither numbers nor names, to word a question in many ways.
const WORDS: [&str; 40] = [
    "please", "quickly", "again", "kindly", "simply", "really", "exactly", "safely", "gently",
    "neatly", "surely", "plainly", "briefly", "clearly", "calmly", "boldly", "warmly", "loosely",
    "deeply", "widely", "softly", "firmly", "rarely", "freshly", "smoothly", "kindest", "properly",
    "honestly", "politely", "directly", "promptly", "silently", "brightly", "bravely", "eagerly",
    "fairly", "happily", "humbly", "lightly", "merrily",
];

fn semantic(more: &str) -> String {
    format!("{ON}[models.cache.semantic]\nenabled = true\nsimilarity_min = 0.5\n{more}")
}

#[test]
fn a_similar_question_is_answered_when_a_judge_says_so() {
    let folder = folder();
    // The judge is asked through the same backend.
    let (url, requests) = upstream_that(|number, socket| {
        let answer = if number == 1 {
            whole("yes")
        } else {
            numbered(number)
        };
        socket.write_all(answer.as_bytes())
    });
    let judge = semantic("verifier = \"judge\"\njudge = \"j\"\n");
    let more = [
        &judge,
        "[[models]]\nname = \"j\"\nbackends = [\"b\"]\n",
        &keys(&["ann", "bob"]),
    ]
    .concat();
    let program = program(folder.path(), &url, &more);
    let call = |name: &str, body: &Value| {
        let key = format!("Bearer key of {name}");
        program.send("POST", CHAT, &[("authorization", &key)], body)
    };
    let first = call("ann", &question("How do I reset my password?"));
    assert_eq!(outcome(&first), "miss");
    let ann = [("authorization", "Bearer key of ann")];
    await_hit(
        &program,
        CHAT,
        &ann,
        &question("How do I reset my password?"),
    );
    let similar = call("ann", &question("How can I reset my password?"));
    assert_eq!(
        (outcome(&similar), &similar.body),
        ("semantic", &first.body)
    );
    assert_eq!(count(&requests), 2);
    // Another number, another tenant, another prompt: the judge is not even asked.
    assert_eq!(
        outcome(&call("ann", &question("How do I reset my 2 passwords?"))),
        "miss"
    );
    assert_eq!(
        outcome(&call("bob", &question("How can I reset my password?"))),
        "miss"
    );
    let led = json!({"model": "m", "temperature": 0, "messages": [{"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How can I reset my password?"}]});
    let answer = call("ann", &led);
    assert_eq!(outcome(&answer), "miss");
    assert_eq!(count(&requests), 3);
    let state = program.send("GET", "/state", &ann, &Value::Null).json();
    assert_eq!(
        state["cache"]["models"]["m"]["ruled_out"]["number"], 1,
        "{}",
        state["cache"]
    );
    assert_eq!(state["cache"]["models"]["m"]["calls"]["semantic"], 1);
}

#[test]
fn a_judge_that_hangs_takes_half_of_the_time_of_a_call_at_most() {
    let folder = folder();
    let (url, _requests) = upstream(numbered);
    let (hanging, _asked) = upstream_that(|_, _| {
        std::thread::sleep(Duration::from_secs(30));
        Ok(())
    });
    let judge = semantic("verifier = \"judge\"\njudge = \"j\"\n");
    let more = format!(
        "{judge}[[backends]]\nname = \"j\"\nkind = \"openai\"\nbase_url = \"{hanging}\"\n[[models]]\nname = \"j\"\nbackends = [\"j\"]\n"
    );
    let program = program(folder.path(), &url, &more);
    let kept = question("How do I reset my password?");
    await_hit(&program, CHAT, &[], &kept);
    let deadline = [("x-kebne-deadline-ms", "3000")];
    let similar = question("How can I reset my password?");
    let answer = program.send("POST", CHAT, &deadline, &similar);
    // The judge alone would take longer than the call may.
    assert_eq!(
        (answer.status, outcome(&answer)),
        (200, "miss"),
        "{}",
        answer.body
    );
}

/// Asks a question in many wordings; returns the outcomes.
fn wordings(program: &Program) -> Vec<String> {
    let mut outcomes = Vec::new();
    for (number, word) in (1_u32..).zip(WORDS) {
        let body = question(&format!("how do i {word} reset the password of my account"));
        let answer = ask(program, &body);
        outcomes.push(outcome(&answer).to_owned());
        if outcome(&answer) != "semantic" {
            let misses = outcomes.iter().filter(|outcome| *outcome == "miss").count();
            program.await_metric(&format!("kebne_cache_entries {misses}.0"));
        }
        if number > 1 && outcome(&answer) == "miss" {
            let learned = Instant::now();
            while learned.elapsed() < Duration::from_millis(30) {
                thread::yield_now();
            }
        }
    }
    outcomes
}

#[test]
fn the_learned_threshold_uses_answers_once_it_has_seen_enough_that_were_right() {
    let folder = folder();
    let (url, requests) = upstream(|_| whole("On the page of your account."));
    let program = program(
        folder.path(),
        &url,
        &semantic("error_max = 0.2\nexplore = 0.0\n"),
    );
    let outcomes = wordings(&program);
    // No fewer than 10 right answers can show that at most one of five is wrong.
    assert_eq!(outcomes[..10], ["miss"; 10], "{outcomes:?}");
    assert_eq!(outcomes.last().unwrap(), "semantic", "{outcomes:?}");
    let misses = outcomes.iter().filter(|outcome| *outcome == "miss").count();
    assert_eq!(count(&requests), misses);
    program.await_metric(&format!(
        "kebne_cache_explorations_total{{model=\"m\",result=\"right\"}} {}",
        misses - 1
    ));
}

#[test]
fn the_learned_threshold_uses_no_answer_of_questions_whose_answers_differ() {
    let folder = folder();
    let (url, requests) = upstream(numbered);
    let program = program(
        folder.path(),
        &url,
        &semantic("error_max = 0.1\nexplore = 0.0\n"),
    );
    let outcomes = wordings(&program);
    assert!(
        outcomes.iter().all(|outcome| outcome == "miss"),
        "{outcomes:?}"
    );
    assert_eq!(count(&requests), WORDS.len());
    program.await_metric("kebne_cache_explorations_total{model=\"m\",result=\"wrong\"} 39");
}
