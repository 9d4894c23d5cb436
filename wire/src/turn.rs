//! Assembles a chat call of a session: the leading instruction, the messages of earlier turns, and the new messages.
//!
//! The caller's bytes stay unchanged, except that messages are inserted at the front of its list. The messages are
//! stored once: a message is a range of the body, and only one at a time is parsed, while its tokens are counted. The
//! caller of this module passes in the function that counts tokens.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

mod bounded;
mod sources;

use bounded::Bounded;

use crate::request::ModelRequest;

/// The number of messages that one call may have. It bounds the memory for reading them, and is far above any
/// conversation.
const MESSAGES_MAX: usize = 100_000;

/// The reason why a call cannot be part of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TurnError {
    /// The invalid field.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn of(body: &'a [u8]) -> Result<Self, TurnError> {
        let fields = serde_json::from_slice(body);
        fields.map_err(|error| refuse("messages", format!("the body cannot be read: {error}")))
    }
}

/// The parts of a message that are read.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
}

/// The part of a message that a template can use.
#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    content: Value,
}

/// The author of a message, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// `system` or `developer`: an instruction to the model.
    Instruction,
    User,
    /// `tool` or `function`: the result of a call that an earlier message made.
    ToolResult,
    Other,
}

#[derive(Clone, Debug)]
struct Message {
    /// The position of the message in the body.
    span: Range<usize>,
    role: Role,
}

/// The system message that is put before a call; `None` if the call has its own instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lead(pub Option<String>);

/// A turn in the form in which a session keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTurn {
    /// The JSON list of the messages.
    pub messages: String,
    /// Tokens of all messages.
    pub tokens: u64,
    /// `true` if a history may begin with this turn, that is, if its first message is not the result of a tool.
    pub leads: bool,
}

/// The messages that a caller adds in a turn.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// The body, shared with the call until history is inserted into that.
    body: Bytes,
    /// The position of the list of messages in the body, including the brackets.
    span: Range<usize>,
    messages: Vec<Message>,
}

impl NewTurn {
    /// Reads the messages of a call. `size_max` is the size of the largest list that is read, in bytes.
    ///
    /// # Errors
    /// Returns an error if there are no messages or too many, if one has no `role`, or if more than one answer is
    /// requested.
    pub fn read(body: &Bytes, size_max: usize) -> Result<Self, TurnError> {
        let fields = Fields::of(body)?;
        let one = |n: &RawValue| n.get() == "null" || n.get().parse() == Ok(1_u8);
        if !fields.n.is_none_or(one) {
            let message = "`n` must be 1: a session keeps one answer";
            return Err(refuse("n", message.to_owned()));
        }
        Self::of_fields(body, &fields, size_max)
    }

    fn of_fields(body: &Bytes, fields: &Fields<'_>, size_max: usize) -> Result<Self, TurnError> {
        let message = "`messages` must be a list of messages, each with a `role`";
        let not_a_list = || refuse("messages", message.to_owned());
        let raw = fields.messages.ok_or_else(not_a_list)?;
        if raw.get().len() > size_max {
            let message = format!("`messages` must be at most {size_max} bytes");
            return Err(refuse("messages", message));
        }
        let each: Bounded<'_, MESSAGES_MAX> =
            serde_json::from_str(raw.get()).map_err(|_| not_a_list())?;
        if each.is_cut {
            let message = format!("`messages` must be at most {MESSAGES_MAX} messages");
            return Err(refuse("messages", message));
        }
        let read = |message: &RawValue| {
            Some(Message {
                role: Role::of(message)?,
                span: span(body, message.get()),
            })
        };
        let messages: Option<Vec<Message>> = each.items.into_iter().map(read).collect();
        let messages = messages.filter(|messages| !messages.is_empty());
        Ok(Self {
            body: body.clone(),
            span: span(body, raw.get()),
            messages: messages.ok_or_else(not_a_list)?,
        })
    }

    /// Returns the body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Returns the size of the messages that a turn keeps, in bytes: all but instructions.
    pub fn kept_size(&self) -> usize {
        let kept = self.messages.iter();
        kept.filter(|message| message.role != Role::Instruction)
            .map(|message| message.span.len().saturating_add(1))
            .sum()
    }

    /// Returns the size of everything but the messages, in bytes.
    pub fn rest_size(&self) -> usize {
        self.body.len().saturating_sub(self.span.len())
    }

    /// Returns `true` if the call has instructions of its own.
    pub fn has_instructions(&self) -> bool {
        let mut roles = self.messages.iter().map(|message| message.role);
        roles.any(|role| role == Role::Instruction)
    }

    /// Returns the text of the caller's last message.
    pub fn input(&self) -> String {
        let mut messages = self.messages.iter().rev();
        let last = messages.find(|message| message.role == Role::User);
        let content = last.and_then(|last| {
            let message: Content = serde_json::from_slice(self.bytes(last)).ok()?;
            Some(message.content)
        });
        match content {
            Some(Value::String(text)) => text,
            Some(Value::Array(parts)) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        }
    }

