#![expect(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "tables of JSON are easier to read when passed by value"
)]

use serde_json::json;

use super::*;

fn request(more: Value) -> Value {
    let mut request = json!({
        "model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}],
    });
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn chat(more: Value) -> Value {
    to_chat(request(more)).unwrap().body
}

fn messages(messages: Value) -> Value {
    chat(json!({"messages": messages}))["messages"].clone()
}

fn refused(more: Value) -> String {
    to_chat(request(more)).unwrap_err().field
}

#[test]
fn each_field_has_its_counterpart() {
    let tool = json!({"name": "f", "input_schema": {}});
    let function = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let table = [
        (json!({}), json!({"max_tokens": 10})),
        (
            json!({"stop_sequences": ["a", "b"]}),
            json!({"stop": ["a", "b"]}),
        ),
        (
            json!({"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
            json!({"temperature": 0.5, "top_p": 0.9, "top_k": 5}),
        ),
        (
            json!({"stream": true}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ),
        (json!({"metadata": {"user_id": "u"}}), json!({"user": "u"})),
        (
            json!({"service_tier": "standard_only"}),
            json!({"service_tier": "default"}),
        ),
        (
            json!({"output_config": {"effort": "high"}}),
            json!({"reasoning_effort": "high"}),
        ),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": {"type": "object"}, "strict": true}}}),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
            json!({"reasoning_effort": "low"}),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 8000}}),
            json!({"reasoning_effort": "medium"}),
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 32000}}),
            json!({"reasoning_effort": "high"}),
        ),
        (json!({"thinking": {"type": "disabled"}}), json!({})),
        (
            json!({"tools": [tool], "tool_choice": {"type": "auto"}}),
            json!({"tools": [function], "tool_choice": "auto"}),
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "none"}}),
            json!({"tools": [function], "tool_choice": "none"}),
        ),
        (
            json!({"tools": [tool], "tool_choice": {"type": "any", "disable_parallel_tool_use": true}}),
            json!({"tools": [function], "tool_choice": "required", "parallel_tool_calls": false}),
        ),
        // Without tools, a choice that has no effect is left out.
        (
            json!({"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
            json!({}),
        ),
        (json!({"tool_choice": {"type": "none"}}), json!({})),
        (
            json!({"tool_choice": {"type": "tool", "name": "f"}}),
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            json!({"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": true}]}),
            json!({"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true}}]}),
        ),
        // Unknown fields are passed on.
        (
            json!({"min_p": 0.1, "chat_template_kwargs": {"x": 1}}),
            json!({"min_p": 0.1, "chat_template_kwargs": {"x": 1}}),
        ),
    ];
    for (more, expected) in table {
        let mut all = json!({"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in expected.as_object().unwrap() {
            all[key] = value.clone();
        }
        assert_eq!(chat(more.clone()), all, "{more}");
    }
}

#[test]
fn the_order_of_a_schemas_properties_stays() {
    let schema = r#"{"type":"object","properties":{"z":{},"a":{}},"required":["z"]}"#;
    let tools =
        json!([{"name": "f", "input_schema": serde_json::from_str::<Value>(schema).unwrap()}]);
    let body = chat(json!({"tools": tools}));
    assert_eq!(
        body["tools"][0]["function"]["parameters"].to_string(),
        schema
    );
}

#[test]
fn system_blocks_become_one_text() {
    let system = json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]);
    let translated = to_chat(request(json!({"system": system}))).unwrap();
    assert_eq!(
        translated.body["messages"][0],
        json!({"role": "system", "content": "a\n\nb"})
    );
    assert_eq!(translated.omitted, ["cache_control"]);
    let body = chat(json!({"system": "s"}));
    assert_eq!(
        body["messages"][0],
        json!({"role": "system", "content": "s"})
    );
}

#[test]
fn media_become_parts() {
    let table = [
        (json!({"type": "text", "text": "a"}), json!("a")),
        (
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}),
            json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
        ),
        (
            json!({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}),
            json!([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]),
        ),
        (
            json!({"type": "document", "title": "t.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}}),
            json!([{"type": "file", "file": {"filename": "t.pdf", "file_data": "data:application/pdf;base64,AA=="}}]),
        ),
        (
            json!({"type": "document", "title": "t", "context": "c", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}),
            json!([{"type": "text", "text": "t\nc"}, {"type": "text", "text": "d"}]),
        ),
        (
            json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "d"}]}}),
            json!("d"),
        ),
        (
            json!({"type": "search_result", "title": "t", "source": "s", "content": [{"type": "text", "text": "x"}]}),
            json!("t\ns\n\nx"),
        ),
    ];
    for (block, expected) in table {
        let translated = messages(json!([{"role": "user", "content": [block]}]));
        assert_eq!(
            translated,
            json!([{"role": "user", "content": expected}]),
            "{block}"
        );
    }
}

