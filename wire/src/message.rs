//! The assistant's message, built from the pieces of a stream and converted to a message that can be sent back.
//!
//! Servers differ in what they send: tool calls whose later pieces repeat the id or leave it empty, calls without an
//! index, all calls with index 0, arguments as an object, content as a list of parts, empty lists. [`Draft`] joins the
//! pieces in all of these forms. [`Draft::request_message`] returns the form that every server accepts in a request.

use serde_json::{Map, Value, json};

/// The number of tool calls that one message may have.
const TOOL_CALLS_MAX: usize = 128;

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
    calls: Vec<Call>,
    has_too_many_calls: bool,
}

/// One tool call of a draft.
#[derive(Clone, Debug, Default)]
struct Call {
    /// The index that the server uses.
    index: Option<u64>,
    fields: Map<String, Value>,
}

impl Draft {
    /// Adds a piece of a streamed message, or a whole message.
    pub fn add(&mut self, delta: Map<String, Value>) {
        for (key, value) in delta {
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("tool_calls", Value::Array(calls)) => {
                    for call in calls {
                        self.add_call(call);
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
    /// `function_call` if there are any. Reasoning and annotations are left out.
    ///
    /// # Errors
    /// Returns an error if a required part has no valid form.
    pub fn request_message(mut self) -> Result<Value, MessageError> {
        if self.has_too_many_calls {
            return Err(MessageError::ToolCalls);
        }
        let content = text_of(self.fields.remove("content"))?;
        let refusal = text_of(self.fields.remove("refusal"))?;
        let text = content.filter(|text| !text.is_empty()).or(refusal);
        let mut message = Map::new();
        message.insert("role".to_owned(), Value::from("assistant"));
        let calls = self.calls.into_iter().enumerate();
        let calls: Vec<Value> = calls
            .map(|(index, call)| call.request_call(index))
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
            message.insert("tool_calls".to_owned(), calls.into());
        } else if let Some(Value::Object(function)) = function {
            let function = request_function(&function, 0)?;
            message.insert("function_call".to_owned(), function);
        }
        Ok(message.into())
    }

    fn add_call(&mut self, call: Value) {
        let Value::Object(mut call) = call else {
            return;
        };
        let index = call.remove("index").and_then(|index| index.as_u64());
        let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
        let Some(place) = self.place_of(index, id, &call) else {
            self.has_too_many_calls = true;
            return;
        };
        if self.calls[place].index.is_none() {
            self.calls[place].index = index;
        }
        let known = &mut self.calls[place].fields;
        for (key, value) in call {
            match (key.as_str(), value) {
                // A later piece without an id belongs to the same call.
                (_, Value::Null) => {}
                ("id" | "type", Value::String(text)) if text.is_empty() => {}
                ("id" | "type", value) => {
                    known.insert(key, value);
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

    /// Finds the call of a piece, or adds a new call. Returns `None` if there are too many.
    fn place_of(
        &mut self,
        index: Option<u64>,
        id: &str,
        call: &Map<String, Value>,
    ) -> Option<usize> {
        let id_of = |call: &Call| {
            let id = call.fields.get("id").and_then(Value::as_str);
            id.unwrap_or_default().to_owned()
        };
        let by_id = |calls: &[Call]| {
            calls
                .iter()
                .position(|call| !id.is_empty() && id_of(call) == id)
        };
        let known = match index {
            // Some servers give every call the index 0; a different id means another call.
            Some(_) => by_id(&self.calls).or_else(|| {
                let at = self.calls.iter().rposition(|call| call.index == index)?;
                let same = id.is_empty() || id_of(&self.calls[at]).is_empty();
                same.then_some(at)
            }),
            None => by_id(&self.calls).or_else(|| {
                let names = call
                    .get("function")
                    .and_then(|function| function.get("name"));
                let begins = !id.is_empty()
                    || names
                        .and_then(Value::as_str)
                        .is_some_and(|name| !name.is_empty());
                (!begins).then(|| self.calls.len().checked_sub(1)).flatten()
            }),
        };
        if known.is_some() {
            return known;
        }
        if self.calls.len() == TOOL_CALLS_MAX {
            return None;
        }
        self.calls.push(Call::default());
        Some(self.calls.len() - 1)
    }
}

impl Call {
    fn request_call(mut self, index: usize) -> Result<Value, MessageError> {
        let id = self.fields.get("id").and_then(Value::as_str);
        let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
        // A server that sends no id accepts any.
        let id = id.unwrap_or_else(|| format!("call_{index}"));
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
        Ok(json!({"id": id, "type": "function", "function": function}))
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
        Some(Value::String(text)) if text.trim().is_empty() => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        // Some servers send an object instead of its text.
        Some(value) => value.to_string(),
    };
    Ok(json!({"name": name, "arguments": arguments}))
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
