//! Puts a call together: what leads it, what was said before, what is said now.
//!
//! The caller's bytes stay as they came; only its list of messages grows at its front.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use kebne_actors::context_manager::store::{Turn, TurnContent};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::tokens::Tokenizer;
use crate::llm::ModelRequest;

/// Why a call cannot belong to a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
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

/// The text that leads a call, as a system message; none when the call has one of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lead(pub Option<String>);

/// What a caller says in a turn.
#[derive(Clone, Debug)]
pub struct NewTurn {
    /// Where in the body the list of messages lies, brackets included.
    span: Range<usize>,
    /// The messages but for the instructions, as they came.
    said: Vec<Box<RawValue>>,
    /// All messages, read.
    messages: Vec<Value>,
}

impl NewTurn {
    /// Reads the messages of a call.
    ///
    /// # Errors
    /// When there are none, or more than one answer is asked for.
    pub fn read(body: &Bytes) -> Result<Self, Refusal> {
        let refuse = |param, message: &str| Refusal {
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

    /// Says whether the call brings its own instructions.
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

    /// Counts the tokens of all messages.
    pub fn tokens(&self, tokenizer: Tokenizer) -> u64 {
        let each = self.messages.iter();
        each.map(|message| tokenizer.count_message(message)).sum()
    }

    /// Returns the call with the lead and the history before its own messages; all else stays as it is.
    #[must_use]
    pub fn assemble(&self, request: &ModelRequest, lead: &Lead, history: &[Turn]) -> ModelRequest {
        let body = &request.body;
        let before = &body[..self.span.start];
        let own = inner(&body[self.span.clone()]);
        let after = &body[self.span.end..];
        let lead = lead.0.as_ref();
        let lead = lead.map(|text| json!({"role": "system", "content": text}).to_string());
        let kept = history.iter().map(|turn| inner(&turn.content.messages));
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

    /// Returns the turn as it is kept: what was said but for instructions, and the answer.
    #[must_use]
    pub fn answered(&self, answer: &Value, tokenizer: Tokenizer) -> TurnContent {
        let said = self.said.iter().map(|message| message.get().to_owned());
        let said: Vec<String> = said.chain(std::iter::once(answer.to_string())).collect();
        let mut kept = self.messages.iter().filter(|message| !instructs(message));
        let tokens: u64 = kept
            .clone()
            .chain(std::iter::once(answer))
            .map(|message| tokenizer.count_message(message))
            .sum();
        TurnContent {
            tokens,
            leads: kept.next().is_none_or(|first| {
                let role = first["role"].as_str();
                !matches!(role, Some("tool" | "function"))
            }),
            messages: format!("[{}]", said.join(",")).into(),
        }
    }
}

fn instructs(message: &Value) -> bool {
    matches!(message["role"].as_str(), Some("system" | "developer"))
}

/// Returns what lies between the brackets of a list.
fn inner(list: &[u8]) -> &[u8] {
    let list = list.trim_ascii();
    let list = list.strip_prefix(b"[").unwrap_or(list);
    list.strip_suffix(b"]").unwrap_or(list).trim_ascii()
}
