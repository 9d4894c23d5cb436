//! A chat answer as a message.

use serde_json::{Map, Value, json};

use crate::{
    anthropic::{stop_reason::Stop, usage},
    surrogates,
    tool_calls::INVALID_JSON,
    translate::{BadAnswer, ChatReader, Piece},
};

/// The values of the request that the answer needs.
#[derive(Clone, Debug, Default)]
pub struct MessageContext {
    /// The id of the message if the backend does not send one.
    pub id: String,
    /// The model as the caller named it; used if the backend does not send a name.
    pub model: String,
    /// The caller's stop sequences, to find the one that ended the answer.
    pub stop_sequences: Vec<String>,
}

impl MessageContext {
    /// Reads the context from a Messages request.
    pub fn of_request(request: &Value, id: impl Into<String>) -> Self {
        let stops = request.get("stop_sequences").and_then(Value::as_array);
        let stops = stops.into_iter().flatten();
        let model = request.get("model").and_then(Value::as_str);
        Self {
            id: id.into(),
            model: model.unwrap_or_default().to_owned(),
            stop_sequences: stops.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }

    /// Returns the members of a message without content.
    pub(super) fn empty_message(&self, reader: &ChatReader) -> Map<String, Value> {
        let id = if reader.id.is_empty() {
            &self.id
        } else {
            &reader.id
        };
        let model = if reader.model.is_empty() {
            &self.model
        } else {
            &reader.model
        };
        let message = json!({
            "id": message_id(id),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "stop_details": null,
            "container": null,
            "usage": {},
        });
        match message {
            Value::Object(message) => message,
            _ => Map::new(),
        }
    }
}

/// Translates a whole chat answer into a message.
///
/// # Errors
/// Returns an error if the bytes are not a chat answer.
pub fn message_of_chat(answer: &[u8], context: &MessageContext) -> Result<Value, BadAnswer> {
    let answer = surrogates::read(answer);
    let answer: Value = answer.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
    let mut reader = ChatReader::default();
    let pieces = reader.whole(answer)?;
    let refused = pieces
        .iter()
        .any(|piece| matches!(piece, Piece::Refusal(_)));
    let stop = Stop::of_chat(&reader, refused, &context.stop_sequences);
    let mut message = context.empty_message(&reader);
    message.insert("content".to_owned(), content(pieces).into());
    set_stop(&mut message, &stop);
    let usage = usage::of_chat(reader.usage.as_ref());
    message.insert("usage".to_owned(), usage.into());
    for (key, value) in reader.other {
        message.entry(key).or_insert(value);
    }
    Ok(message.into())
}

/// Sets the end of a message or of a `message_delta`.
pub(super) fn set_stop(target: &mut Map<String, Value>, stop: &Stop) {
    target.insert("stop_reason".to_owned(), stop.reason.clone().into());
    target.insert("stop_sequence".to_owned(), stop.sequence.clone().into());
    let details = json!({"type": "refusal", "category": null, "explanation": null});
    let details = (stop.reason == "refusal").then_some(details);
    target.insert("stop_details".to_owned(), details.into());
    target.insert("container".to_owned(), Value::Null);
}

fn content(pieces: Vec<Piece>) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut arguments: Vec<(usize, String)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Reasoning(text) => {
                blocks.push(json!({"type": "thinking", "thinking": text, "signature": ""}));
            }
            Piece::Text { text, .. } | Piece::Refusal(text) => {
                blocks.push(json!({"type": "text", "text": text, "citations": null}));
            }
            Piece::Call {
                id, name, returned, ..
            } => {
                arguments.push((blocks.len(), String::new()));
                blocks.push(tool_use(&id, &name, returned));
            }
            Piece::Arguments { slot, text } => {
                if let Some((_, known)) = arguments.get_mut(slot) {
                    known.push_str(&text);
                }
            }
        }
    }
    for (place, text) in arguments {
        if let Some(block) = blocks.get_mut(place) {
            block["input"] = input_of(&text);
        }
    }
    blocks
}

/// Returns a `tool_use` block without input. `returned` are members that its server requires back with the call.
pub(super) fn tool_use(id: &str, name: &str, returned: Map<String, Value>) -> Value {
    let mut block = json!({"type": "tool_use", "id": id, "name": name, "input": {}, "caller": {"type": "direct"}});
    if let Some(block) = block.as_object_mut() {
        block.extend(returned);
    }
    block
}

/// Returns the input of a call from its arguments. Arguments that are not a JSON object are wrapped in one, as
/// Anthropic's documentation requires, so that none are lost.
pub(super) fn input_of(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ => json!({INVALID_JSON: arguments}),
    }
}

fn message_id(id: &str) -> String {
    if id.starts_with("msg_") {
        return id.to_owned();
    }
    let bare = id.strip_prefix("chatcmpl-").unwrap_or(id);
    format!("msg_{bare}")
}

#[cfg(test)]
mod tests;
