//! Puts excerpts of documents before the caller's question in a body of the caller's own dialect.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Native, NativeApi};
use crate::members::Members;

impl NativeApi {
    /// Returns the field with the messages, and the type of their texts.
    fn messages(self) -> (&'static str, &'static str) {
        match self {
            Self::Messages => ("messages", "text"),
            Self::Responses => ("input", "input_text"),
        }
    }
}

impl Native {
    /// Returns the text of the caller's last message; empty if there is none.
    pub fn question(&self) -> String {
        let (key, kind) = self.api.messages();
        let read = || {
            let members: Members<'_> = serde_json::from_slice(&self.body).ok()?;
            let mut list: Value = serde_json::from_str(members.get(key)?.get()).ok()?;
            Some(match last_text(&mut list, kind)? {
                Value::String(text) => std::mem::take(text),
                parts => texts(parts, kind),
            })
        };
        read().unwrap_or_default()
    }

    /// Returns the body with a text before that of the caller's last message; `None` if there is no such message. Everything else stays
    /// unchanged.
    #[must_use]
    pub fn with_sources(&self, text: &str) -> Option<Self> {
        let (key, kind) = self.api.messages();
        let members: Members<'_> = serde_json::from_slice(&self.body).ok()?;
        let mut list: Value = serde_json::from_str(members.get(key)?.get()).ok()?;
        match last_text(&mut list, kind)? {
            Value::String(own) => *own = [text, "\n", own.as_str()].concat(),
            Value::Array(parts) => {
                // Results of tools must stand first.
                let at = parts.iter().position(|part| part["type"] == kind)?;
                parts.insert(at, json!({"type": kind, "text": text}));
            }
            _ => return None,
        }
        let body = members.with(|name| (name == key).then_some(Some(&list)));
        let model_span = {
            let members: Members<'_> = serde_json::from_str(&body).ok()?;
            let model = members.get("model")?.get();
            let start = model.as_ptr().addr() - body.as_ptr().addr();
            start..start + model.len()
        };
        Some(Self {
            body: Bytes::from(body),
            model_span,
            ..self.clone()
        })
    }
}

/// Returns the content of the last message of the user that has a text. A text alone is such a message.
fn last_text<'v>(list: &'v mut Value, kind: &str) -> Option<&'v mut Value> {
    if list.is_string() {
        return Some(list);
    }
    let items = list.as_array_mut()?.iter_mut().rev();
    let mut contents = items.filter_map(|item| {
        let is_message = item.get("type").is_none_or(|kind| kind == "message");
        (is_message && item["role"] == "user")
            .then(|| item.get_mut("content"))
            .flatten()
    });
    contents.find(|content| match content {
        Value::String(_) => true,
        Value::Array(parts) => parts.iter().any(|part| part["type"] == kind),
        _ => false,
    })
}

fn texts(parts: &Value, kind: &str) -> String {
    let parts = parts.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts = parts.iter().filter(|part| part["type"] == kind);
    let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(api: NativeApi, body: &Value) -> Native {
        Native {
            api,
            is_required: true,
            body: Bytes::from(body.to_string()),
            model_span: 0..0,
        }
    }

    fn with(api: NativeApi, body: &Value) -> Option<Value> {
        let put = native(api, body).with_sources("S")?;
        assert_eq!(&put.body[put.model_span.clone()], b"\"m\"");
        Some(serde_json::from_slice(&put.body).unwrap())
    }

    #[test]
    fn the_text_stands_before_the_last_question_of_each_dialect() {
        let text = json!({"x": 1e2, "input": "b", "model": "m"});
        assert_eq!(with(NativeApi::Responses, &text).unwrap()["input"], "S\nb");
        assert_eq!(native(NativeApi::Responses, &text).question(), "b");
        let items = json!({"model": "m", "input": [
            {"role": "user", "content": "a"},
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "u"}, {"type": "input_text", "text": "b"}, {"type": "input_text", "text": "c"}]},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
        ]});
        let sent = with(NativeApi::Responses, &items).unwrap();
        assert_eq!(
            sent["input"][1]["content"][1],
            json!({"type": "input_text", "text": "S"})
        );
        assert_eq!(sent["input"][1]["content"][2]["text"], "b");
        assert_eq!(native(NativeApi::Responses, &items).question(), "b\nc");
        let messages = json!({"messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]},
        ], "model": "m"});
        let sent = with(NativeApi::Messages, &messages).unwrap();
        assert_eq!(sent["messages"][0]["content"], "S\na");
        assert_eq!(sent["messages"][2], messages["messages"][2]);
        for body in [
            json!({"model": "m"}),
            json!({"model": "m", "input": []}),
            json!({"model": "m", "input": [{"role": "system", "content": "a"}]}),
        ] {
            assert_eq!(with(NativeApi::Responses, &body), None, "{body}");
            assert_eq!(native(NativeApi::Responses, &body).question(), "");
        }
    }
}
