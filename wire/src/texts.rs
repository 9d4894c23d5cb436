//! The texts in requests, answers and events of all dialects: where each one is, and what it contains.
//!
//! A text is a string that a person or a model has written. Names of roles and types, ids, signatures and the data of
//! images and files are not texts. An unknown member counts as a text, so that a new member of a dialect is not
//! overlooked. A text can be replaced without changing any other byte.

mod delta;
mod walk;

use std::ops::Range;

use serde_json::value::RawValue;

pub use delta::{Delta, Ends, EventTexts, of_event};
use walk::{Entries, Walk, entries};

/// The members of a request that contain what the model is asked. All others are asides.
const REQUEST: [&str; 10] = [
    "messages",
    "input",
    "prompt",
    "system",
    "instructions",
    "suffix",
    "query",
    "documents",
    "texts",
    "prediction",
];
/// The members of a request that are constants of a dialect, or ids.
const CONSTANTS: [&str; 11] = [
    "model",
    "previous_response_id",
    "conversation",
    "encoding_format",
    "service_tier",
    "truncation",
    "modalities",
    "include",
    "reasoning_effort",
    "verbosity",
    "voice",
];
/// The asides with a form of their own, in which not every string is a text. In those that are not known, every string is.
const ASIDES: [&str; 16] = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "text",
    "output_config",
    "output_format",
    "mcp_servers",
    "options",
    "parameters",
    "stream_options",
    "logit_bias",
    "thinking",
    "reasoning",
    "audio",
];
/// The members of a whole answer that contain texts: those of chat and completions, of messages, and of responses.
const ANSWER: [&str; 3] = ["choices", "content", "output"];

/// The JSON cannot be read: it is not an object, or it is nested too deeply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JSON cannot be read")]
pub struct Unreadable;

/// The form of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A text as it is.
    Plain,
    /// JSON in a string: the arguments of a tool call.
    Json,
    /// A number among the arguments of a tool call.
    Number,
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its position in the JSON, including the quotes.
    pub span: Range<usize>,
    /// The text without escapes. Half characters are U+FFFD.
    pub value: String,
    /// Its form.
    pub form: Form,
    /// `true` if it is not what the model is asked, but goes along: the name of a person or a tool, the definition of a tool, a
    /// stop sequence, metadata.
    pub is_aside: bool,
}

/// The texts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestTexts {
    /// The texts, in the order of the body.
    pub texts: Vec<Text>,
    /// The number of messages or items.
    pub messages: usize,
    /// The number of images.
    pub images: usize,
    /// `true` if a prompt or an input is given as the numbers of its tokens.
    pub has_token_ids: bool,
}

/// Returns the texts of a request.
///
/// # Errors
/// Returns an error if the body cannot be read.
pub fn of_request(body: &[u8]) -> Result<RequestTexts, Unreadable> {
    let text = str::from_utf8(body).map_err(|_| Unreadable)?;
    let mut walk = Walk::new(text).for_request();
    let mut request = RequestTexts::default();
    for (key, value) in entries(text)?.0 {
        if !REQUEST.contains(&key.as_ref()) {
            walk.aside(value, &key)?;
            continue;
        }
        if matches!(&*key, "messages" | "input") {
            request.messages += walk::length(value);
        }
        if matches!(&*key, "prompt" | "input") && walk::is_token_ids(value) {
            request.has_token_ids = true;
            continue;
        }
        walk.value(value, &key)?;
    }
    request.images = walk.images;
    request.texts = walk.texts;
    Ok(request)
}

/// Returns the texts of a whole answer.
///
/// # Errors
/// Returns an error if the body cannot be read.
pub fn of_answer(body: &[u8]) -> Result<Vec<Text>, Unreadable> {
    let text = str::from_utf8(body).map_err(|_| Unreadable)?;
    let mut walk = Walk::new(text);
    for (key, value) in entries(text)?.0 {
        if ANSWER.contains(&key.as_ref()) {
            walk.value(value, &key)?;
        }
    }
    Ok(walk.texts)
}

/// Returns the positions of the probabilities of tokens in a whole answer or an event. They repeat its text.
pub fn probabilities(json: &[u8]) -> Vec<Range<usize>> {
    if memchr::memmem::find(json, b"\"logprobs\"").is_none() {
        return Vec::new();
    }
    let Ok(text) = str::from_utf8(json) else {
        return Vec::new();
    };
    let mut walk = Walk::new(text).for_probabilities();
    let _best_effort = serde_json::from_str::<&RawValue>(text).map(|raw| walk.value(raw, ""));
    walk.probabilities
}

/// Returns the strings and the long numbers in JSON that a model has written, such as the arguments of a tool call;
/// `None` if it is not JSON.
pub fn of_json(json: &str) -> Option<Vec<Text>> {
    let raw: &RawValue = serde_json::from_str(json).ok()?;
    let mut walk = Walk::new(json);
    walk.free(raw).ok()?;
    Some(walk.texts)
}

/// Returns JSON in which values are replaced; all other bytes stay unchanged. `edits` are in the order of their
/// positions and do not overlap.
pub fn replaced(json: &[u8], edits: &[(Range<usize>, Replacement)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut copied = 0;
    for (span, replacement) in edits {
        debug_assert!(copied <= span.start, "edits are in order");
        out.extend_from_slice(json.get(copied..span.start).unwrap_or_default());
        match replacement {
            Replacement::Text(text) => {
                let quoted = serde_json::Value::from(text.as_str()).to_string();
                out.extend_from_slice(quoted.as_bytes());
            }
            Replacement::Null => out.extend_from_slice(b"null"),
        }
        copied = span.end;
    }
    out.extend_from_slice(json.get(copied..).unwrap_or_default());
    out
}

/// A value that replaces another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// A string with this text.
    Text(String),
    /// `null`.
    Null,
}

/// Returns the position in replaced JSON of something that is not replaced.
pub fn moved(span: &Range<usize>, edits: &[(Range<usize>, Replacement)]) -> Range<usize> {
    let mut shifted = span.clone();
    for (edit, replacement) in edits.iter().filter(|(edit, _)| edit.end <= span.start) {
        let size = match replacement {
            Replacement::Text(text) => serde_json::Value::from(text.as_str()).to_string().len(),
            Replacement::Null => 4,
        };
        shifted.start = shifted.start + size - edit.len();
        shifted.end = shifted.end + size - edit.len();
    }
    shifted
}

/// Reads the members of an object; used by tests and by the readers of events.
fn object(text: &str) -> Result<Entries<'_>, Unreadable> {
    entries(text)
}

#[cfg(test)]
mod tests;
