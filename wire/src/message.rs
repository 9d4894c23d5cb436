//! The assistant's message, built from the pieces of a stream and converted to a message that can be sent back.
//!
//! Servers differ in what they send: tool calls whose later pieces repeat the id or leave it empty, calls without an
//! index, all calls with index 0, arguments as an object, content as a list of parts, empty lists. [`Draft`] joins the
//! pieces in all of these forms. [`Draft::request_message`] returns the form that every server accepts in a request.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::tool_calls::{INVALID_JSON, Part, RETURNED, TOOL_CALLS_MAX, ToolCalls, returned};

/// The fields of the reasoning that led to tool calls, as text and as signed blocks.
const THOUGHTS: [&str; 2] = ["reasoning_content", "thinking_blocks"];

/// The reason why a message cannot be kept and sent back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The answer has no message.
    #[error("it contains no message")]
    Missing,
    /// A part of the stream could not be read, so the message may be incomplete.
    #[error("a part of it cannot be read")]
    Unreadable,
    /// The message is larger than the bound for kept messages.
    #[error("it is too large")]
    TooLarge,
    /// The content is neither text nor a list of texts.
    #[error("its content is not text")]
    Content,
    /// The answer has images, which no request can hold.
    #[error("it contains images")]
    Images,
    /// A tool call lacks a field that a request requires.
    #[error("the tool call {index} has no {field}")]
    ToolCall {
        /// The index of the call.
        index: usize,
        /// The field that is missing.
        field: &'static str,
    },
    /// There are too many tool calls.
    #[error("it holds more than {TOOL_CALLS_MAX} tool calls")]
    ToolCalls,
}

/// A message that grows with each piece.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// All fields but the tool calls, each joined over the pieces.
    fields: Map<String, Value>,
    places: ToolCalls,
    calls: Vec<Call>,
    has_too_many_calls: bool,
}

/// One tool call of a draft.
#[derive(Clone, Debug, Default)]
struct Call {
    fields: Map<String, Value>,
}

impl Draft {
    /// Creates a draft of a whole message, in which each tool call is one element.
    pub fn of_whole(message: Map<String, Value>) -> Self {
        let mut draft = Self::default();
        draft.add_piece(message, true);
        draft
    }

    /// Adds a piece of a streamed message.
    pub fn add(&mut self, delta: Map<String, Value>) {
        self.add_piece(delta, false);
    }

    fn add_piece(&mut self, delta: Map<String, Value>, is_whole: bool) {
        for (key, value) in delta {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls {
                        self.add_call(call, is_whole);
                    }
                }
                // The value arrives once; a server that repeats it sends the same value.
                ("role", value) => {
                    self.fields.insert(key, value);
                }
                (_, value) => merge(self.fields.entry(key).or_insert(Value::Null), value),
            }
        }
    }

    /// Returns `true` if the draft has no field other than a role.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.fields.keys().all(|key| key == "role")
    }

    /// Returns the message of a whole answer: all fields that arrived. `content` is null if it is absent.
    pub fn whole(self) -> Map<String, Value> {
        let mut message = self.fields;
        message
            .entry("role")
            .or_insert_with(|| Value::from("assistant"));
        message.entry("content").or_insert(Value::Null);
        if !self.calls.is_empty() {
            let calls = self
                .calls
                .into_iter()
                .map(|call| Value::Object(call.fields));
            message.insert("tool_calls".to_owned(), calls.collect());
        }
        message
    }

    /// Returns the message in the form that every server accepts in a request: `role`, `content`, and `tool_calls` or
    /// `function_call` if there are any. Annotations are left out, and reasoning, unless it led to tool calls: servers
    /// require it back with these. The clients of servers leave out what their server does not know.
    ///
    /// # Errors
    /// Returns an error if a required part has no valid form.
    pub fn request_message(mut self) -> Result<Value, MessageError> {
        if self.has_too_many_calls {
            return Err(MessageError::ToolCalls);
        }
        let content = text_of(self.fields.remove("content"))?;
        let refusal = text_of(self.fields.remove("refusal"))?;
        // No request can hold the audio or the images of an answer. What was said is text, too.
        let transcript = self.fields.remove("audio").unwrap_or_default();
        let transcript = text_of(transcript.get("transcript").cloned())?;
        let images = self.fields.get("images").and_then(Value::as_array);
        if images.is_some_and(|images| !images.is_empty()) {
            return Err(MessageError::Images);
        }
        let texts = [content, refusal, transcript].into_iter().flatten();
        let text = texts.into_iter().find(|text| !text.is_empty());
        let mut message = Map::new();
        message.insert("role".to_owned(), Value::from("assistant"));
        let calls = self.calls.into_iter().enumerate();
        let mut ids = BTreeSet::new();
        let calls: Vec<Value> = calls
            .map(|(index, call)| call.request_call(index, &mut ids))
            .collect::<Result<_, _>>()?;
        let function = self.fields.remove("function_call");
        let function = function.filter(|function| !calls_nothing(function));
        let content = match text {
            Some(text) => Value::from(text),
            // A message with tool calls may have no content; any other message must have one.
            None if calls.is_empty() && function.is_none() => Value::from(""),
            None => Value::Null,
        };
        message.insert("content".to_owned(), content);
        if !calls.is_empty() {
            for key in THOUGHTS {
                if let Some(thoughts) = self.fields.remove(key).filter(says_something) {
                    message.insert(key.to_owned(), thoughts);
                }
            }
            message.insert("tool_calls".to_owned(), calls.into());
        } else if let Some(Value::Object(function)) = function {
            let function = request_function(&function, 0)?;
            message.insert("function_call".to_owned(), function);
        }
        Ok(message.into())
    }

    fn add_call(&mut self, call: Value, is_whole: bool) {
        let part = Part::of(&call);
        let place = if is_whole {
            self.places.next(&part)
        } else {
            self.places.place(&part)
        };
        let Some(place) = place else {
            self.has_too_many_calls = true;
            return;
        };
        if place == self.calls.len() {
            self.calls.push(Call::default());
        }
        let Value::Object(mut call) = call else {
            return;
        };
        call.remove("index");
        let known = &mut self.calls[place].fields;
        for (key, value) in call {
            match (key.as_str(), value) {
                // A later piece without an id belongs to the same call.
                (_, Value::Null) => {}
                ("id" | "type", Value::String(text)) if text.is_empty() => {}
                ("id" | "type", value) => {
                    known.insert(key, value);
                }
                (key, value) if RETURNED.contains(&key) => {
                    known.insert(key.to_owned(), value);
                }
                (_, Value::Object(fields)) => {
                    let held = known.entry(key).or_insert_with(|| json!({}));
                    if let Value::Object(held) = held {
                        add_function(held, fields);
                    }
                }
                (_, value) => merge(known.entry(key).or_insert(Value::Null), value),
            }
        }
    }
}

