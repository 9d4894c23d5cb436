#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "tables of JSON are easier to read when passed by value"
)]

use serde_json::json;

use super::*;
use crate::anthropic::to_chat;

const OPTIONS: FromChat = FromChat {
    max_tokens_default: 4096,
};

fn request(more: Value) -> Value {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn message(more: Value) -> Value {
    from_chat(request(more), OPTIONS).unwrap().body
}

fn refused(more: Value) -> String {
    from_chat(request(more), OPTIONS).unwrap_err().field
}

#[test]
fn each_field_has_its_counterpart() {
    let function = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}});
    let table = [
        (json!({}), json!({"max_tokens": 4096})),
        (json!({"max_tokens": 5}), json!({"max_tokens": 5})),
        (json!({"max_tokens": 10.0}), json!({"max_tokens": 10})),
        (json!({"max_tokens": -1}), json!({"max_tokens": 4096})),
        (
            json!({"max_completion_tokens": -1}),
            json!({"max_tokens": 4096}),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 8000}}),
            json!({"max_tokens": 12_096, "thinking": {"type": "enabled", "budget_tokens": 8000}}),
        ),
        (
            json!({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}}),
            json!({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 8000}}),
        ),
        (
            json!({"max_completion_tokens": 6, "max_tokens": 5}),
            json!({"max_tokens": 6}),
        ),
        (json!({"stop": "x"}), json!({"stop_sequences": ["x"]})),
        (
            json!({"stop": ["x", "y"]}),
            json!({"stop_sequences": ["x", "y"]}),
        ),
        (
            json!({"temperature": 0.2, "top_p": 0.9, "top_k": 3}),
            json!({"temperature": 0.2, "top_p": 0.9, "top_k": 3}),
        ),
        (
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!({"stream": true}),
        ),
        (json!({"user": "u"}), json!({"metadata": {"user_id": "u"}})),
        (
            json!({"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": false}),
            json!({}),
        ),
        (
            json!({"reasoning_effort": "high"}),
            json!({"output_config": {"effort": "high"}}),
        ),
        (
            json!({"reasoning_effort": "none"}),
            json!({"thinking": {"type": "disabled"}}),
        ),
        (
            json!({"thinking": {"type": "adaptive"}}),
            json!({"thinking": {"type": "adaptive"}}),
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}}),
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
        ),
        (json!({"response_format": {"type": "text"}}), json!({})),
        (json!({"tools": [function]}), json!({"tools": [tool]})),
        (
            json!({"tools": [function], "parallel_tool_calls": false}),
            json!({"tools": [tool], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
        ),
        (
            json!({"tools": [function], "tool_choice": "required"}),
            json!({"tools": [tool], "tool_choice": {"type": "any"}}),
        ),
        (
            json!({"tools": [function], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            json!({"tools": [tool], "tool_choice": {"type": "tool", "name": "f"}}),
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}]}),
            json!({"tools": [{"name": "f", "input_schema": {"properties": {}, "type": "object"}}]}),
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
            json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]}),
        ),
        (
            json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": false}),
            json!({}),
        ),
        (json!({"tool_choice": "none"}), json!({})),
        (
            json!({"tool_choice": "required"}),
            json!({"tool_choice": {"type": "any"}}),
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}),
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]}),
        ),
    ];
    for (more, expected) in table {
        let mut all = json!({
            "model": "m", "max_tokens": 4096,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        });
        for (key, value) in expected.as_object().unwrap() {
            all[key] = value.clone();
        }
        assert_eq!(message(more.clone()), all, "{more}");
    }
}