#[test]
fn a_round_of_tools_becomes_calls_and_results() {
    let translated = messages(json!([
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"z": 1, "a": 2}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                {"type": "text", "text": "broken"}, {"type": "text", "text": "twice"},
                {"type": "image", "source": {"type": "url", "url": "https://x"}},
            ]},
            {"type": "text", "text": "And now?"},
        ]},
    ]));
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let expected = json!([
        {
            "role": "assistant", "content": "Let me look.", "reasoning_content": "hm",
            "tool_calls": [call("t1", "f", r#"{"z":1,"a":2}"#), call("t2", "g", "{}")],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: broken\ntwice"},
        {"role": "user", "content": [
            {"type": "text", "text": "Result of tool call t2:"},
            {"type": "image_url", "image_url": {"url": "https://x"}},
            {"type": "text", "text": "And now?"},
        ]},
    ]);
    assert_eq!(translated, expected);
}

#[test]
fn results_alone_make_no_empty_turn() {
    let result = json!({"type": "tool_result", "tool_use_id": "t"});
    let translated = messages(json!([{"role": "user", "content": [result]}]));
    assert_eq!(
        translated,
        json!([{"role": "tool", "tool_call_id": "t", "content": ""}])
    );
    let calls_only = json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}]);
    let translated = messages(json!([{"role": "assistant", "content": calls_only}]));
    assert_eq!(translated[0]["content"], Value::Null);
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    let assistant = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let table = [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": "9"}), "max_tokens"),
        (json!({"model": 1}), "model"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": "hi"}), "messages"),
        (json!({"messages": [7]}), "messages[0]"),
        (
            json!({"messages": [{"role": "tool", "content": ""}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a", "name": "n"}]}),
            "messages[0].name",
        ),
        (json!({"system": 1}), "system"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"n": 2}), "n"),
        (json!({"stop": ["x"], "stop_sequences": ["y"]}), "stop"),
        (json!({"container": "c"}), "container"),
        (json!({"mcp_servers": [{"url": "x"}]}), "mcp_servers"),
        (json!({"metadata": {"other": 1}}), "metadata.other"),
        (
            json!({"thinking": {"type": "enabled"}}),
            "thinking.budget_tokens",
        ),
        (json!({"thinking": {"type": "loud"}}), "thinking.type"),
        (
            json!({"output_config": {"format": {"type": "xml"}}}),
            "output_config.format.type",
        ),
        (
            json!({"output_config": {"speed": 1}}),
            "output_config.speed",
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            "tools[0].type",
        ),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema"),
        (
            json!({"tools": [{"name": "f", "input_schema": {}, "defer_loading": true}]}),
            "tools[0].defer_loading",
        ),
        (
            json!({"tool_choice": {"type": "maybe"}}),
            "tool_choice.type",
        ),
        (json!({"tool_choice": {"type": "tool"}}), "tool_choice.name"),
        (
            user(json!({"type": "video"})),
            "messages[0].content[0].type",
        ),
        (user(json!({"type": "text"})), "messages[0].content[0].text"),
        (
            user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages[0].content[0].source.type",
        ),
        (
            user(json!({"type": "image", "source": {"type": "base64", "data": "x"}})),
            "messages[0].content[0].source.media_type",
        ),
        (
            user(json!({"type": "document", "source": {"type": "url", "url": "x"}})),
            "messages[0].content[0].source.type",
        ),
        (
            user(json!({"type": "document", "citations": {"enabled": true}, "source": {}})),
            "messages[0].content[0].citations.enabled",
        ),
        (
            user(json!({"type": "tool_result"})),
            "messages[0].content[0].tool_use_id",
        ),
        (
            assistant(json!({"type": "server_tool_use"})),
            "messages[0].content[0].type",
        ),
        (
            assistant(json!({"type": "tool_use", "id": "t", "name": "f", "input": "x"})),
            "messages[0].content[0].input",
        ),
    ];
    for (more, field) in table {
        assert_eq!(refused(more.clone()), field, "{more}");
    }
}

#[test]
fn hints_are_left_out_by_name() {
    let translated = to_chat(request(json!({
        "cache_control": {"type": "ephemeral"},
        "context_management": {"edits": []},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": true, "allowed_callers": ["direct"]}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a", "citations": [{"type": "char_location"}]}]},
        ],
    })));
    let expected = [
        "cache_control",
        "citations",
        "context_management",
        "eager_input_streaming",
        "redacted_thinking",
        "thinking.display",
    ];
    assert_eq!(translated.unwrap().omitted, expected);
}

#[test]
fn an_error_reads_as_a_sentence() {
    let error = to_chat(request(json!({"n": 2}))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`n` is not supported by this model's backend"
    );
}