    /// Returns the sum of `count` over all messages.
    ///
    /// # Errors
    /// Returns an error if a message is nested too deeply to be read.
    pub fn tokens(&self, mut count: impl FnMut(&Value) -> u64) -> Result<u64, TurnError> {
        let mut tokens = 0_u64;
        for message in &self.messages {
            let message = serde_json::from_slice(self.bytes(message)).map_err(|error| {
                refuse("messages", format!("a message cannot be read: {error}"))
            })?;
            tokens = tokens.saturating_add(count(&message));
        }
        Ok(tokens)
    }

    fn bytes(&self, message: &Message) -> &[u8] {
        &self.body[message.span.clone()]
    }

    /// Returns the call with the lead and the history before its own messages; everything else stays unchanged.
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

    /// Returns the turn to keep: the messages without instructions, and the answer. `count` returns the tokens of a
    /// message.
    #[must_use]
    pub fn answered(&self, answer: &Value, mut count: impl FnMut(&Value) -> u64) -> KeptTurn {
        let mut texts = self
            .messages
            .iter()
            .filter(|message| message.role != Role::Instruction);
        let leads = texts
            .clone()
            .next()
            .is_none_or(|first| first.role != Role::ToolResult);
        let mut messages = String::with_capacity(self.span.len());
        let mut tokens = count(answer);
        messages.push('[');
        for message in &mut texts {
            let bytes = self.bytes(message);
            if let (Ok(text), Ok(message)) = (str::from_utf8(bytes), serde_json::from_slice(bytes))
            {
                messages.push_str(text);
                messages.push(',');
                tokens = tokens.saturating_add(count(&message));
            }
        }
        messages.push_str(&answer.to_string());
        messages.push(']');
        KeptTurn {
            messages,
            tokens,
            leads,
        }
    }
}

impl Role {
    /// Returns the role of a message; `None` if it is not an object with a `role`.
    fn of(message: &RawValue) -> Option<Self> {
        // The parser would accept a list as the fields in order, which no server does.
        if !message.get().starts_with('{') {
            return None;
        }
        let head: Head<'_> = serde_json::from_str(message.get()).ok()?;
        let role: String = serde_json::from_str(head.role?.get()).ok()?;
        Some(match role.as_str() {
            "system" | "developer" => Self::Instruction,
            "user" => Self::User,
            "tool" | "function" => Self::ToolResult,
            _ => Self::Other,
        })
    }
}

fn refuse(param: &'static str, message: String) -> TurnError {
    TurnError { param, message }
}

/// Returns the position of a part that is borrowed from `body`.
fn span(body: &Bytes, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

/// Returns the bytes between the brackets of a list.
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
            let new = NewTurn::read(&request.body, 1 << 20).unwrap();
            let assembled = new.assemble(&request, &lead, history);
            assert_eq!(&assembled.body[assembled.model_span.clone()], b"\"m\"");
            let text = std::str::from_utf8(&assembled.body).unwrap();
            assert!(text.contains("1e2") && text.contains("[ ]"), "{text}");
            let value: Value = serde_json::from_str(text).unwrap();
            let texts: Vec<&str> = value["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["content"].as_str().unwrap())
                .collect();
            assert_eq!(texts, ["Be \"brief\".", "a", "b", "c"]);
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
        let new = NewTurn::read(&request(body).body, 1 << 20).unwrap();
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
        let tool = NewTurn::read(&request(tool).body, 1 << 20).unwrap();
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
            (r#"{"model":"m","messages":[["user"]]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":1}]}"#, "messages"),
            (r#"{"model":"m","messages":[{"role":"user"}],"n":2}"#, "n"),
        ] {
            let error = NewTurn::read(&request(body).body, 1 << 20).unwrap_err();
            assert_eq!(error.param, param, "{body}");
        }
    }

    #[test]
    fn a_list_beyond_the_bounds_is_refused() {
        let body = r#"{"model":"m","messages":[{"role":"user"}]}"#;
        let error = NewTurn::read(&request(body).body, 16).unwrap_err();
        assert!(error.message.contains("16 bytes"), "{error}");
        let many = vec![r#"{"role":"user"}"#; MESSAGES_MAX + 1].join(",");
        let body = format!(r#"{{"model":"m","messages":[{many}]}}"#);
        let error = NewTurn::read(&request(&body).body, body.len()).unwrap_err();
        assert!(error.message.contains("100000 messages"), "{error}");
    }

    #[test]
    fn a_message_that_is_nested_too_deeply_is_an_error_where_tokens_are_counted() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":{deep}}}]}}"#);
        let new = NewTurn::read(&request(&body).body, 1 << 20).unwrap();
        assert_eq!(new.tokens(|_| 1).unwrap_err().param, "messages");
    }

    #[test]
    fn the_messages_are_ranges_of_the_callers_bytes() {
        let body = request(r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#).body;
        let new = NewTurn::read(&body, 1 << 20).unwrap();
        assert_eq!(new.body.as_ptr(), body.as_ptr());
        assert_eq!(
            new.bytes(&new.messages[0]),
            br#"{"role":"user","content":"a"}"#
        );
        assert_eq!(
            new.tokens(|message| u64::from(message["content"] == "a")),
            Ok(1)
        );
    }
}