#[test]
fn system_messages_go_to_the_front() {
    let body = message(json!({"messages": [
        {"role": "system", "content": "a"},
        {"role": "user", "content": "hi"},
        {"role": "developer", "content": [{"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]},
    ]}));
    let expected = json!([
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]);
    assert_eq!(body["system"], expected);
    assert_eq!(body["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn a_round_of_tools_is_one_turn_of_results() {
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}});
    let body = message(json!({"messages": [
        {"role": "assistant", "content": "", "tool_calls": [call("a", "{\"x\":1}"), call("b", ""), call("c", "{")],
         "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "and?"},
        {"role": "user", "content": "well?"},
    ]}));
    let tool_use =
        |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    let expected = json!([
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            tool_use("a", json!({"x": 1})), tool_use("b", json!({})), tool_use("c", json!({"INVALID_JSON": "{"})),
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": "one"},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "two"}]},
            {"type": "text", "text": "and?"},
        ]},
        {"role": "user", "content": [{"type": "text", "text": "well?"}]},
    ]);
    assert_eq!(body["messages"], expected);
}

#[test]
fn parts_become_blocks() {
    let table = [
        (
            json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
        ),
        (
            json!({"type": "image_url", "image_url": {"url": "https://x"}}),
            json!({"type": "image", "source": {"type": "url", "url": "https://x"}}),
        ),
        (
            json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}),
            json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}, "title": "a.pdf"}),
        ),
    ];
    for (part, block) in table {
        let translated = from_chat(
            request(json!({"messages": [{"role": "user", "content": [part]}]})),
            OPTIONS,
        )
        .unwrap();
        assert_eq!(
            translated.body["messages"][0]["content"],
            json!([block]),
            "{part}"
        );
    }
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let user = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let table = [
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"logit_bias": {"1": 2}}), "logit_bias"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format.type",
        ),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            "tools[0].type",
        ),
        (json!({"max_tokens": -2}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (json!({"max_tokens": "9"}), "max_tokens"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}),
            "messages[0].content",
        ),
        (
            json!({"tool_choice": "required", "messages": [{"role": "user", "content": ""}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "function", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages[0].tool_call_id",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "extra": 1}]}),
            "messages[0].extra",
        ),
        (
            user(json!({"type": "input_audio", "input_audio": {}})),
            "messages[0].content[0].type",
        ),
        (
            user(json!({"type": "file", "file": {"file_id": "f"}})),
            "messages[0].content[0].file.file_id",
        ),
        (
            user(json!({"type": "image_url", "image_url": {"url": "data:x"}})),
            "messages[0].content[0].image_url.url",
        ),
    ];
    for (more, field) in table {
        assert_eq!(refused(more.clone()), field, "{more}");
    }
}

#[test]
fn hints_are_left_out_by_name() {
    let translated = from_chat(
        request(json!({
            "seed": 1, "store": true,
            "messages": [{"role": "user", "name": "n", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "z"}],
        })),
        OPTIONS,
    );
    assert_eq!(
        translated.unwrap().omitted,
        ["name", "reasoning_content", "seed", "store"]
    );
}

#[test]
fn a_conversation_survives_the_way_there_and_back() {
    let original = json!({
        "model": "m", "max_tokens": 5, "stop_sequences": ["x"], "temperature": 0.5, "stream": true,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image", "source": {"type": "url", "url": "https://x"}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"z": 1, "a": [2]}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}, {"type": "text", "text": "go on"}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    });
    let chat = to_chat(original.clone()).unwrap();
    let back = from_chat(chat.body, OPTIONS).unwrap();
    assert_eq!(back.body, original);
}

fn turns(messages: Value) -> Value {
    message(json!({"messages": messages}))["messages"].clone()
}

#[test]
fn messages_and_texts_without_content_are_left_out() {
    let user = |text: &str| json!({"role": "user", "content": text});
    let said = |text: &str| json!({"role": "user", "content": [{"type": "text", "text": text}]});
    for empty in [
        json!({"role": "assistant", "content": ""}),
        json!({"role": "assistant", "content": null}),
        json!({"role": "assistant"}),
        json!({"role": "assistant", "content": []}),
        json!({"role": "assistant", "content": "\n\n", "refusal": ""}),
        json!({"role": "assistant", "content": [{"type": "text", "text": ""}]}),
        json!({"role": "assistant", "content": "", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}),
        json!({"role": "user", "content": " "}),
        json!({"role": "user", "content": []}),
    ] {
        let expected = json!([said("a"), said("b")]);
        assert_eq!(turns(json!([user("a"), empty, user("b")])), expected);
    }
    let image = json!({"type": "image_url", "image_url": {"url": "https://x"}});
    let with_image = turns(
        json!([{"role": "user", "content": [image, {"type": "text", "text": ""}, {"type": "text", "text": "a"}]}]),
    );
    let expected = json!([{"type": "image", "source": {"type": "url", "url": "https://x"}}, {"type": "text", "text": "a"}]);
    assert_eq!(with_image[0]["content"], expected);
    let body = message(
        json!({"messages": [{"role": "system", "content": ""}, user("a")], "max_tokens": 1}),
    );
    assert_eq!(body.get("system"), None);
}

#[test]
fn an_answer_to_continue_does_not_end_with_white_space() {
    let prefill =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "{ \n"}]);
    let expected = json!({"role": "assistant", "content": [{"type": "text", "text": "{"}]});
    assert_eq!(turns(prefill)[1], expected);
}

