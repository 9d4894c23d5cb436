//! Shared parts of the translations between client dialects: reading objects field by field, and reading chat answers.
//!
//! A translation never loses a field silently. A field with a counterpart is translated. A field without one is passed
//! on if the target object is open. A hint that changes only cost or speed is left out and named in
//! [`Translated::omitted`]. Everything else is refused with the name of the field.

#[cfg(test)]
pub(crate) mod any_json;
mod bad_answer;
mod chat_reader;
mod fields;
mod invalid_field;
mod message_parts;
mod path;

pub(crate) use crate::json_depth::JsonDepth;
pub use bad_answer::BadAnswer;
pub(crate) use chat_reader::{ChatReader, Piece};
pub(crate) use fields::Fields;
pub use invalid_field::InvalidField;
pub(crate) use message_parts::{joined_or_parts, text_part};
pub(crate) use path::Path;

use std::collections::BTreeSet;

use serde_json::Value;

/// A translated request.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// The request in the target dialect.
    pub body: Value,
    /// Names of the fields that have no counterpart in the target dialect and change only cost or speed, for example
    /// `cache_control`. Sorted; each name occurs once.
    pub omitted: Vec<String>,
}

/// Collects the names of fields that are left out.
#[derive(Debug, Default)]
pub(crate) struct Omitted(BTreeSet<String>);

impl Omitted {
    /// Adds the name of a field.
    pub(crate) fn add(&mut self, name: impl Into<String>) {
        self.0.insert(name.into());
    }

    /// Takes a field and adds its name if it is present.
    pub(crate) fn add_taken(&mut self, fields: &mut Fields<'_>, name: &str) {
        if fields.take(name).is_some() {
            self.add(name);
        }
    }

    pub(crate) fn finish(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::any_json::{any_json, with};
    use crate::{
        anthropic::{self, FromChat, MessageContext},
        responses,
    };

    const FROM_CHAT: FromChat = FromChat {
        max_tokens_default: 1,
    };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_request_makes_a_translation_panic(value in any_json(), key in "[a-z_]{1,12}") {
            let base = json!({
                "model": "m", "max_tokens": 1, "input": "x", "messages": [{"role": "user", "content": "x"}],
            });
            let turn = json!([{"role": "user", "content": [value]}, {"role": "assistant", "content": [value]}]);
            let members = ["system", "tools", "tool_choice", "thinking", "text", "reasoning", "output_config"];
            let members = members.into_iter().chain([key.as_str(), "response_format", "metadata"]);
            let mut requests = vec![
                value.clone(),
                with(base.clone(), "messages", turn.clone()),
                with(base.clone(), "input", turn),
                with(base.clone(), "messages", json!([value])),
                with(base.clone(), "input", json!([value])),
            ];
            requests.extend(members.map(|key| with(base.clone(), key, value.clone())));
            for request in requests {
                // A refusal is as valid a result as a translation here.
                drop(anthropic::to_chat(request.clone()));
                drop(anthropic::from_chat(request.clone(), FROM_CHAT));
                drop(responses::to_chat(request));
            }
        }

        #[test]
        fn no_answer_makes_a_translation_panic(values in proptest::collection::vec(any_json(), 0..6)) {
            let mut messages = anthropic::EventWriter::new(MessageContext::default());
            let mut chunks = anthropic::ChunkWriter::new(true, 1);
            let template = responses::Template::default();
            let mut response = responses::EventWriter::new(template.clone(), "resp_1", 1);
            let mut out = String::new();
            for value in values {
                let delta = json!({"choices": [{"index": 0, "delta": value}]});
                let answer = json!({"choices": [{"message": value, "finish_reason": "stop"}]});
                let event = json!({
                    "type": value["type"], "index": 0, "delta": value, "content_block": value, "message": value,
                    "usage": value,
                });
                for data in [value.to_string(), delta.to_string(), answer.to_string(), event.to_string()] {
                    let data = data.as_bytes();
                    drop(messages.data(data, &mut out));
                    drop(chunks.data(data, &mut out));
                    drop(response.data(data, 1, &mut out));
                    drop(anthropic::message_of_chat(data, &MessageContext::default()));
                    drop(anthropic::chat_of_message(data, 1));
                    drop(responses::response_of_chat(data, (&template, None), "resp_1", 1, 1));
                }
            }
            drop(messages.data(b"[DONE]", &mut out));
            drop(response.data(b"[DONE]", 1, &mut out));
        }
    }
}
