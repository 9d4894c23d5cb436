//! Assembles a chat call of a session: the leading instruction, the messages of earlier turns, the new messages.
//!
//! The caller's bytes stay as they came; only its list of messages grows at its front. Tokens are counted by the
//! caller of this module, who passes in a function for it.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::request::ModelRequest;

/// The reason why a call cannot be part of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TurnError {
    /// The field that is wrong.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    n: Option<Value>,
}

/// The system message that is put before a call; `None` when the call has instructions of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lead(pub Option<String>);

/// A turn in the form in which a session keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTurn {
    /// The JSON list of the messages.
    pub messages: String,
    /// Tokens of all messages.
    pub tokens: u64,
    /// `true` if a history may begin with this turn: its first message is not the result of a tool.
    pub leads: bool,
}

/// The messages that a caller adds in a turn.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// Where in the body the list of messages lies, brackets included.
    span: Range<usize>,
    /// The messages without the instructions, as they came.
    said: Vec<Box<RawValue>>,
    /// All messages, read.
    messages: Vec<Value>,
}

impl NewTurn {
    /// Reads the messages of a call.
    ///
    /// # Errors
    /// When there are no messages, one has no `role`, or more than one answer is asked for.
    pub fn read(body: &Bytes) -> Result<Self, TurnError> {
        let refuse = |param, message: &str| TurnError {
            param,
            message: message.to_owned(),
        };
        let fields: Fields<'_> = serde_json::from_slice(body)
            .map_err(|error| refuse("messages", &format!("the body cannot be read: {error}")))?;
        if fields.n.is_some_and(|n| !n.is_null() && n != 1) {
            return Err(refuse("n", "a session holds one answer: `n` must be 1"));
        }
        let list = refuse(
            "messages",
            "`messages` must be a list of messages, each with a `role`",
        );
        let raw = fields.messages.ok_or_else(|| list.clone())?;
        let each: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).map_err(|_| list.clone())?;
        let read = |message: &RawValue| {
            let message: Value = serde_json::from_str(message.get()).ok()?;
            message.get("role")?.is_string().then_some(message)
        };
        let messages: Option<Vec<Value>> = each.iter().map(|message| read(message)).collect();
        let messages = messages
            .filter(|messages| !messages.is_empty())
            .ok_or(list)?;
        let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
        let said = each.into_iter().zip(&messages);
        let said = said.filter(|(_, message)| !instructs(message));
        Ok(Self {
            span: start..start + raw.get().len(),
            said: said.map(|(raw, _)| raw).collect(),
            messages,
        })
    }

    /// Returns `true` if the call has instructions of its own.
    pub fn has_instructions(&self) -> bool {
        self.messages.iter().any(instructs)
    }

    /// Returns the text of the caller's last message.
    pub fn input(&self) -> String {
        let last = self
            .messages
            .iter()
            .rev()
            .find(|message| message["role"] == "user");
        match last.map(|message| &message["content"]) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    /// Returns the size of the messages in bytes.
    pub fn size(&self) -> usize {
        self.span.len()
    }

    /// Returns the sum of `count` over all messages.
    pub fn tokens(&self, count: impl FnMut(&Value) -> u64) -> u64 {
        self.messages.iter().map(count).sum()
    }

    /// Returns the call with the lead and the history before its own messages; all else stays as it is.
    ///
    /// Each item of `history` is the JSON list of one earlier turn's messages.
    #[must_use]
    pub fn assemble<'h>(
        &self,
        request: &ModelRequest,
        lead: &Lead,
        history: impl IntoIterator<Item = &'h [u8]>,
    ) -> ModelRequest {
        let body = &request.body;
        let before = &body[..self.span.start];
        let own = inner(&body[self.span.clone()]);
        let after = &body[self.span.end..];
        let lead = lead.0.as_ref();
        let lead = lead.map(|text| json!({"role": "system", "content": text}).to_string());
        let kept = history.into_iter().map(|list| -> &[u8] { inner(list) });
        let lists = lead.iter().map(String::as_bytes);
        let lists = lists.chain(kept).chain(std::iter::once(own));
        let mut assembled = BytesMut::with_capacity(body.len());
        assembled.put_slice(before);
        assembled.put_u8(b'[');
        let begin = assembled.len();
        for list in lists.filter(|list| !list.is_empty()) {
            if assembled.len() > begin {
                assembled.put_u8(b',');
            }
            assembled.put_slice(list);
        }
        assembled.put_u8(b']');
        let end = assembled.len();
        assembled.put_slice(after);
        let model = &request.model_span;
        let model_span = if model.start >= self.span.end {
            model.start - self.span.end + end..model.end - self.span.end + end
        } else {
            model.clone()
        };
        ModelRequest {
            body: assembled.freeze(),
            model_span,
            ..request.clone()
        }
    }

    /// Returns the turn to keep: the messages without instructions, and the answer. `count` counts a message's tokens.
    #[must_use]
    pub fn answered(&self, answer: &Value, count: impl FnMut(&Value) -> u64) -> KeptTurn {
        let said = self.said.iter().map(|message| message.get().to_owned());
        let said: Vec<String> = said.chain(std::iter::once(answer.to_string())).collect();
        let mut kept = self.messages.iter().filter(|message| !instructs(message));
        let tokens: u64 = kept.clone().chain(std::iter::once(answer)).map(count).sum();
        KeptTurn {
            tokens,
            leads: kept.next().is_none_or(|first| {
                let role = first["role"].as_str();
                !matches!(role, Some("tool" | "function"))
            }),
            messages: format!("[{}]", said.join(",")),
        }
    }
}

