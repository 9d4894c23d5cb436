//! The answer of one round.

use serde_json::{Map, Value, json};

use crate::{
    tool_calls::RETURNED,
    translate::{BadAnswer, ChatReader, Piece},
};

/// Bytes of an answer that are held: the next round sends them back.
const SIZE_MAX: usize = 32 << 20;

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoundCall {
    /// The model's id of the call.
    pub id: String,
    /// The name under which the tool is offered.
    pub name: String,
    /// The arguments as JSON text.
    pub arguments: String,
    /// Members that the server requires back.
    pub(super) returned: Map<String, Value>,
}

/// An answer that is being read.
#[derive(Debug, Default)]
pub struct Round {
    pub(super) reader: ChatReader,
    pub(super) text: String,
    pub(super) reasoning: String,
    pub(super) refusal: String,
    pub(super) logprobs: Vec<Value>,
    calls: Vec<RoundCall>,
    size: usize,
}

/// The end of a round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundEnd {
    /// The message, to be sent back with the results of its calls.
    pub message: Value,
    /// The calls.
    pub calls: Vec<RoundCall>,
    /// The text.
    pub text: String,
    /// Tokens of the input and of the output; `None` if the server has not reported them.
    pub tokens: Option<(u64, u64)>,
}

impl RoundCall {
    /// Creates a call.
    pub fn new(id: &str, name: &str, arguments: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            returned: Map::new(),
        }
    }

    /// Returns the call as chat messages have it.
    pub fn shown(&self) -> Value {
        let arguments = if self.arguments.trim().is_empty() {
            "{}"
        } else {
            &self.arguments
        };
        let function = json!({"name": self.name, "arguments": arguments});
        let mut call = json!({"id": self.id, "type": "function", "function": function});
        if let Some(call) = call.as_object_mut() {
            call.extend(self.returned.clone());
        }
        call
    }
}

impl Round {
    /// Returns the text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Keeps what a piece adds, and returns the delta that reports it; `None` for what belongs to a call.
    pub(super) fn add(&mut self, piece: Piece) -> Result<Option<(Value, Vec<Value>)>, BadAnswer> {
        self.size = self.size.saturating_add(piece.size());
        if self.size > SIZE_MAX {
            return Err(BadAnswer::TooLarge(SIZE_MAX));
        }
        let delta = match piece {
            Piece::Reasoning(text) => {
                self.reasoning.push_str(&text);
                json!({"reasoning_content": text})
            }
            Piece::Text { text, logprobs } => {
                self.text.push_str(&text);
                self.logprobs.extend(logprobs.iter().cloned());
                return Ok(Some((json!({"content": text}), logprobs)));
            }
            Piece::Refusal(text) => {
                self.refusal.push_str(&text);
                json!({"refusal": text})
            }
            Piece::Call {
                slot,
                id,
                name,
                returned,
            } => {
                debug_assert_eq!(slot, self.calls.len(), "slots count from zero");
                self.calls.push(RoundCall {
                    id,
                    name,
                    arguments: String::new(),
                    returned,
                });
                return Ok(None);
            }
            Piece::Arguments { slot, text } => {
                if let Some(call) = self.calls.get_mut(slot) {
                    call.arguments.push_str(&text);
                }
                return Ok(None);
            }
        };
        Ok(Some((delta, Vec::new())))
    }

    /// Returns what the round has ended with.
    pub(super) fn end(&mut self) -> RoundEnd {
        let tokens = self.reader.usage.as_ref().map(|usage| {
            let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
            (count("prompt_tokens"), count("completion_tokens"))
        });
        RoundEnd {
            message: self.message(),
            calls: std::mem::take(&mut self.calls),
            text: std::mem::take(&mut self.text),
            tokens,
        }
    }

    fn message(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        let text = (!self.text.is_empty()).then(|| Value::from(self.text.as_str()));
        message.insert("content".to_owned(), text.into());
        if !self.reasoning.is_empty() {
            let text = self.reasoning.as_str();
            message.insert("reasoning_content".to_owned(), text.into());
        }
        if !self.calls.is_empty() {
            let calls: Vec<Value> = self.calls.iter().map(RoundCall::shown).collect();
            message.insert("tool_calls".to_owned(), calls.into());
        }
        // Servers require their signatures back with the calls.
        for key in RETURNED.into_iter().chain(["thinking_blocks"]) {
            if let Some(value) = self.reader.other.get(key) {
                message.insert(key.to_owned(), value.clone());
            }
        }
        message.into()
    }
}