impl Call {
    /// Returns the call in the form of a request. `ids` are those of the calls before it.
    fn request_call(
        mut self,
        index: usize,
        ids: &mut BTreeSet<String>,
    ) -> Result<Value, MessageError> {
        let id = self.fields.get("id").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty() && !ids.contains(*id));
        // A server that sends no id, or one for several calls, accepts any.
        let mut id = id.map_or_else(|| format!("call_{index}"), str::to_owned);
        while !ids.insert(id.clone()) {
            id.push('_');
        }
        if self.fields.get("type").and_then(Value::as_str) == Some("custom") {
            let custom = self.fields.remove("custom").unwrap_or_default();
            let text = |key| custom.get(key).and_then(Value::as_str);
            let missing = |field| MessageError::ToolCall { index, field };
            let name = text("name").filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| missing("name"))?;
            let input = text("input").ok_or_else(|| missing("input"))?;
            return Ok(
                json!({"id": id, "type": "custom", "custom": {"name": name, "input": input}}),
            );
        }
        let function = match self.fields.remove("function") {
            Some(Value::Object(function)) => function,
            _ => Map::new(),
        };
        let function = request_function(&function, index)?;
        let mut call = Map::new();
        call.insert("id".to_owned(), id.into());
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), function);
        call.extend(returned(&self.fields));
        Ok(call.into())
    }
}

/// Returns the name and the arguments of a call in the form of a request.
fn request_function(function: &Map<String, Value>, index: usize) -> Result<Value, MessageError> {
    let name = function.get("name").and_then(Value::as_str);
    let name = name
        .filter(|name| !name.is_empty())
        .ok_or(MessageError::ToolCall {
            index,
            field: "name",
        })?;
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => object_text(text),
        // Some servers send an object instead of its text.
        Some(value) => object_text(&value.to_string()),
    };
    Ok(json!({"name": name, "arguments": arguments}))
}

/// Returns arguments as the text of a JSON object, which servers require in a request. Other arguments, such as those
/// of a call that was cut off, become its only member, as Anthropic's documentation has it.
fn object_text(arguments: &str) -> String {
    let arguments = arguments.trim();
    if arguments.is_empty() || arguments == "null" {
        return "{}".to_owned();
    }
    match serde_json::from_str::<Map<String, Value>>(arguments) {
        Ok(_) => arguments.to_owned(),
        Err(_) => json!({INVALID_JSON: arguments}).to_string(),
    }
}

/// Returns `true` unless a value is empty.
fn says_something(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

/// Returns `true` for the empty `function_call` that some servers send with every message.
fn calls_nothing(function: &Value) -> bool {
    match function {
        Value::Object(function) => {
            let name = function.get("name").and_then(Value::as_str);
            name.is_none_or(str::is_empty)
        }
        _ => true,
    }
}

/// Joins a piece of a call's function. Texts are appended, but a repeated name is kept once.
fn add_function(held: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (key, value) in piece {
        if value.is_null() || (key == "name" && held.get("name") == Some(&value)) {
            continue;
        }
        merge(held.entry(key).or_insert(Value::Null), value);
    }
}

/// Returns the text of a content: a string as it is, a list of parts as the texts of its parts. Reasoning is left out.
fn text_of(content: Option<Value>) -> Result<Option<String>, MessageError> {
    match content {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(part @ Value::Object(_)) => text_of(Some(Value::Array(vec![part]))),
        Some(Value::Array(parts)) => {
            let mut texts = String::new();
            for part in parts {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
                if matches!(kind, "thinking" | "reasoning" | "redacted_thinking") {
                    continue;
                }
                let text = part.as_str().or_else(|| part.get("text")?.as_str());
                let text = text.or_else(|| part.get("refusal")?.as_str());
                texts += text.ok_or(MessageError::Content)?;
            }
            Ok(Some(texts))
        }
        Some(_) => Err(MessageError::Content),
    }
}

/// Joins a part to the earlier ones. Texts and lists are appended, and objects are joined key by key.
pub(crate) fn merge(known: &mut Value, part: Value) {
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

#[cfg(test)]
mod tests;
