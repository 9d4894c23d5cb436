//! Reads chat answers, whole or in chunks, as one sequence of pieces.
//!
//! Servers differ in where they put reasoning, in whether tool calls have an index, and in how often they repeat an
//! id. The reader removes these differences, so each translation is written once, for pieces.

mod calls;

use serde_json::{Map, Value};

use crate::{
    surrogates::Halves,
    translate::{BadAnswer, chat_reader::calls::Calls},
};

/// Bytes of unknown members that are held.
const OTHER_SIZE_MAX: usize = 1 << 20;
/// The index of the single call of the deprecated `function_call`, which has no index.
const FUNCTION_CALL_INDEX: u64 = u64::MAX;

/// Finish reasons of filters for content.
const FILTERED: [&str; 7] = [
    "blocklist",
    "content_filter",
    "image_safety",
    "prohibited_content",
    "recitation",
    "safety",
    "spii",
];

/// One step of an answer. Texts are never empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// Reasoning before the answer.
    Reasoning(String),
    /// Text of the answer, and the log probabilities of its tokens if they were requested.
    Text { text: String, logprobs: Vec<Value> },
    /// Text that declines to answer.
    Refusal(String),
    /// A tool call begins. Slots count from zero in the order in which calls begin.
    Call {
        slot: usize,
        id: String,
        name: String,
        /// Members of the call that its server requires back.
        returned: Map<String, Value>,
    },
    /// Arguments of a call, in pieces of JSON.
    Arguments { slot: usize, text: String },
}

impl Piece {
    /// Returns the bytes of the texts.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Reasoning(text) | Self::Text { text, .. } | Self::Refusal(text) => text.len(),
            Self::Call { id, name, .. } => id.len() + name.len(),
            Self::Arguments { text, .. } => text.len(),
        }
    }
}

/// The state of an answer that is being read.
#[derive(Debug, Default)]
pub(crate) struct ChatReader {
    /// The server's id of the answer; empty if it sends none.
    pub(crate) id: String,
    /// The model as the server names it; empty if it does not.
    pub(crate) model: String,
    /// The reason why the model stopped; `None` until it has.
    pub(crate) finish_reason: Option<String>,
    /// The stop sequence that ended the answer, from servers that send it.
    pub(crate) stop_sequence: Option<String>,
    /// The usage as sent by the server.
    pub(crate) usage: Option<Map<String, Value>>,
    /// Members of the answer, its choice and its message that are not used here.
    pub(crate) other: Map<String, Value>,
    other_size: usize,
    calls: Calls,
    /// The index of the choice that is read; `None` until one has arrived.
    own_index: Option<u64>,
    halves: Halves,
}

impl ChatReader {
    /// Reads the JSON of one chunk of a stream.
    pub(crate) fn parse(&mut self, data: &[u8]) -> Result<Value, BadAnswer> {
        let chunk = self.halves.read(data);
        chunk.map_err(|error| BadAnswer::NotJson(error.to_string()))
    }

    /// Reads one chunk of a stream.
    pub(crate) fn chunk(&mut self, chunk: Value) -> Result<Vec<Piece>, BadAnswer> {
        self.read(chunk, false)
    }

    /// Reads a whole answer.
    pub(crate) fn whole(&mut self, answer: Value) -> Result<Vec<Piece>, BadAnswer> {
        let choices = answer.get("choices").and_then(Value::as_array);
        let message = choices.and_then(|choices| choices.first()?.get("message"));
        if !message.is_some_and(Value::is_object) {
            return Err(BadAnswer::Lacks("choices[0].message"));
        }
        let mut pieces = self.read(answer, true)?;
        self.calls.begin_all(&self.id, &mut pieces);
        self.calls.check_names()?;
        Ok(pieces)
    }

