//! Items of earlier responses as input of the next call.
//!
//! Backends store nothing for their callers here, so that each call brings its whole history. The provider's ids of
//! items go only along where they mean something to a server that has stored nothing.

use serde_json::{Value, json, value::RawValue};

use crate::tool_calls::RETURNED;

/// Returns the items of an input: a text is one message of the user. `None` if it is neither a text nor a list.
pub(super) fn items_of(input: &RawValue) -> Option<Vec<Value>> {
    match serde_json::from_str(input.get()).ok()? {
        Value::String(text) => Some(vec![json!({"role": "user", "content": text})]),
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// Returns the items of a response and of what it answers in the form in which every server takes them back.
pub(super) fn as_input(items: Vec<Value>, response_id: &str) -> Vec<Value> {
    let own = response_id.strip_prefix("resp_").unwrap_or(response_id);
    items
        .into_iter()
        .filter_map(|item| item_as_input(item, own))
        .collect()
}

fn item_as_input(mut item: Value, own: &str) -> Option<Value> {
    let kind = item["type"].as_str().unwrap_or("message").to_owned();
    match kind.as_str() {
        "reasoning" => {
            let is_readable = item["encrypted_content"].is_string()
                || (has_content(&item) && !is_translated(&item, own));
            // A server that has not stored it looks for what it cannot read by its id, and does not find it.
            return is_readable.then_some(item);
        }
        "message" => {
            if let Some(text) = plain_text(&item) {
                return Some(json!({"role": "assistant", "content": text}));
            }
        }
        // Servers of this API do not know what servers of chat require back.
        "function_call" => {
            if let Some(item) = item.as_object_mut() {
                item.retain(|key, _| !RETURNED.contains(&key.as_str()));
            }
        }
        "function_call_output" => {}
        // The search was done here, and no server knows it.
        "file_search_call" if is_translated(&item, own) => return None,
        // The schemas of all others require the id.
        _ => return Some(item),
    }
    if let Some(item) = item.as_object_mut() {
        item.shift_remove("id");
        item.shift_remove("status");
    }
    Some(item)
}

fn has_content(item: &Value) -> bool {
    item["content"]
        .as_array()
        .is_some_and(|content| !content.is_empty())
}

/// Returns `true` if the item was made of a chat answer: its id is made of that of its response.
fn is_translated(item: &Value, own: &str) -> bool {
    item["id"].as_str().is_some_and(|id| id.contains(own))
}

/// Returns the text of an assistant's message that holds nothing else: some servers take parts of an answer back only
/// with the id of the item, others only without.
fn plain_text(item: &Value) -> Option<String> {
    if item["role"] != "assistant" {
        return None;
    }
    let parts = item["content"].as_array()?;
    let texts = parts.iter().map(|part| match part["type"].as_str() {
        Some("output_text") => part["text"].as_str(),
        _ => None,
    });
    texts.collect()
}
