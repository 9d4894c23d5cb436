//! Gives chat answers the form that official clients require, where a server deviates: each tool call has an id of its
//! own, a type, arguments as text and, in a stream, its index; a choice of a stream has a `delta`.
//!
//! A session keeps the message in the same form, so that the ids in a caller's tool results are those of the kept calls.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{
    surrogates,
    tool_calls::{Part, ToolCalls},
};

/// The length of an id. Mistral's servers accept only ids of nine letters and digits.
const ID_LENGTH: usize = 9;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Brings the chunks of a stream into the normal form.
#[derive(Clone, Debug, Default)]
pub(crate) struct NormalForm {
    seed: Arc<str>,
    choices: BTreeMap<u64, Choice>,
}

/// The calls of one choice.
#[derive(Clone, Debug, Default)]
struct Choice {
    places: ToolCalls,
    /// For each call: `true` if its id is not the server's.
    has_new_id: Vec<bool>,
    ids: BTreeSet<String>,
}

impl NormalForm {
    /// Creates the form of one answer. Ids that a server does not send are made of `seed`, which should differ from
    /// that of all other answers.
    pub(crate) fn new(seed: Arc<str>) -> Self {
        Self {
            seed,
            choices: BTreeMap::new(),
        }
    }

    /// Returns a chunk in the normal form; `None` if it has that form.
    pub(crate) fn of_chunk(&mut self, chunk: &[u8]) -> Option<Bytes> {
        let mut chunk: Value = surrogates::read(chunk).ok()?;
        let mut is_changed = false;
        for (position, choice) in (0..).zip(chunk.get_mut("choices")?.as_array_mut()?) {
            let index = choice.get("index").and_then(Value::as_u64);
            let Some(choice) = choice.as_object_mut() else {
                continue;
            };
            is_changed |= set_delta(choice);
            let calls = choice.get_mut("delta");
            let calls = calls.and_then(|delta| delta.get_mut("tool_calls")?.as_array_mut());
            let index = index.unwrap_or(position);
            for call in calls.into_iter().flatten() {
                is_changed |= self.set_call(index, call);
            }
        }
        if is_changed && chunk["object"] == "chat.completion" {
            chunk["object"] = "chat.completion.chunk".into();
        }
        is_changed.then(|| chunk.to_string().into())
    }

    fn set_call(&mut self, choice_index: u64, call: &mut Value) -> bool {
        let choice = self.choices.entry(choice_index).or_default();
        let part = Part::of(call);
        let Some(place) = choice.places.place(&part) else {
            return false;
        };
        let index = part.index;
        let id = part.id.to_owned();
        let is_first = place == choice.has_new_id.len();
        let Some(call) = call.as_object_mut() else {
            return false;
        };
        let mut is_changed = false;
        if is_first {
            let needs_id = id.is_empty() || !choice.ids.insert(id.clone());
            choice.has_new_id.push(needs_id);
            if needs_id {
                let id = new_id(&self.seed, choice_index, place);
                call.insert("id".to_owned(), id.into());
            }
            is_changed = needs_id | set_type(call);
        } else if choice.has_new_id[place] && !id.is_empty() {
            call.remove("id");
            is_changed = true;
        }
        if index != u64::try_from(place).ok() {
            call.insert("index".to_owned(), place.into());
            is_changed = true;
        }
        is_changed | set_arguments(call)
    }
}

/// Returns a whole answer in the normal form, with ids made of `seed`; `None` if it has that form.
pub(crate) fn of_whole(body: &[u8], seed: &str) -> Option<Bytes> {
    let mut answer: Value = surrogates::read(body).ok()?;
    let mut is_changed = false;
    for (index, choice) in (0..).zip(answer.get_mut("choices")?.as_array_mut()?) {
        let message = choice.get_mut("message");
        let calls = message.and_then(|message| message.get_mut("tool_calls")?.as_array_mut());
        let mut ids = BTreeSet::new();
        for (place, call) in calls.into_iter().flatten().enumerate() {
            let id = Part::of(call).id.to_owned();
            let Some(call) = call.as_object_mut() else {
                continue;
            };
            if id.is_empty() || !ids.insert(id) {
                let id = new_id(seed, index, place);
                call.insert("id".to_owned(), id.into());
                is_changed = true;
            }
            is_changed |= set_type(call) | set_arguments(call);
        }
    }
    is_changed.then(|| answer.to_string().into())
}