#[test]
fn ids_of_tool_calls_are_valid_and_unique_and_results_follow_them() {
    let call = |id: &str| json!({"role": "assistant", "content": "", "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "7"});
    let id = "functions.f:0";
    let turns = turns(json!([call(id), result(id), call(id), result(id)]));
    let places = [
        (0, "id", "functions_f_0"),
        (1, "tool_use_id", "functions_f_0"),
        (2, "id", "functions_f_0_2"),
        (3, "tool_use_id", "functions_f_0_2"),
    ];
    for (turn, key, expected) in places {
        assert_eq!(turns[turn]["content"][0][key], expected, "{turns}");
    }
}

#[test]
fn thinking_without_a_proof_and_fields_of_other_servers_are_left_out() {
    let translated = from_chat(
        request(json!({"messages": [{
            "role": "assistant", "content": "a", "reasoning_details": [{"type": "x"}], "images": [1],
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "redacted_thinking", "data": "d"}],
        }]})),
        OPTIONS,
    )
    .unwrap();
    let expected =
        json!([{"type": "redacted_thinking", "data": "d"}, {"type": "text", "text": "a"}]);
    assert_eq!(translated.body["messages"][0]["content"], expected);
    assert_eq!(
        translated.omitted,
        ["images", "reasoning_details", "thinking_blocks"]
    );
}

#[test]
fn what_other_servers_take_is_made_valid() {
    let call = json!({"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let image = |kind: &str| json!({"type": "image_url", "image_url": {"url": format!("data:{kind};base64,AA==")}});
    let request = json!({
        "model": "m", "max_tokens": -1, "thinking": {"type": "enabled", "budget_tokens": 8000},
        "messages": [
            {"role": "user", "content": [image("image/jpg"), image("image/png;charset=utf-8"), {"type": "text", "text": ""}]},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": "r"},
        ],
    });
    let options = FromChat {
        max_tokens_default: 4096,
    };
    let body = from_chat(request, options).unwrap().body;
    assert_eq!(body["max_tokens"], 12_096);
    let messages = body["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3, "{body}");
    let content = messages[0]["content"].as_array().unwrap();
    let kinds: Vec<&Value> = content
        .iter()
        .map(|block| &block["source"]["media_type"])
        .collect();
    assert_eq!(kinds, ["image/jpeg", "image/png"]);
    assert_eq!(messages[1]["content"][0]["id"], "functions_f_0");
    assert_eq!(messages[2]["content"][0]["tool_use_id"], "functions_f_0");
    for (limit, expected) in [
        (json!(10.0), Some(10)),
        (json!(1.5), None),
        (json!("x"), None),
    ] {
        let request = json!({"model": "m", "max_tokens": limit, "messages": []});
        let translated = from_chat(request, options).ok();
        assert_eq!(
            translated.and_then(|own| own.body["max_tokens"].as_u64()),
            expected
        );
    }
}
