//! Reads the assistant's message from an answer, whole or streamed, so that a session can keep it.
//!
//! The kept message is a valid message of a request; if that is not possible, the error gives the reason. Only choice
//! 0 is read, because a session keeps one answer.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    message::{Draft, MessageError},
    surrogates::{self, Halves},
};

/// The fields of a message that can be kept; the others are not collected.
const KEPT: [&str; 8] = [
    "content",
    "refusal",
    "tool_calls",
    "function_call",
    "audio",
    "images",
    "reasoning_content",
    "thinking_blocks",
];

/// A whole answer, or one event of a streamed answer, with the fields that are read.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Value,
    #[serde(default)]
    message: Option<Map<String, Value>>,
    #[serde(default)]
    delta: Option<Map<String, Value>>,
}

/// The assistant's message, built from the events as they arrive.
#[derive(Debug, Default)]
pub struct Answer {
    draft: Draft,
    is_done: bool,
    is_unreadable: bool,
    /// `true` once a choice has arrived, even one without content.
    has_message: bool,
    /// Bytes of all texts in the message so far.
    size: usize,
    halves: Halves,
}

impl Answer {
    /// Returns the message of a whole answer.
    ///
    /// # Errors
    /// Returns an error if there is no message, or if it has no form that can be sent back.
    pub fn of_whole(body: &[u8]) -> Result<Value, MessageError> {
        let chunk: Chunk = surrogates::read(body).map_err(|_| MessageError::Unreadable)?;
        let mut choices = chunk.choices.unwrap_or_default();
        // One choice is requested, and some servers number it otherwise.
        let choice = match choices.len() {
            1 => choices.pop(),
            _ => first(choices),
        };
        let choice = choice.ok_or(MessageError::Missing)?;
        let message = choice.message.or(choice.delta);
        let message = message.ok_or(MessageError::Missing)?;
        Draft::of_whole(message).request_message()
    }

    /// Reads complete events. Stops to collect the message when it exceeds `size_max` bytes.
    pub fn feed(&mut self, events: &[u8], size_max: usize) {
        for line in events.split(|byte| *byte == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else {
                continue;
            };
            let data = data.trim_ascii();
            if data == b"[DONE]" {
                self.is_done = true;
            } else if !self.is_too_large(size_max) {
                match self.halves.read::<Chunk>(data) {
                    Ok(chunk) => self.add(chunk),
                    Err(_) => self.is_unreadable = true,
                }
            }
        }
    }

    /// Returns `true` if the end of the stream was read.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns `true` if the message is larger than `size_max` bytes. The rest of it is not read in this case.
    pub fn is_too_large(&self, size_max: usize) -> bool {
        self.size > size_max
    }

    /// Returns the whole message of a stream.
    ///
    /// # Errors
    /// Returns an error if there was no message, a part of the stream could not be read, or the message has no form
    /// that can be sent back.
    pub fn finish(self) -> Result<Value, MessageError> {
        if self.is_unreadable {
            return Err(MessageError::Unreadable);
        }
        if !self.has_message {
            return Err(MessageError::Missing);
        }
        self.draft.request_message()
    }

    fn add(&mut self, chunk: Chunk) {
        let Some(choice) = first(chunk.choices.unwrap_or_default()) else {
            return;
        };
        self.has_message = true;
        // A server that sends both repeats the whole message in each chunk.
        if let Some(mut delta) = choice.delta.or(choice.message) {
            delta.retain(|key, _| KEPT.contains(&key.as_str()));
            // Only the transcript of audio is kept.
            if let Some(Value::Object(audio)) = delta.get_mut("audio") {
                audio.retain(|key, _| key == "transcript");
            }
            let weight: usize = delta.values().map(weight).sum();
            self.size = self.size.saturating_add(weight);
            self.draft.add(delta);
        }
    }
}

/// Returns choice 0. A choice without an index has the index of its place in the list.
fn first(choices: Vec<Choice>) -> Option<Choice> {
    let mut choices = (0..).zip(choices);
    let first = choices.find(|(place, choice)| choice.index.as_u64().unwrap_or(*place) == 0);
    first.map(|(_, choice)| choice)
}

/// Returns the number of bytes of all texts in a value, including names.
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

#[cfg(test)]
mod tests;
