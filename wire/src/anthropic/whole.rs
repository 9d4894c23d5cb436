//! A message as the events of a stream, and the events of a stream as a message, within the Messages API.

use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    anthropic::message::input_of,
    surrogates::{self, Halves},
};

/// Converts a message into the events of a stream. Returns `None` if it is not a message.
///
/// The whole content arrives at once; only the form is that of a stream.
pub fn events_of_message(message: &[u8]) -> Option<Bytes> {
    let mut message: Map<String, Value> = surrogates::read(message).ok()?;
    let Some(Value::Array(blocks)) = message.insert("content".to_owned(), json!([])) else {
        return None;
    };
    let has_tool_use = blocks.iter().any(|block| block["type"] == "tool_use");
    let mut take = |key: &str| {
        message
            .insert(key.to_owned(), Value::Null)
            .unwrap_or_default()
    };
    let (mut reason, sequence) = (take("stop_reason"), take("stop_sequence"));
    // The message is whole, also from a server that does not say why it stopped.
    if reason.is_null() {
        let usual = if has_tool_use { "tool_use" } else { "end_turn" };
        reason = usual.into();
    }
    let usage = message.get("usage").cloned().unwrap_or_else(|| json!({}));
    let mut out = String::new();
    event("message_start", json!({"message": message}), &mut out);
    for (index, block) in blocks.into_iter().enumerate() {
        let (start, deltas) = unfolded(block);
        let members = json!({"index": index, "content_block": start});
        event("content_block_start", members, &mut out);
        for delta in deltas {
            let members = json!({"index": index, "delta": delta});
            event("content_block_delta", members, &mut out);
        }
        event("content_block_stop", json!({"index": index}), &mut out);
    }
    let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
    let members = json!({"delta": delta, "usage": usage});
    event("message_delta", members, &mut out);
    event("message_stop", json!({}), &mut out);
    Some(out.into())
}

/// Returns a block as it begins, and the deltas that complete it. A block of a kind that has no deltas begins complete.
fn unfolded(mut block: Value) -> (Value, Vec<Value>) {
    let kind = block["type"].as_str().unwrap_or_default().to_owned();
    let mut deltas = Vec::new();
    let Some(members) = block.as_object_mut() else {
        return (block, deltas);
    };
    let mut take = |key: &str, empty: Value| match members.get_mut(key) {
        Some(value) if !value.is_null() => Some(std::mem::replace(value, empty)),
        _ => None,
    };
    match kind.as_str() {
        "text" => {
            let citations = take("citations", json!([]));
            let citations = citations.as_ref().and_then(Value::as_array);
            for citation in citations.into_iter().flatten() {
                deltas.push(json!({"type": "citations_delta", "citation": citation}));
            }
            let text = take("text", "".into());
            deltas.extend(text.map(|text| json!({"type": "text_delta", "text": text})));
        }
        "thinking" => {
            let text = take("thinking", "".into());
            deltas.extend(text.map(|text| json!({"type": "thinking_delta", "thinking": text})));
            let signature = take("signature", "".into());
            deltas.extend(
                signature.map(|text| json!({"type": "signature_delta", "signature": text})),
            );
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = take("input", json!({})).unwrap_or_else(|| json!({}));
            let input = input.to_string();
            deltas.push(json!({"type": "input_json_delta", "partial_json": input}));
        }
        _ => {}
    }
    (block, deltas)
}

