#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "tables of JSON are easier to read when passed by value"
)]

use serde_json::json;

use super::*;

fn context() -> MessageContext {
    let request = json!({"model": "m", "stop_sequences": ["END"]});
    MessageContext::of_request(&request, "req_1")
}

fn message(choice: Value) -> Value {
    let answer =
        json!({"id": "chatcmpl-7", "object": "chat.completion", "created": 1, "choices": [choice]});
    message_of_chat(answer.to_string().as_bytes(), &context()).unwrap()
}

#[test]
fn a_text_becomes_a_message() {
    let answer = json!({
        "id": "chatcmpl-7", "object": "chat.completion", "created": 1, "model": "qwen", "system_fingerprint": "f",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi", "refusal": null}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    });
    let message = message_of_chat(answer.to_string().as_bytes(), &context()).unwrap();
    let expected = json!({
        "id": "msg_7", "type": "message", "role": "assistant", "model": "qwen",
        "content": [{"type": "text", "text": "hi", "citations": null}],
        "stop_reason": "end_turn", "stop_sequence": null, "stop_details": null, "container": null,
        "usage": {
            "input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens_details": null, "cache_creation": null, "server_tool_use": null, "inference_geo": null, "service_tier": null,
        },
        "system_fingerprint": "f",
    });
    assert_eq!(message, expected);
}

#[test]
fn each_end_has_its_reason() {
    let call = json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let text = json!({"content": "x"});
    let table = [
        (
            &text,
            json!({"finish_reason": "stop"}),
            "end_turn",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "eos_token"}),
            "end_turn",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "stop", "stop_reason": "END"}),
            "stop_sequence",
            json!("END"),
        ),
        (
            &text,
            json!({"finish_reason": "stop", "matched_stop": "END"}),
            "stop_sequence",
            json!("END"),
        ),
        (
            &text,
            json!({"finish_reason": "stop", "stop_reason": 151_645}),
            "end_turn",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "stop", "stop_reason": "other"}),
            "end_turn",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "length"}),
            "max_tokens",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "content_filter"}),
            "refusal",
            Value::Null,
        ),
        (
            &text,
            json!({"finish_reason": "something_new"}),
            "something_new",
            Value::Null,
        ),
        (&text, json!({}), "end_turn", Value::Null),
        (
            &call,
            json!({"finish_reason": "tool_calls"}),
            "tool_use",
            Value::Null,
        ),
        (
            &call,
            json!({"finish_reason": "stop"}),
            "tool_use",
            Value::Null,
        ),
    ];
    for (content, mut choice, reason, sequence) in table {
        choice["message"] = content.clone();
        let message = message(choice.clone());
        assert_eq!(
            (&message["stop_reason"], &message["stop_sequence"]),
            (&json!(reason), &sequence),
            "{choice}"
        );
    }
}

#[test]
fn reasoning_and_calls_become_blocks() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let message = message(json!({"finish_reason": "tool_calls", "message": {
        "reasoning_content": "hm", "content": "so",
        "tool_calls": [call("a", r#"{"z":1,"a":2}"#), call("b", ""), call("c", "{\"x\":"), call("d", "[1]")],
    }}));
    let block = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input, "caller": {"type": "direct"}});
    let expected = json!([
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "so", "citations": null},
        block("a", json!({"z": 1, "a": 2})),
        block("b", json!({})),
        block("c", json!({"INVALID_JSON": "{\"x\":"})),
        block("d", json!({"INVALID_JSON": "[1]"})),
    ]);
    assert_eq!(message["content"], expected);
    assert_eq!(
        message["content"][2]["input"].to_string(),
        r#"{"z":1,"a":2}"#
    );
}

#[test]
fn a_refusal_is_text_with_its_reason() {
    let message =
        message(json!({"finish_reason": "stop", "message": {"content": null, "refusal": "no"}}));
    assert_eq!(message["content"][0]["text"], "no");
    assert_eq!(message["stop_reason"], "refusal");
    assert_eq!(message["stop_details"]["type"], "refusal");
}

#[test]
fn names_come_from_the_request_where_the_backend_gives_none() {
    let answer = br#"{"choices":[{"message":{"content":"x"}}]}"#;
    let message = message_of_chat(answer, &context()).unwrap();
    assert_eq!(
        (&message["id"], &message["model"]),
        (&json!("msg_req_1"), &json!("m"))
    );
}

#[test]
fn what_is_not_an_answer_is_an_error() {
    for body in [
        "",
        "x",
        "[]",
        "{}",
        r#"{"choices":[]}"#,
        r#"{"detail":"no"}"#,
    ] {
        assert!(
            message_of_chat(body.as_bytes(), &context()).is_err(),
            "{body}"
        );
    }
}

#[test]
fn what_a_server_requires_back_with_a_call_comes_back() {
    let signed = json!({"google": {"thought_signature": "SIG=="}});
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": signed});
    let choice = json!({"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"});
    let block = message(choice)["content"][0].clone();
    assert_eq!(block["extra_content"], signed);
    let next = json!({
        "model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": [block]}],
    });
    let chat = crate::anthropic::to_chat(next).unwrap().body;
    assert_eq!(chat["messages"][0]["tool_calls"][0], call);
}
