//! Puts excerpts of documents before the caller's question.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::{Fields, NewTurn, Role, TurnError};
use crate::request::ModelRequest;

impl NewTurn {
    /// Reads the messages of a call that need not be kept: any number of answers may be requested.
    ///
    /// # Errors
    /// As [`NewTurn::read`].
    pub fn read_any(body: &Bytes) -> Result<Self, TurnError> {
        Self::of_fields(body, &Fields::of(body)?, usize::MAX)
    }

    /// Returns a call with a text before the content of the caller's last message; `None` if there is no such message, or it has no
    /// content. Everything else stays unchanged. The call must have the body that was read.
    #[must_use]
    pub fn with_sources(&self, request: &ModelRequest, text: &str) -> Option<ModelRequest> {
        let mut messages = self.messages.iter().rev();
        let last = messages.find(|message| message.role == Role::User)?;
        let mut message: Map<String, Value> = serde_json::from_slice(self.bytes(last)).ok()?;
        match message.get_mut("content")? {
            Value::String(own) => *own = [text, "\n", own.as_str()].concat(),
            Value::Array(parts) => parts.insert(0, json!({"type": "text", "text": text})),
            _ => return None,
        }
        let message = Value::Object(message).to_string();
        let (before, after) = (&self.body[..last.span.start], &self.body[last.span.end..]);
        let mut body = BytesMut::with_capacity(before.len() + message.len() + after.len());
        body.put_slice(before);
        body.put_slice(message.as_bytes());
        body.put_slice(after);
        let mut model_span = request.model_span.clone();
        if model_span.start >= last.span.end {
            let moved = |at: usize| at - last.span.end + last.span.start + message.len();
            model_span = moved(model_span.start)..moved(model_span.end);
        }
        Some(ModelRequest {
            body: body.freeze(),
            model_span,
            ..request.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::request::Endpoint;

    fn with(body: &str) -> Option<Value> {
        let start = body.find("\"m\"").unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = ModelRequest::new(
            Endpoint::Chat,
            body.clone(),
            start..start + 3,
            Arc::from("r"),
        );
        let turn = NewTurn::read_any(&body).unwrap();
        let request = turn.with_sources(&request, "S")?;
        assert_eq!(&request.body[request.model_span.clone()], b"\"m\"");
        Some(serde_json::from_slice(&request.body).unwrap())
    }

    #[test]
    fn the_text_stands_before_the_last_question_and_all_else_stays() {
        let body = r#"{"n":2,"messages":[{"role":"user","content":"a"},{"role":"user","content":"b","name":"x"},{"role":"assistant","content":"c"}],"model":"m","z":1e2}"#;
        let sent = with(body).unwrap();
        let expected = json!([{"role": "user", "content": "a"}, {"role": "user", "content": "S\nb", "name": "x"}, {"role": "assistant", "content": "c"}]);
        assert_eq!(sent["messages"], expected);
        let parts =
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"b"}]}]}"#;
        let sent = with(parts).unwrap();
        assert_eq!(sent["messages"][0]["content"][0]["text"], "S");
        assert_eq!(sent["messages"][0]["content"][1]["text"], "b");
        for body in [
            r#"{"model":"m","messages":[{"role":"system","content":"a"}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":null}]}"#,
        ] {
            assert_eq!(with(body), None, "{body}");
        }
    }
}
