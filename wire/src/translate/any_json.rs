//! Arbitrary JSON similar to the dialects, for properties that must hold for every input.

use proptest::prelude::*;
use serde_json::Value;

/// Names with a meaning in some dialect, so that an object of them passes the first checks.
const KEYS: [&str; 40] = [
    "model",
    "messages",
    "input",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "arguments",
    "tool_calls",
    "id",
    "index",
    "choices",
    "delta",
    "message",
    "usage",
    "finish_reason",
    "reasoning_content",
    "source",
    "input_schema",
    "tool_use_id",
    "call_id",
    "output",
    "annotations",
    "logprobs",
    "system",
    "max_tokens",
    "thinking",
    "stop_sequences",
    "content_block",
    "stop_reason",
    "format",
    "image_url",
    "file",
    "data",
    "citations",
    "summary",
    "prompt_tokens_details",
];

/// Texts that select a branch in some dialect.
const TEXTS: [&str; 31] = [
    "user",
    "assistant",
    "system",
    "tool",
    "text",
    "image",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "function",
    "function_call",
    "function_call_output",
    "reasoning",
    "message",
    "input_text",
    "input_image",
    "input_file",
    "image_url",
    "file",
    "base64",
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "text_delta",
    "input_json_delta",
    "json_schema",
    "url_citation",
];

/// Returns a strategy for a JSON value.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        let key = proptest::sample::select(&KEYS[..]);
        let object = proptest::collection::vec((key, inner.clone()), 0..6);
        let object = object.prop_map(|members| {
            let members = members.into_iter();
            let members = members.map(|(key, value)| (key.to_owned(), value));
            Value::Object(members.collect())
        });
        let list = proptest::collection::vec(inner, 0..4).prop_map(Value::from);
        prop_oneof![3 => object, 1 => list]
    })
}

/// Replaces a member by a value, so that the value is read.
pub(crate) fn with(mut request: Value, key: &str, value: Value) -> Value {
    request[key] = value;
    request
}