/// Moves a choice's `message` to `delta` if it has no `delta`.
fn set_delta(choice: &mut Map<String, Value>) -> bool {
    if choice.get("delta").is_some_and(Value::is_object) {
        return false;
    }
    match choice.remove("message") {
        Some(message @ Value::Object(_)) => {
            choice.insert("delta".to_owned(), message);
            true
        }
        _ => false,
    }
}

fn set_type(call: &mut Map<String, Value>) -> bool {
    let kind = call.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !kind.is_empty()) || !call.contains_key("function") {
        return false;
    }
    call.insert("type".to_owned(), "function".into());
    true
}

/// Replaces arguments that are an object by their text.
fn set_arguments(call: &mut Map<String, Value>) -> bool {
    let function = call.get_mut("function");
    match function.and_then(|function| function.get_mut("arguments")) {
        None | Some(Value::Null | Value::String(_)) => false,
        Some(arguments) => {
            *arguments = arguments.to_string().into();
            true
        }
    }
}

/// Returns an id that depends only on the arguments.
fn new_id(seed: &str, choice: u64, place: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (seed, choice, place).hash(&mut hasher);
    let mut rest = hasher.finish();
    let letters = (0..ID_LENGTH).map(|_| {
        let letter = LETTERS[usize::try_from(rest % 62).unwrap_or_default()];
        rest /= 62;
        char::from(letter)
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chunk(call: &Value) -> Vec<u8> {
        let chunk = json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
        chunk.to_string().into_bytes()
    }

    fn call_of(chunk: &[u8], key: &str) -> Value {
        let chunk: Value = serde_json::from_slice(chunk).unwrap();
        chunk["choices"][0][key]["tool_calls"][0].clone()
    }

    #[test]
    fn the_calls_of_a_stream_get_ids_and_indices() {
        let mut form = NormalForm::new("req".into());
        let first =
            json!({"index": 0, "id": null, "function": {"name": "f", "arguments": {"a": 1}}});
        let first = call_of(&form.of_chunk(&chunk(&first)).unwrap(), "delta");
        let expected = json!({"name": "f", "arguments": "{\"a\":1}"});
        assert_eq!(
            (&first["type"], &first["function"]),
            (&json!("function"), &expected)
        );
        let id = first["id"].as_str().unwrap();
        assert_eq!(id.len(), ID_LENGTH);
        let second = json!({"index": 0, "id": "", "function": {"name": "g", "arguments": "{"}});
        let second = call_of(&form.of_chunk(&chunk(&second)).unwrap(), "delta");
        assert_eq!(second["index"], 1);
        assert_ne!(second["id"], first["id"]);
        // A part has the index of its call, and no second id.
        let late = json!({"index": 0, "id": "real", "function": {"arguments": "}"}});
        let late = call_of(&form.of_chunk(&chunk(&late)).unwrap(), "delta");
        assert_eq!(late, json!({"index": 1, "function": {"arguments": "}"}}));
    }

    #[test]
    fn what_has_the_form_stays() {
        let mut form = NormalForm::default();
        for call in [
            json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            json!({"index": 0, "function": {"arguments": "{}"}}),
            json!({"index": 1, "id": "b", "type": "custom", "custom": {"name": "f", "input": ""}}),
        ] {
            assert_eq!(form.of_chunk(&chunk(&call)), None, "{call}");
        }
        for body in [
            "{}",
            r#"{"choices":[{"message":{"tool_calls":null}}]}"#,
            r#"{"choices":[{"message":{"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        ] {
            assert_eq!(of_whole(body.as_bytes(), "req"), None, "{body}");
        }
    }

    #[test]
    fn a_message_within_a_stream_becomes_a_delta() {
        let chunk = json!({"object": "chat.completion", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]});
        let chunk = NormalForm::default().of_chunk(chunk.to_string().as_bytes());
        let chunk: Value = serde_json::from_slice(&chunk.unwrap()).unwrap();
        let choice = json!({"delta": {"content": "hi"}, "finish_reason": "stop"});
        assert_eq!(
            chunk,
            json!({"object": "chat.completion.chunk", "choices": [choice]})
        );
    }

    #[test]
    fn each_call_of_a_whole_answer_gets_an_id_of_its_own() {
        for id in [json!(""), json!(null), json!("i")] {
            let call = json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
            let body = json!({"choices": [{"message": {"tool_calls": [call, call]}}]}).to_string();
            let answer = of_whole(body.as_bytes(), "req").unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            let calls = &answer["choices"][0]["message"]["tool_calls"];
            assert_ne!(calls[0]["id"], calls[1]["id"]);
            let other = of_whole(body.as_bytes(), "req_2").unwrap();
            assert_ne!(serde_json::from_slice::<Value>(&other).unwrap(), answer);
        }
    }
}