fn event(kind: &str, mut data: Value, out: &mut String) {
    // The type comes first, as in Anthropic's streams.
    let mut members = Map::new();
    members.insert("type".to_owned(), kind.into());
    if let Some(data) = data.as_object_mut() {
        members.append(data);
    }
    let data = Value::Object(members);
    let written = write!(out, "event: {kind}\ndata: {data}\n\n");
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

/// Builds the message of a stream, as the official clients do.
#[derive(Debug, Default)]
pub struct MessageFold {
    message: Map<String, Value>,
    blocks: Vec<Block>,
    halves: Halves,
}

#[derive(Debug)]
struct Block {
    index: u64,
    content: Value,
    /// The input of a tool, in parts of JSON.
    input: String,
}

impl MessageFold {
    /// Adds complete events, each with one line of data. Events that are not known are ignored.
    pub fn add(&mut self, events: &[u8]) {
        for line in events.split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            if let Ok(event) = self.halves.read(data) {
                self.event(event);
            }
        }
    }

    /// Returns the message.
    pub fn finish(mut self) -> Bytes {
        let blocks = self.blocks.into_iter().map(|mut open| {
            if !open.input.is_empty() {
                open.content["input"] = input_of(&open.input);
            }
            open.content
        });
        self.message.insert("content".to_owned(), blocks.collect());
        Value::Object(self.message).to_string().into()
    }

    fn event(&mut self, mut event: Value) {
        let index = event["index"].as_u64();
        let mut take = |key: &str| event.get_mut(key).map(Value::take).unwrap_or_default();
        match take("type").as_str().unwrap_or_default() {
            "message_start" => {
                if let Value::Object(message) = take("message") {
                    self.message = message;
                }
            }
            "content_block_start" => {
                let (Some(index), content @ Value::Object(_)) = (index, take("content_block"))
                else {
                    return;
                };
                self.blocks.push(Block {
                    index,
                    content,
                    input: String::new(),
                });
            }
            "content_block_delta" => {
                let mut blocks = self.blocks.iter_mut();
                let open = blocks.rfind(|block| Some(block.index) == index);
                if let (Some(open), Value::Object(delta)) = (open, take("delta")) {
                    open.add(delta);
                }
            }
            "message_delta" => {
                if let Value::Object(delta) = take("delta") {
                    self.message.extend(delta);
                }
                if let Value::Object(usage) = take("usage") {
                    let counted = usage.into_iter().filter(|(_, count)| !count.is_null());
                    let known = self.message.entry("usage").or_insert_with(|| json!({}));
                    if let Some(known) = known.as_object_mut() {
                        known.extend(counted);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Block {
    fn add(&mut self, mut delta: Map<String, Value>) {
        let kind = delta.shift_remove("type").unwrap_or_default();
        let Some(block) = self.content.as_object_mut() else {
            return;
        };
        match kind.as_str().unwrap_or_default() {
            "input_json_delta" => {
                let part = delta.get("partial_json").and_then(Value::as_str);
                self.input.push_str(part.unwrap_or_default());
            }
            "citations_delta" => {
                let citation = delta.shift_remove("citation").unwrap_or_default();
                match block.get_mut("citations") {
                    Some(Value::Array(citations)) => citations.push(citation),
                    _ => {
                        block.insert("citations".to_owned(), json!([citation]));
                    }
                }
            }
            // `text_delta`, `thinking_delta`, `signature_delta` and later ones have a member of the block's name.
            _ => {
                for (key, value) in delta {
                    match (block.get_mut(&key), value) {
                        (Some(Value::String(known)), Value::String(more)) => known.push_str(&more),
                        (_, value) => {
                            block.insert(key, value);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Value {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "SIG"},
                {"type": "redacted_thinking", "data": "RRR"},
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "text", "text": "hi", "citations": [{"type": "char_location", "cited_text": "h"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}},
            ],
            "stop_reason": "stop_sequence", "stop_sequence": "X",
            "usage": {"input_tokens": 10, "output_tokens": 7, "cache_creation_input_tokens": 2},
        })
    }

    #[test]
    fn a_message_becomes_events_and_the_events_become_the_message() {
        let message = message();
        let events = events_of_message(message.to_string().as_bytes()).unwrap();
        let mut fold = MessageFold::default();
        fold.add(&events);
        let back: Value = serde_json::from_slice(&fold.finish()).unwrap();
        assert_eq!(back, message);
    }

    #[test]
    fn the_parts_of_a_stream_are_joined() {
        let events = [
            json!({"type": "message_start", "message": {"type": "message", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{\"a\""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ":1}"}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7, "input_tokens": null}}),
        ];
        let mut fold = MessageFold::default();
        for event in events {
            fold.add(format!("event: x\ndata: {event}\n\n").as_bytes());
        }
        let message: Value = serde_json::from_slice(&fold.finish()).unwrap();
        let expected = json!({
            "type": "message", "usage": {"input_tokens": 3, "output_tokens": 7}, "stop_reason": "tool_use",
            "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
        });
        assert_eq!(message, expected);
    }

    #[test]
    fn a_message_without_a_reason_has_ended() {
        let mut message = message();
        message["stop_reason"] = Value::Null;
        let events = events_of_message(message.to_string().as_bytes()).unwrap();
        let text = std::str::from_utf8(&events).unwrap();
        assert!(text.contains(r#""stop_reason":"tool_use""#), "{text}");
        assert_eq!(events_of_message(b"{}"), None);
        assert_eq!(events_of_message(b"[]"), None);
    }
}