    /// Takes `[DONE]`, which ends an answer even if the server has sent no finish reason. Returns the remaining pieces.
    pub(crate) fn done(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.calls.begin_all(&self.id, &mut pieces);
        let reason = if self.has_calls() {
            "tool_calls"
        } else {
            "stop"
        };
        if self.own_index.is_some() {
            self.finish_reason.get_or_insert_with(|| reason.to_owned());
        }
        pieces
    }

    /// Checks the end of a stream.
    ///
    /// # Errors
    /// Returns an error if the answer has neither a finish reason nor `[DONE]`, or if a tool call has no name.
    pub(crate) fn end(&self) -> Result<(), BadAnswer> {
        if self.finish_reason.is_none() {
            return Err(BadAnswer::Incomplete);
        }
        self.calls.check_names()
    }

    /// Returns `true` if a filter for content ended the answer, under any of the names of OpenAI and Google.
    pub(crate) fn is_filtered(&self) -> bool {
        let reason = self.finish_reason.as_deref();
        reason.is_some_and(|reason| FILTERED.contains(&reason))
    }

    /// Returns `true` if the answer calls a tool.
    pub(crate) fn has_calls(&self) -> bool {
        self.calls.are_any()
    }

    fn read(&mut self, answer: Value, is_whole: bool) -> Result<Vec<Piece>, BadAnswer> {
        let Value::Object(mut answer) = answer else {
            return Err(BadAnswer::Lacks("choices"));
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            return Err(BadAnswer::Reported(message_of(error)));
        }
        take_name(&mut answer, "id", &mut self.id);
        take_name(&mut answer, "model", &mut self.model);
        if let Some(Value::Object(usage)) = answer.shift_remove("usage") {
            self.usage = Some(usage);
        }
        let choices = answer.shift_remove("choices");
        // `obfuscation` is padding against traffic analysis and has no meaning.
        for known in ["object", "created", "obfuscation"] {
            answer.shift_remove(known);
        }
        self.keep_other(answer)?;
        let mut pieces = Vec::new();
        let Some(Value::Array(choices)) = choices else {
            return Ok(pieces);
        };
        // One choice is requested, and some servers number it otherwise.
        let index_of = |(position, choice): (u64, &Value)| {
            let index = choice.get("index").and_then(Value::as_u64);
            index.unwrap_or(position)
        };
        let indices: Vec<u64> = (0..).zip(&choices).map(index_of).collect();
        if self.own_index.is_none() {
            let zero = indices.iter().find(|index| **index == 0);
            self.own_index = zero.or(indices.first()).copied();
        }
        for (choice, index) in choices.into_iter().zip(indices) {
            if self.own_index == Some(index)
                && let Value::Object(choice) = choice
            {
                self.read_choice(choice, is_whole, &mut pieces)?;
            }
        }
        Ok(pieces)
    }

    fn read_choice(
        &mut self,
        mut choice: Map<String, Value>,
        is_whole: bool,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), BadAnswer> {
        choice.shift_remove("index");
        let logprobs = logprobs_of(choice.shift_remove("logprobs"));
        // A server that sends both repeats the whole message in each chunk; some send only the message.
        let (delta, message) = (choice.shift_remove("delta"), choice.shift_remove("message"));
        let (first, second) = if is_whole {
            (message, delta)
        } else {
            (delta, message)
        };
        if let Some(Value::Object(message)) = first.filter(Value::is_object).or(second) {
            self.read_message(message, is_whole, logprobs, pieces)?;
        }
        if let Some(Value::String(reason)) = choice.shift_remove("finish_reason")
            && !reason.is_empty()
        {
            // Gateways of Google's models pass on its reasons in capitals.
            self.finish_reason = Some(reason.to_ascii_lowercase());
            self.calls.begin_all(&self.id, pieces);
        }
        // vLLM and SGLang send the stop sequence that matched. A token's number is not one.
        for key in ["stop_reason", "matched_stop"] {
            if let Some(Value::String(stop)) = choice.shift_remove(key) {
                self.stop_sequence = Some(stop);
            }
        }
        self.keep_other(choice)
    }

