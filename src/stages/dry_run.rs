//! Shows a call as its lane would get it, with the tokens of each part, and sends nothing.

use std::collections::BTreeMap;

use actix_web::{
    body::BoxBody,
    http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    web::Data,
};
use kebne_context::tokens::Tokenizer;
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    settings::server::Scope,
    stages::{
        Stage,
        header::text,
        lane::Answer,
        retrieve::{self, HIDDEN},
        route::Routed,
    },
    state::State,
    surface::error::ApiError,
};

/// The header that asks for a dry run.
const DRY_RUN: &str = "x-kebne-dry-run";
/// The parts that stages put into a call, in the order in which they are shown.
const PARTS: [&str; 6] = ["lead", "summary", "facts", "recall", "history", "sources"];

/// Ends a call before it uses budgets, the cache or a model.
pub(super) struct DryRun<'a> {
    state: &'a Data<State>,
}

/// Returns `true` if the call is only to be shown.
///
/// # Errors
/// Returns an error if the header has another value than `true` or `false`.
pub(super) fn is_wanted(headers: &HeaderMap) -> Result<bool, ApiError> {
    match text(headers, DRY_RUN)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => {
            let message = format!("`{DRY_RUN}` must be `true` or `false`");
            Err(ApiError::bad_request(Some(DRY_RUN), message))
        }
    }
}

impl<'a> DryRun<'a> {
    pub(super) fn new(state: &'a Data<State>) -> Self {
        Self { state }
    }
}

impl Stage for DryRun<'_> {
    type In = Routed;
    type Out = Answer;

    async fn run(&self, routed: Routed) -> Result<Answer, ApiError> {
        let shaped = routed.shaped;
        let notes = shaped.call.notes.clone();
        let body = shaped.request.body.clone();
        let tokenizer = self.state.context_settings.tokenizer;
        let mut parts = notes.take_parts();
        let prompt = notes.prompt_header();
        let prompt = prompt.and_then(|prompt| prompt.to_str().map(str::to_owned).ok());
        let hidden_prompt = prompt.clone().filter(|_| !may_read_prompts(&shaped.caller));
        let mut is_hidden = false;
        for (name, _) in parts.iter_mut().filter(|(name, _)| *name == HIDDEN) {
            (*name, is_hidden) = ("sources", true);
        }
        let read = move || {
            let mut request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let tokens = count(&request, &parts, tokenizer);
            if is_hidden && !hide(&mut request, tokenizer) {
                // A guard has changed the marks, so that nothing tells the texts of others from the caller's.
                request = Value::Null;
            }
            if let Some(prompt) = hidden_prompt {
                hide_lead(&mut request, &prompt, tokens["lead"]);
            }
            (request, tokens)
        };
        let size = shaped.request.body.len();
        let (request, tokens) = self.state.off_loop.read(size, read).await?;
        let sent = shaped.sent.as_ref();
        let (turns, left_out) = sent.map_or((0, 0), |sent| (sent.turns, sent.left_out));
        let mut shown = json!({
            "object": "dry_run",
            "model": shaped.model,
            "operation": notes.operation(),
            "stream": notes.is_streamed(),
            "prompt": prompt,
            "history": {"turns": turns, "left_out": left_out},
            "tokens": tokens,
            "request": request,
        });
        let mut found = shaped.retrieved.iter();
        if let Some((_, sources)) = found.find(|(name, _)| *name == "x-kebne-sources") {
            let sources: Value = serde_json::from_slice(sources.as_bytes()).unwrap_or_default();
            shown["sources"] = sources;
        }
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                HeaderName::from_static(DRY_RUN),
                HeaderValue::from_static("true"),
            ),
        ];
        Ok(Answer::new(headers, BoxBody::new(shown.to_string())))
    }
}

/// Returns `true` if a caller may read the texts of prompts. Templates are the operator's, and only operators list them.
pub(crate) fn may_read_prompts(caller: &Caller) -> bool {
    caller.require(Scope::Admin).is_ok()
}

/// Returns what stands in the place of the text of a prompt that a caller may not read.
pub(crate) fn in_place_of(prompt: &str, tokens: u64) -> String {
    format!("(the prompt {prompt}: {tokens} tokens that this key may not read)")
}

