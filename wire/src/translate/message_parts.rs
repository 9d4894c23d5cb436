//! Content parts of chat messages.

use serde_json::{Value, json};

/// Returns a text part.
pub(crate) fn text_part(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

/// Returns the content of a chat message: the text itself if one plain text part is all, otherwise the parts.
/// Many servers' chat templates accept only a string, so a string is sent wherever it says the same.
pub(crate) fn joined_or_parts(mut parts: Vec<Value>) -> Value {
    if parts.is_empty() {
        return Value::from("");
    }
    if parts.len() == 1
        && let Some(text) = plain_text(&mut parts[0])
    {
        return Value::String(text);
    }
    Value::Array(parts)
}

/// Takes the text out of a part that holds nothing else.
fn plain_text(part: &mut Value) -> Option<String> {
    let map = part.as_object_mut()?;
    let is_plain = map.len() == 2 && map.get("type").is_some_and(|kind| kind == "text");
    match map.get_mut("text") {
        Some(Value::String(text)) if is_plain => Some(std::mem::take(text)),
        _ => None,
    }
}
