//! What the marks around sources stop of a corpus of prompt injections, and what they do not. The table in `docs/injections.md` is written
//! from here.

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use bytes::Bytes;
use kebne_wire::{
    request::{Endpoint, parse},
    turn::NewTurn,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::prompt::{
    defused, fenced,
    tests::{FENCE, source},
};

/// One text of somebody who wants a model to follow it.
#[derive(Deserialize)]
struct Injection {
    kind: String,
    text: String,
}

/// What became of the texts of one kind.
#[derive(Default)]
struct Outcome {
    kind: String,
    texts: usize,
    /// Those that stand outside their marks, or close them.
    outside: usize,
    /// Those that are part of a message other than the user's last one, or add one.
    instructions: usize,
    /// Those whose special tokens are passed on.
    tokens: usize,
    /// Those whose words reach the model.
    words: usize,
}

/// Special tokens of the chat templates of common models.
const TOKENS: [&str; 11] = [
    "<|im_start|>",
    "<|im_end|>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "</s>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|endoftext|>",
];

const QUESTION: &str = "How long is the lake?";

fn corpus() -> Vec<Injection> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/injections.jsonl");
    let lines = fs::read_to_string(path).unwrap();
    let read = |line: &str| serde_json::from_str(line).unwrap();
    lines.lines().map(read).collect()
}

/// Returns the messages of a call whose only source is a text, in a file that has the text as its name too.
fn messages_with(text: &str) -> (Vec<Value>, String) {
    let sources = [source(text, text), source("lake.md", "The lake is long.")];
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION},
    ]});
    let body = Bytes::from(body.to_string());
    let request = parse(Endpoint::Chat, body.clone(), Arc::from("r"))
        .unwrap()
        .request;
    let put = fenced(&FENCE, QUESTION, &sources);
    let turn = NewTurn::read_any(&body).unwrap();
    let sent = turn.with_sources(&request, &put).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    (sent["messages"].as_array().unwrap().clone(), put)
}

fn outcome_of(injection: &Injection, outcome: &mut Outcome) {
    let text = injection.text.as_str();
    let (messages, put) = messages_with(text);
    // As it is sent.
    let sent = defused(text);
    let fence = &put.split("marks with the number ").nth(1).unwrap()[..12];
    let (open, close) = (
        format!("<excerpt {fence}>\n"),
        format!("\n</excerpt {fence}>\n"),
    );
    // Each source stands once between its marks, and the text is in the first of them.
    let inside = put
        .split(open.as_str())
        .nth(1)
        .and_then(|rest| rest.split(close.as_str()).next());
    let is_inside = put.matches(&open).count() == 2
        && put.matches(&close).count() == 2
        && inside.is_some_and(|inside| inside.ends_with(&*sent));
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    let question = messages.last().unwrap()["content"].as_str().unwrap();
    let is_of_user = roles == ["system", "user"]
        && messages[0]["content"] == "Be brief."
        && question == format!("{put}\n{QUESTION}");
    outcome.texts += 1;
    outcome.outside += usize::from(!is_inside);
    outcome.instructions += usize::from(!is_of_user);
    outcome.tokens += usize::from(TOKENS.iter().any(|token| question.contains(token)));
    outcome.words += usize::from(question.contains(&*sent));
}

fn outcomes() -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for injection in corpus() {
        if outcomes
            .last()
            .is_none_or(|last| last.kind != injection.kind)
        {
            outcomes.push(Outcome {
                kind: injection.kind.clone(),
                ..Outcome::default()
            });
        }
        outcome_of(&injection, outcomes.last_mut().unwrap());
    }
    outcomes
}

const HEAD: &str = "| kind | texts | leave their marks | become a message of their own | special tokens reach the model | words reach the model |\n|---|---|---|---|---|---|\n";

fn table(outcomes: &[Outcome]) -> String {
    let mut table = HEAD.to_owned();
    for one in outcomes {
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} |",
            one.kind, one.texts, one.outside, one.instructions, one.tokens, one.words
        )
        .unwrap();
    }
    let sum = |of: fn(&Outcome) -> usize| -> usize { outcomes.iter().map(of).sum() };
    writeln!(
        table,
        "| **all** | {} | {} | {} | {} | {} |",
        sum(|one| one.texts),
        sum(|one| one.outside),
        sum(|one| one.instructions),
        sum(|one| one.tokens),
        sum(|one| one.words)
    )
    .unwrap();
    table
}

#[test]
fn no_text_leaves_its_marks_or_becomes_a_message_of_its_own() {
    let outcomes = outcomes();
    let texts: usize = outcomes.iter().map(|one| one.texts).sum();
    assert!(texts >= 40 && outcomes.len() >= 8, "{texts}");
    for one in &outcomes {
        let stopped = (one.outside, one.instructions, one.tokens);
        assert_eq!(stopped, (0, 0, 0), "{}", one.kind);
        // The marks take no words away: whether a model follows them is up to the model.
        assert_eq!(one.words, one.texts, "{}", one.kind);
    }
    let has_token = |one: &Injection| TOKENS.iter().any(|token| one.text.contains(token));
    assert!(corpus().iter().filter(|one| has_token(one)).count() > 4);
}

#[test]
fn the_table_of_the_page_is_what_the_corpus_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/injections.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("| kind |").unwrap();
    let (_, tail) = rest.split_once("\n\n").unwrap();
    let expected = format!("{head}{}\n{tail}", table(&outcomes()));
    if std::env::var_os("KEBNE_WRITE_REFERENCE").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/injections.md is not up to date: run this test with KEBNE_WRITE_REFERENCE=1"
    );
}