/// Takes the text of a prompt out of a call, which stands first, and what the session knows behind it.
fn hide_lead(request: &mut Value, prompt: &str, tokens: u64) {
    let first = request.pointer_mut("/messages/0");
    match first.filter(|message| message["role"] == "system") {
        Some(message) => {
            message["content"] = in_place_of(prompt, tokens).into();
        }
        // It stands where it is not known.
        None => *request = Value::Null,
    }
}

/// Takes the texts of sources out of a call; returns `true` if it had some.
fn hide(value: &mut Value, tokenizer: Tokenizer) -> bool {
    match value {
        Value::String(text) => match retrieve::hidden(text, tokenizer) {
            Some(shown) => {
                *text = shown;
                true
            }
            None => false,
        },
        Value::Array(list) => hide_each(list.iter_mut(), tokenizer),
        Value::Object(members) => hide_each(members.values_mut(), tokenizer),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Takes them out of each value, whatever the others have.
fn hide_each<'v>(values: impl Iterator<Item = &'v mut Value>, tokenizer: Tokenizer) -> bool {
    let mut has = false;
    for value in values {
        has |= hide(value, tokenizer);
    }
    has
}

/// Returns the tokens of each part: those that stages have put in, the caller's own messages, which are the rest, and tools.
fn count(
    request: &Value,
    parts: &[(&'static str, u64)],
    tokenizer: Tokenizer,
) -> BTreeMap<&'static str, u64> {
    let text = |value: &Value| match value {
        Value::Null => 0,
        Value::String(text) => tokenizer.count(text),
        other => tokenizer.count(&other.to_string()),
    };
    let all = match &request["messages"] {
        Value::Array(messages) => {
            let messages = messages.iter();
            messages
                .map(|message| tokenizer.count_message(message))
                .sum()
        }
        _ => ["prompt", "input", "instructions", "query", "documents"]
            .iter()
            .map(|field| text(&request[field]))
            .sum::<u64>(),
    };
    let mut tokens: BTreeMap<&'static str, u64> = PARTS.iter().map(|part| (*part, 0)).collect();
    for (part, count) in parts {
        *tokens.entry(part).or_default() += count;
    }
    let inserted: u64 = tokens.values().sum();
    let tools = text(&request["tools"]);
    tokens.insert("messages", all.saturating_sub(inserted));
    tokens.insert("tools", tools);
    tokens.insert("total", all.max(inserted).saturating_add(tools));
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_prompt_leaves_nothing_of_its_text() {
        let own = json!({"role": "user", "content": "Where am I?"});
        let lead = json!({"role": "system", "content": "You are a guide."});
        let mut request = json!({"messages": [lead, own]});
        hide_lead(&mut request, "guide@1", 5);
        let first = request["messages"][0]["content"].as_str().unwrap();
        assert!(first.contains("guide@1: 5 tokens"), "{first}");
        assert_eq!(request["messages"][1], own);
        let mut elsewhere = json!({"input": "x", "instructions": "You are a guide."});
        hide_lead(&mut elsewhere, "guide@1", 5);
        assert_eq!(elsewhere, Value::Null);
    }

    #[test]
    fn the_parts_are_together_the_total() {
        let request = json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What is the highest mountain of Sweden?"},
            ],
            "tools": [{"type": "function", "function": {"name": "look_up"}}],
        });
        let tokenizer = Tokenizer::O200kBase;
        let tokens = count(&request, &[("lead", 3), ("sources", 2)], tokenizer);
        let sum: u64 = tokens
            .iter()
            .filter(|(part, _)| **part != "total")
            .map(|(_, count)| count)
            .sum();
        assert_eq!(tokens["total"], sum);
        assert_eq!((tokens["lead"], tokens["facts"]), (3, 0));
        assert!(tokens["messages"] > 5 && tokens["tools"] > 5, "{tokens:?}");
        let completion = json!({"prompt": "What is the highest mountain?"});
        assert!(count(&completion, &[], tokenizer)["messages"] > 4);
    }
}
