//! Content parts of chat messages.

use serde_json::{Value, json};

/// Returns a text part.
pub(crate) fn text_part(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

/// Returns the content of a chat message: the text itself if there is only one plain text part, otherwise the parts.
/// Many chat templates of servers accept only a string, so a string is sent whenever it has the same meaning.
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

/// Takes the text of a part that has no other member.
fn plain_text(part: &mut Value) -> Option<String> {
    let map = part.as_object_mut()?;
    let is_plain = map.len() == 2 && map.get("type").is_some_and(|kind| kind == "text");
    match map.get_mut("text") {
        Some(Value::String(text)) if is_plain => Some(std::mem::take(text)),
        _ => None,
    }
}
