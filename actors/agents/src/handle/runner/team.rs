//! Teams: the input goes to several agents at once, and one answer is made of theirs.

use serde_json::json;

use crate::{
    message::{Message, ToolCall},
    model::{ModelError, Reply},
    run::Run,
    spec::{ASK_PREFIX, Combine},
};

/// The beginning of results that are no answers.
const ERROR: &str = "error: ";

/// Returns what a team does in place of asking the model; `None` if the model is asked.
pub(super) fn reply(run: &Run) -> Option<Result<Reply, ModelError>> {
    if run.spec.combine == Combine::Ask {
        return None;
    }
    match run.messages.last() {
        Some(Message::User { text }) => Some(Ok(tasks(run, text))),
        Some(Message::Tool { .. }) if run.spec.combine == Combine::Vote => Some(vote(run)),
        _ => None,
    }
}

/// Gives the input to each agent.
fn tasks(run: &Run, input: &str) -> Reply {
    let calls = run.spec.agents.iter().map(|name| ToolCall {
        id: name.clone(),
        name: format!("{ASK_PREFIX}{name}"),
        arguments: json!({"task": input}).to_string(),
    });
    Reply {
        calls: calls.collect(),
        ..Reply::default()
    }
}

/// Returns the most frequent answer; of several, the one that came first. Upper and lower case, and what surrounds a text, make no difference.
fn vote(run: &Run) -> Result<Reply, ModelError> {
    let last = run.messages.iter().rev();
    let results = last.map_while(|message| match message {
        Message::Tool { text, .. } => Some(text.as_str()),
        _ => None,
    });
    let mut answers: Vec<&str> = results.filter(|text| !text.starts_with(ERROR)).collect();
    answers.reverse();
    let same = |text: &str| {
        let is_around = |letter: char| letter.is_whitespace() || letter.is_ascii_punctuation();
        text.trim_matches(is_around).to_lowercase()
    };
    let votes = |text: &str| {
        let of = same(text);
        answers.iter().filter(|other| same(other) == of).count()
    };
    let mut best: Option<(&str, usize)> = None;
    for answer in answers.iter().copied() {
        let count = votes(answer);
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((answer, count));
        }
    }
    let none = || ModelError::last("no agent of the team has answered");
    let (text, _) = best.ok_or_else(none)?;
    Ok(Reply::text(text))
}