/// Returns `true` if the message is an instruction to the model.
fn instructs(message: &Value) -> bool {
    matches!(message["role"].as_str(), Some("system" | "developer"))
}

/// Returns what lies between the brackets of a list.
fn inner(list: &[u8]) -> &[u8] {
    let list = list.trim_ascii();
    let list = list.strip_prefix(b"[").unwrap_or(list);
    list.strip_suffix(b"]").unwrap_or(list).trim_ascii()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::request::Endpoint;

    fn request(body: &str) -> ModelRequest {
        let start = body.find("\"m\"").unwrap();
        ModelRequest::new(
            Endpoint::Chat,
            Bytes::copy_from_slice(body.as_bytes()),
            start..start + 3,
            Arc::from("r"),
        )
    }

    #[test]
    fn lead_and_history_go_before_the_callers_messages_and_all_else_stays() {
        let history =
            [br#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]"#.as_slice()];
        let lead = Lead(Some("Be \"brief\".".to_owned()));
        for body in [
            r#"{"x":1e2,"model":"m", "messages": [ {"role":"user","content":"c"} ],"y":[ ]}"#,
            r#"{"messages":[{"role":"user","content":"c"}] ,"x":1e2, "y":[ ], "model":"m"}"#,
        ] {
            let request = request(body);
            let new = NewTurn::read(&request.body).unwrap();
            let assembled = new.assemble(&request, &lead, history);
            assert_eq!(&assembled.body[assembled.model_span.clone()], b"\"m\"");
            let text = std::str::from_utf8(&assembled.body).unwrap();
            assert!(text.contains("1e2") && text.contains("[ ]"), "{text}");
            let value: Value = serde_json::from_str(text).unwrap();
            let said: Vec<&str> = value["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["content"].as_str().unwrap())
                .collect();
            assert_eq!(said, ["Be \"brief\".", "a", "b", "c"]);
            let same = new.assemble(&request, &Lead(None), []);
            assert_eq!(
                serde_json::from_slice::<Value>(&same.body).unwrap(),
                serde_json::from_str::<Value>(body).unwrap()
            );
        }
    }

    #[test]
    fn a_turn_keeps_what_was_said_and_answered_but_no_instructions() {
        let body = r#"{"model":"m","messages":[{"role":"system","content":"x"},{"role":"user","content":"a", "name":"ann"}]}"#;
        let new = NewTurn::read(&request(body).body).unwrap();
        assert!(new.has_instructions());
        assert_eq!(new.input(), "a");
        let answer = json!({"role": "assistant", "content": "b"});
        let kept = new.answered(&answer, |_| 5);
        assert!(kept.leads);
        assert_eq!(kept.tokens, 10);
        let messages: Value = serde_json::from_str(&kept.messages).unwrap();
        let expected = json!([{"role": "user", "content": "a", "name": "ann"}, answer]);
        assert_eq!(messages, expected);
        let tool =
            r#"{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"42"}]}"#;
        let tool = NewTurn::read(&request(tool).body).unwrap();
        assert!(!tool.answered(&answer, |_| 5).leads);
    }

    #[test]
    fn a_call_that_cannot_be_kept_names_its_field() {
        for (body, param) in [
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":"hi"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":["hi"]}"#, "messages"),
            (r#"{"model":"m","messages":[{"content":"hi"}]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"user"}],"n":2}"#, "n"),
        ] {
            let error = NewTurn::read(&request(body).body).unwrap_err();
            assert_eq!(error.param, param, "{body}");
        }
    }
}
