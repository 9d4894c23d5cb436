//! What a response repeats of its request.

use serde_json::{Map, Value, json};

use crate::translate::ChatReader;

/// The members of a response that are known before the model answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    members: Map<String, Value>,
}

impl Template {
    /// Completes the request's members with the defaults of the API.
    pub(super) fn new(echo: Map<String, Value>) -> Self {
        let defaults = json!({
            "object": "response",
            "model": "",
            "instructions": null,
            "previous_response_id": null,
            "tools": [],
            "tool_choice": "auto",
            "truncation": "disabled",
            "parallel_tool_calls": true,
            "text": {"format": {"type": "text"}},
            "temperature": 1.0,
            "top_p": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "top_logprobs": 0,
            "max_output_tokens": null,
            "max_tool_calls": null,
            "store": true,
            "background": false,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": null,
            "prompt_cache_key": null,
            "user": null,
        });
        let mut members = match defaults {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        members.extend(echo);
        // `auto` is a wish; the tier of an answer is a fact, and an answer may name a better one.
        if members
            .get("service_tier")
            .is_some_and(|tier| tier == "auto")
        {
            members.insert("service_tier".to_owned(), "default".into());
        }
        let mut reasoning = json!({"effort": null, "summary": null});
        if let Some(Value::Object(own)) = members.shift_remove("reasoning") {
            for (key, value) in own {
                reasoning[key] = value;
            }
        }
        members.insert("reasoning".to_owned(), reasoning);
        Self { members }
    }

    /// Replaces the instructions that the response repeats, if they are a text.
    pub fn replace_instructions(&mut self, replace: impl FnOnce(&str) -> Option<String>) {
        let Some(Value::String(text)) = self.members.get_mut("instructions") else {
            return;
        };
        if let Some(other) = replace(text) {
            *text = other;
        }
    }

    /// Marks the response as not kept.
    pub fn set_not_stored(&mut self) {
        self.members.insert("store".to_owned(), false.into());
    }

    /// Returns the response in a state, without output.
    pub(super) fn response(
        &self,
        id: &str,
        created_at: u64,
        status: &str,
        reader: &ChatReader,
    ) -> Map<String, Value> {
        let mut response = Map::new();
        response.insert("id".to_owned(), id.into());
        response.extend(self.members.clone());
        response.insert("created_at".to_owned(), created_at.into());
        response.insert("completed_at".to_owned(), Value::Null);
        response.insert("status".to_owned(), status.into());
        response.insert("error".to_owned(), Value::Null);
        response.insert("incomplete_details".to_owned(), Value::Null);
        response.insert("output".to_owned(), json!([]));
        response.insert("usage".to_owned(), Value::Null);
        if !reader.model.is_empty() {
            response.insert("model".to_owned(), reader.model.clone().into());
        }
        response
    }
}
