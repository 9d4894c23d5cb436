//! Members of tool calls that a Messages request brings back to the server of chat from which they came.

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value};

use crate::tool_calls::RETURNED;

/// Returns a Messages request without the members of its `tool_use` blocks that only a server of chat knows, and that
/// Anthropic's API refuses; everything else is unchanged. Returns `None` if there are none.
pub fn without_foreign(body: &[u8]) -> Option<Bytes> {
    // Most requests have none, and are not parsed.
    let mut names = RETURNED.iter();
    names.find(|name| memmem::find(body, name.as_bytes()).is_some())?;
    let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut is_changed = false;
    let turns = request.get_mut("messages").and_then(Value::as_array_mut);
    for turn in turns.into_iter().flatten() {
        let blocks = turn.get_mut("content").and_then(Value::as_array_mut);
        let blocks = blocks.into_iter().flatten();
        for block in blocks.filter_map(Value::as_object_mut) {
            if block.get("type").is_some_and(|kind| kind == "tool_use") {
                let count = block.len();
                block.retain(|key, _| !RETURNED.contains(&key.as_str()));
                is_changed |= block.len() < count;
            }
        }
    }
    is_changed.then(|| Value::Object(request).to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_of_calls_are_left_out() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"extra_content"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"extra_content":1},"extra_content":{}},{"type":"text","text":"x"}]}]}"#;
        let expected = r#"{"model":"m","messages":[{"role":"user","content":"extra_content"},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"extra_content":1}},{"type":"text","text":"x"}]}]}"#;
        assert_eq!(without_foreign(body).as_deref(), Some(expected.as_bytes()));
        assert_eq!(without_foreign(expected.as_bytes()), None);
        assert_eq!(without_foreign(b"{}"), None);
    }
}
