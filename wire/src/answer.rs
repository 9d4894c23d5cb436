//! Reads the assistant's message out of an answer, whole or streamed, so that a session can keep it.
//!
//! Only what can be sent back to a model is taken over: role, content, refusal, tool calls. Reasoning and
//! annotations are not kept.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The fields of its own message that a model accepts back.
const KEPT: [&str; 5] = ["content", "refusal", "tool_calls", "function_call", "name"];
/// Tool calls that one streamed message may hold.
const TOOL_CALLS_MAX: usize = 128;

/// A whole answer, as far as it is read; also one event of a streamed one.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: usize,
    #[serde(default, alias = "delta")]
    message: Option<Map<String, Value>>,
}

/// The assistant's message, as it comes.
#[derive(Debug, Default)]
pub struct Answer {
    message: Map<String, Value>,
    tool_calls: Vec<Value>,
    is_done: bool,
    /// Bytes of the texts in the message so far.
    size: usize,
}

impl Answer {
    /// Returns the message of a whole answer; `None` when it holds none.
    pub fn of_whole(body: &[u8]) -> Option<Value> {
        let chunk: Chunk = serde_json::from_slice(body).ok()?;
        let mut choices = chunk.choices.into_iter();
        let mut message = choices.find(|choice| choice.index == 0)?.message?;
        message.retain(|key, value| KEPT.contains(&key.as_str()) && !value.is_null());
        finished(message)
    }

    /// Reads complete events; an event that is not a chat chunk is skipped.
    pub fn feed(&mut self, events: &[u8], size_max: usize) {
        for line in events.split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                self.is_done = true;
            } else if !self.is_too_large(size_max)
                && let Ok(chunk) = serde_json::from_slice::<Chunk>(data)
            {
                let first = chunk.choices.into_iter().find(|choice| choice.index == 0);
                if let Some(delta) = first.and_then(|choice| choice.message) {
                    self.add(delta);
                }
            }
        }
    }

    /// Returns `true` if the end of the stream was read.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns `true` if the message is larger than `size_max` bytes; no more of it is read then.
    pub fn is_too_large(&self, size_max: usize) -> bool {
        self.size > size_max
    }

    /// Returns the whole message; `None` when there was none.
    pub fn finish(self) -> Option<Value> {
        let mut message = self.message;
        if !self.tool_calls.is_empty() {
            message.insert("tool_calls".to_owned(), self.tool_calls.into());
        }
        finished(message)
    }

    fn add(&mut self, delta: Map<String, Value>) {
        for (key, value) in delta {
            if KEPT.contains(&key.as_str()) {
                self.size = self.size.saturating_add(weight(&value));
            }
            match (key.as_str(), value) {
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls {
                        self.add_call(call);
                    }
                }
                (_, value) if KEPT.contains(&key.as_str()) && !value.is_null() => {
                    merge(self.message.entry(key).or_insert(Value::Null), value);
                }
                _ => {}
            }
        }
    }

    fn add_call(&mut self, call: Value) {
        let Value::Object(mut call) = call else {
            return;
        };
        let index = call.remove("index").and_then(|index| index.as_u64());
        // Servers that send each call whole give no index.
        let index = match index {
            Some(index) => usize::try_from(index).unwrap_or(usize::MAX),
            None => self.tool_calls.len(),
        };
        if index >= TOOL_CALLS_MAX {
            return;
        }
        while self.tool_calls.len() <= index {
            self.tool_calls.push(json!({}));
        }
        if let Some(Value::Object(known)) = self.tool_calls.get_mut(index) {
            for (key, value) in call {
                match key.as_str() {
                    // These come once; a server that repeats them means the same call.
                    "id" | "type" => {
                        known.insert(key, value);
                    }
                    _ => merge(known.entry(key).or_insert(Value::Null), value),
                }
            }
        }
    }
}

/// Returns the bytes of all texts in a value, names included.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| name.len() + weight(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// Joins a part to what came before: texts and lists grow, objects are joined key by key.
fn merge(known: &mut Value, part: Value) {
    match (known, part) {
        (_, Value::Null) => {}
        (Value::String(known), Value::String(part)) => known.push_str(&part),
        (Value::Array(known), Value::Array(part)) => known.extend(part),
        (Value::Object(known), Value::Object(part)) => {
            for (key, value) in part {
                merge(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (known, part) => *known = part,
    }
}

fn finished(mut message: Map<String, Value>) -> Option<Value> {
    if !["content", "refusal", "tool_calls", "function_call"]
        .iter()
        .any(|key| message.contains_key(*key))
    {
        return None;
    }
    message.insert("role".to_owned(), "assistant".into());
    Some(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn streamed(events: &[Value]) -> Option<Value> {
        let mut answer = Answer::default();
        for event in events {
            assert!(!answer.is_done());
            answer.feed(format!("data: {event}\n\n").as_bytes(), MAX);
        }
        answer.feed(b"data: [DONE]\n\n", MAX);
        assert!(answer.is_done());
        answer.finish()
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads better where it is called"
    )]
    fn delta(delta: Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta}]})
    }

    #[test]
    fn the_pieces_of_a_text_become_one() {
        let message = streamed(&[
            delta(json!({"role": "assistant", "content": ""})),
            delta(json!({"content": "Hej", "reasoning_content": "hm"})),
            json!({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
            delta(json!({"content": "då"})),
            delta(json!({})),
            json!({"choices": [], "usage": {"total_tokens": 1}}),
        ]);
        let expected = json!({"role": "assistant", "content": "Hejdå"});
        assert_eq!(message, Some(expected));
    }

    #[test]
    fn the_pieces_of_calls_go_to_their_calls() {
        let call = |index: u32, call: Value| {
            let mut call = call;
            call["index"] = index.into();
            delta(json!({"tool_calls": [call]}))
        };
        let message = streamed(&[
            delta(json!({"role": "assistant", "content": null})),
            call(
                0,
                json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            ),
            call(0, json!({"function": {"arguments": "{\"x\":"}})),
            call(
                1,
                json!({"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}),
            ),
            call(0, json!({"function": {"arguments": "1}"}})),
        ]);
        let expected = json!({"role": "assistant", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]});
        assert_eq!(message, Some(expected));
    }

    #[test]
    fn no_more_is_held_than_may_be_kept() {
        let mut answer = Answer::default();
        let event = format!("data: {}\n\n", delta(json!({"content": "x".repeat(100)})));
        for _ in 0..1000 {
            answer.feed(event.as_bytes(), 1000);
        }
        assert!(answer.is_too_large(1000));
        assert!(answer.size <= 1100, "{}", answer.size);
    }

    #[test]
    fn a_whole_message_keeps_what_can_be_sent_back() {
        let body = json!({"choices": [{"index": 0, "message": {
            "role": "assistant", "content": "Hej", "refusal": null, "annotations": [], "reasoning": "x",
        }}]});
        let message = Answer::of_whole(body.to_string().as_bytes());
        assert_eq!(
            message,
            Some(json!({"role": "assistant", "content": "Hej"}))
        );
    }

    #[test]
    fn an_answer_without_a_message_is_none() {
        assert_eq!(streamed(&[delta(json!({"role": "assistant"}))]), None);
        for body in [
            "",
            "[]",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"index":0}]}"#,
        ] {
            assert_eq!(Answer::of_whole(body.as_bytes()), None, "{body}");
        }
    }
}
