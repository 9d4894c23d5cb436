//! The output items of a response, as JSON.

use serde_json::{Map, Value, json};

/// Returns a content part without text.
pub(super) fn empty_part(is_refusal: bool) -> Value {
    if is_refusal {
        return json!({"type": "refusal", "refusal": ""});
    }
    json!({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
}

/// Returns a reasoning item.
pub(super) fn reasoning_item(id: &str, text: &str) -> Value {
    let content = if text.is_empty() {
        json!([])
    } else {
        json!([{"type": "reasoning_text", "text": text}])
    };
    json!({"id": id, "type": "reasoning", "summary": [], "content": content})
}

/// Returns an assistant's message.
pub(super) fn message_item(id: &str, content: &[Value], status: &str) -> Value {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

/// Returns a call of a function. `returned` are members that its server requires back with the call.
pub(super) fn call_item(
    id: &str,
    call_id: &str,
    name: &str,
    arguments: &str,
    status: &str,
    returned: &Map<String, Value>,
) -> Value {
    let mut item = json!({
        "id": id, "type": "function_call", "status": status,
        "call_id": call_id, "name": name, "arguments": arguments,
    });
    if let Some(item) = item.as_object_mut() {
        item.extend(returned.clone());
    }
    item
}
