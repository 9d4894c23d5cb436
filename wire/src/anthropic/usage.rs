//! Counts of tokens. Chat includes cached tokens in those of the prompt; Messages counts them separately.

use serde_json::{Map, Value, json};

/// Returns the usage of a message. Missing counts are zero.
pub(super) fn of_chat(usage: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut source = usage.cloned().unwrap_or_default();
    let mut detail = |list: &str, key: &str| {
        let details = source.shift_remove(list);
        details.and_then(|details| details.get(key)?.as_u64())
    };
    let cached = detail("prompt_tokens_details", "cached_tokens");
    let reasoning = detail("completion_tokens_details", "reasoning_tokens");
    let mut take = |key: &str| source.shift_remove(key).and_then(|count| count.as_u64());
    let prompt = take("prompt_tokens").unwrap_or(0);
    let output = take("completion_tokens").unwrap_or(0);
    take("total_tokens");
    let mut target = Map::new();
    let fresh = prompt.saturating_sub(cached.unwrap_or(0));
    target.insert("input_tokens".to_owned(), fresh.into());
    target.insert("output_tokens".to_owned(), output.into());
    target.insert("cache_creation_input_tokens".to_owned(), 0.into());
    target.insert(
        "cache_read_input_tokens".to_owned(),
        cached.unwrap_or(0).into(),
    );
    let details = reasoning.map(|reasoning| json!({"thinking_tokens": reasoning}));
    target.insert("output_tokens_details".to_owned(), details.into());
    // The schema of the API requires these members; a chat server has no such counts.
    for key in [
        "cache_creation",
        "server_tool_use",
        "inference_geo",
        "service_tier",
    ] {
        target.insert(key.to_owned(), Value::Null);
    }
    // Other counts of the server, such as its price, are kept.
    for (key, value) in source {
        target.entry(key).or_insert(value);
    }
    target
}

/// Returns chat's usage for the usage of a message.
pub(super) fn to_chat(usage: &Map<String, Value>) -> Value {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let cached = count("cache_read_input_tokens");
    let written = count("cache_creation_input_tokens");
    let prompt = count("input_tokens").saturating_add(cached);
    let prompt = prompt.saturating_add(written);
    let completion = count("output_tokens");
    let thinking = usage.get("output_tokens_details");
    let thinking = thinking.and_then(|details| details.get("thinking_tokens")?.as_u64());
    let mut target = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thinking.unwrap_or(0)},
    });
    let known = [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "output_tokens_details",
    ];
    for (key, value) in usage {
        if !known.contains(&key.as_str()) && !value.is_null() {
            target[key] = value.clone();
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_counted_apart_and_together() {
        let chat = json!({
            "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.5,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        });
        let message = of_chat(chat.as_object());
        let expected = json!({
            "input_tokens": 6, "output_tokens": 5, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4, "output_tokens_details": {"thinking_tokens": 2}, "cost": 0.5,
            "cache_creation": null, "server_tool_use": null, "inference_geo": null, "service_tier": null,
        });
        assert_eq!(Value::Object(message.clone()), expected);
        let back = to_chat(&message);
        for (key, value) in chat.as_object().unwrap() {
            assert_eq!(&back[key], value, "{key}");
        }
    }

    #[test]
    fn a_server_that_counts_nothing_counts_zero() {
        let usage = of_chat(None);
        assert_eq!(
            (&usage["input_tokens"], &usage["output_tokens"]),
            (&json!(0), &json!(0))
        );
    }
}