    fn read_message(
        &mut self,
        mut message: Map<String, Value>,
        is_whole: bool,
        logprobs: Vec<Value>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), BadAnswer> {
        message.shift_remove("role");
        let reasoning = [
            message.shift_remove("reasoning_content"),
            message.shift_remove("reasoning"),
        ];
        // Some servers send the same text under both names.
        let mut texts = reasoning.into_iter().flatten().filter_map(text_of);
        pieces.extend(texts.next().map(Piece::Reasoning));
        read_content(message.shift_remove("content"), logprobs, pieces);
        let refusal = message.shift_remove("refusal").and_then(text_of);
        pieces.extend(refusal.map(Piece::Refusal));
        if let Some(Value::Array(calls)) = message.shift_remove("tool_calls") {
            for call in calls {
                self.calls.read(&call, is_whole, &self.id, pieces)?;
            }
        }
        if let Some(Value::Object(function)) = message.shift_remove("function_call") {
            let call = serde_json::json!({"index": FUNCTION_CALL_INDEX, "function": function});
            self.calls.read(&call, is_whole, &self.id, pieces)?;
        }
        self.keep_other(message)
    }

    fn keep_other(&mut self, members: Map<String, Value>) -> Result<(), BadAnswer> {
        for (key, value) in members {
            let says_something = match &value {
                Value::Null => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(list) => !list.is_empty(),
                _ => true,
            };
            if !says_something || self.other.get(&key) == Some(&value) {
                continue;
            }
            self.other_size = self.other_size.saturating_add(value.to_string().len());
            match (self.other.get_mut(&key), value) {
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                (Some(known), value) => {
                    self.other_size = self.other_size.saturating_sub(known.to_string().len());
                    *known = value;
                }
                (None, value) => {
                    self.other.insert(key, value);
                }
            }
            if self.other_size > OTHER_SIZE_MAX {
                return Err(BadAnswer::TooLarge(OTHER_SIZE_MAX));
            }
        }
        Ok(())
    }
}

/// Reads `content`: a string, or a list of parts from servers that send reasoning as a part.
fn read_content(content: Option<Value>, logprobs: Vec<Value>, pieces: &mut Vec<Piece>) {
    // A single part, instead of a list with one.
    let content = match content {
        Some(part @ Value::Object(_)) => Some(Value::Array(vec![part])),
        content => content,
    };
    match content {
        Some(Value::String(text)) if !text.is_empty() => {
            pieces.push(Piece::Text { text, logprobs });
        }
        Some(Value::Array(parts)) => {
            for mut part in parts {
                let is_reasoning = part.get("type").is_some_and(|kind| kind == "thinking");
                let key = if is_reasoning { "thinking" } else { "text" };
                let text = part.get_mut(key).map(Value::take).map(joined);
                match text {
                    Some(text) if text.is_empty() => {}
                    Some(text) if is_reasoning => pieces.push(Piece::Reasoning(text)),
                    Some(text) => pieces.push(Piece::Text {
                        text,
                        logprobs: Vec::new(),
                    }),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

/// Returns a string, or the joined texts of a list of parts.
fn joined(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect()
        }
        _ => String::new(),
    }
}

/// Returns the text if it is not empty.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn take_name(answer: &mut Map<String, Value>, key: &str, target: &mut String) {
    let value = answer.shift_remove(key).and_then(text_of);
    if target.is_empty()
        && let Some(value) = value
    {
        *target = value;
    }
}

fn logprobs_of(logprobs: Option<Value>) -> Vec<Value> {
    let content = logprobs.and_then(|mut logprobs| logprobs.get_mut("content").map(Value::take));
    match content {
        Some(Value::Array(tokens)) => tokens,
        _ => Vec::new(),
    }
}

/// Returns the message of an error object, or the error itself as JSON.
fn message_of(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str);
    let text = message.map_or_else(|| error.to_string(), str::to_owned);
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
