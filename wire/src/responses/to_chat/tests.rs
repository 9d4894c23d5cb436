#![expect(
    clippy::needless_pass_by_value,
    reason = "JSON reads better where it is passed by value"
)]

use serde_json::json;

use super::*;

fn request(more: Value) -> Value {
    let mut request = json!({"model": "m", "input": "hi"});
    for (key, value) in more.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn chat(more: Value) -> Value {
    to_chat(request(more)).unwrap().chat([])
}

fn messages(input: Value) -> Value {
    chat(json!({"input": input}))["messages"].clone()
}

fn refused(more: Value) -> String {
    to_chat(request(more)).unwrap_err().field
}

#[test]
fn each_field_has_its_counterpart() {
    let tool =
        |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}});
    let function = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let table = [
        (json!({}), json!({})),
        (json!({"max_output_tokens": 5}), json!({"max_tokens": 5})),
        (
            json!({"temperature": 0.5, "top_p": 0.1, "user": "u"}),
            json!({"temperature": 0.5, "top_p": 0.1, "user": "u"}),
        ),
        (
            json!({"stream": true}),
            json!({"stream": true, "stream_options": {"include_usage": true}}),
        ),
        (
            json!({"store": false, "metadata": {"a": "b"}, "max_tool_calls": 3, "truncation": "disabled"}),
            json!({}),
        ),
        (
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
            json!({"reasoning_effort": "low"}),
        ),
        (
            json!({"text": {"verbosity": "low"}}),
            json!({"verbosity": "low"}),
        ),
        (json!({"text": {"format": {"type": "text"}}}), json!({})),
        (
            json!({"text": {"format": {"type": "json_object"}}}),
            json!({"response_format": {"type": "json_object"}}),
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}}}),
        ),
        (
            json!({"tools": [tool("f")]}),
            json!({"tools": [function("f")]}),
        ),
        (
            json!({"tool_choice": "required"}),
            json!({"tool_choice": "required"}),
        ),
        (
            json!({"tools": [tool("f")], "tool_choice": {"type": "function", "name": "f"}}),
            json!({"tools": [function("f")], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            json!({"tools": [tool("f"), tool("g")], "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}}),
            json!({"tools": [function("g")], "tool_choice": "required"}),
        ),
        (
            json!({"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
            json!({"logprobs": true, "top_logprobs": 2}),
        ),
        (json!({"top_logprobs": 0}), json!({})),
        (
            json!({"min_p": 0.1, "previous_response_id": null}),
            json!({"min_p": 0.1}),
        ),
    ];
    for (more, expected) in table {
        let mut all = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (key, value) in expected.as_object().unwrap() {
            all[key] = value.clone();
        }
        assert_eq!(chat(more.clone()), all, "{more}");
    }
}

#[test]
fn instructions_go_before_the_history_and_are_not_kept() {
    let call = to_chat(request(json!({"instructions": "be brief"}))).unwrap();
    let earlier = json!({"role": "assistant", "content": "so"});
    let own = json!({"role": "user", "content": "hi"});
    let expected = json!([{"role": "system", "content": "be brief"}, earlier, own]);
    assert_eq!(call.chat([earlier])["messages"], expected);
}

#[test]
fn what_a_response_continues_is_data() {
    let call = |more: Value| to_chat(request(more)).unwrap();
    let first = call(json!({}));
    assert!(!first.stream);
    assert_eq!(first.terms, Terms::default());
    assert!(call(json!({"truncation": "auto"})).terms.truncates);
    let next = call(json!({"previous_response_id": "resp_1", "store": false, "stream": true}));
    assert!(next.terms.store == Some(false) && next.stream);
    let previous = next.terms.previous_response_id;
    assert_eq!(previous.as_deref(), Some("resp_1"));
    for conversation in [json!("conv_1"), json!({"id": "conv_1"})] {
        let next = call(json!({"conversation": conversation}));
        assert_eq!(next.terms.conversation.as_deref(), Some("conv_1"));
    }
    assert_eq!(
        refused(json!({"conversation": "c", "previous_response_id": "r"})),
        "conversation"
    );
}

#[test]
fn the_terms_of_a_call_that_is_not_translated_are_read_alone() {
    let tool = json!([{"type": "web_search"}]);
    let terms = |more: Value| Terms::of_request(request(more));
    let read = terms(json!({"tools": tool, "store": false, "truncation": "auto"})).unwrap();
    assert!(read.store == Some(false) && read.truncates);
    for (more, field) in [
        (json!({"background": true}), "background"),
        (json!({"store": 1}), "store"),
        (json!({"truncation": "some"}), "truncation"),
        (json!({"conversation": {"x": 1}}), "conversation.id"),
    ] {
        assert_eq!(terms(more).unwrap_err().field, field);
    }
}

#[test]
fn messages_and_media_become_messages() {
    let table = [
        (
            json!({"role": "user", "content": "a"}),
            json!({"role": "user", "content": "a"}),
        ),
        (
            json!({"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]}),
            json!({"role": "system", "content": "a"}),
        ),
        (
            json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]}),
            json!({"role": "assistant", "content": "a"}),
        ),
        (
            json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
            json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        ),
        (
            json!({"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x", "detail": "low"}]}),
            json!({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}]}),
        ),
        (
            json!({"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}]}),
            json!({"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}]}),
        ),
        (
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}),
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}),
        ),
    ];
    for (item, message) in table {
        assert_eq!(messages(json!([item])), json!([message]), "{item}");
    }
}

#[test]
fn a_round_of_tools_is_one_message_of_calls() {
    let call = |id: &str| json!({"type": "function_call", "id": "fc", "status": "completed", "call_id": id, "name": "f", "arguments": "{}"});
    let result = |id: &str, output: Value| json!({"type": "function_call_output", "call_id": id, "output": output});
    let translated = messages(json!([
        {"role": "user", "content": "go"},
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"role": "assistant", "content": "I look."},
        call("a"),
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "and"}]},
        call("b"),
        result("a", json!("one")),
        result("b", json!([{"type": "input_text", "text": "two"}, {"type": "input_image", "image_url": "https://x"}])),
        {"role": "assistant", "content": "Done."},
        {"role": "assistant", "content": "Really."},
    ]));
    let chat_call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let expected = json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "I look.", "reasoning_content": "hm\n\nand", "tool_calls": [chat_call("a"), chat_call("b")]},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "Result of tool call b:"}, {"type": "image_url", "image_url": {"url": "https://x"}}]},
        {"role": "assistant", "content": "Done."},
        {"role": "assistant", "content": "Really."},
    ]);
    assert_eq!(translated, expected);
}

#[test]
fn what_has_no_counterpart_is_refused_by_name() {
    let item = |item: Value| json!({"input": [item]});
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let table = [
        (json!({"model": null}), "model"),
        (json!({"input": null}), "input"),
        (json!({"input": 1}), "input"),
        (json!({"background": true}), "background"),
        (json!({"store": "yes"}), "store"),
        (json!({"prompt": {"id": "p"}}), "prompt"),
        (json!({"truncation": "some"}), "truncation"),
        (json!({"n": 2}), "n"),
        (json!({"messages": []}), "messages"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"metadata": "x"}), "metadata"),
        (
            json!({"text": {"format": {"type": "grammar"}}}),
            "text.format.type",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "schema": {}}}}),
            "text.format.name",
        ),
        (json!({"reasoning": {"depth": 1}}), "reasoning.depth"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (json!({"tool_choice": {"type": "mcp"}}), "tool_choice.type"),
        (
            item(json!({"type": "item_reference", "id": "x"})),
            "input[0].type",
        ),
        (item(json!({"type": "web_search_call"})), "input[0].type"),
        (
            item(json!({"role": "robot", "content": "x"})),
            "input[0].role",
        ),
        (item(json!({"role": "user"})), "input[0].content"),
        (
            item(json!({"role": "user", "content": "x", "name": "n"})),
            "input[0].name",
        ),
        (
            item(json!({"type": "function_call", "call_id": "c", "name": "f"})),
            "input[0].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "output": "x"})),
            "input[0].call_id",
        ),
        (
            part(json!({"type": "input_image", "file_id": "f"})),
            "input[0].content[0].file_id",
        ),
        (
            part(json!({"type": "input_image"})),
            "input[0].content[0].image_url",
        ),
        (
            part(json!({"type": "input_file", "file_url": "https://x"})),
            "input[0].content[0].file_url",
        ),
        (
            part(json!({"type": "hologram"})),
            "input[0].content[0].type",
        ),
    ];
    for (more, field) in table {
        assert_eq!(refused(more.clone()), field, "{more}");
    }
}

#[test]
fn tools_and_what_belongs_to_them_are_sent_together() {
    let tool = |name: &str| json!({"type": "function", "name": name});
    let function = |name: &str| json!({"type": "function", "function": {"name": name}});
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    let rows = [
        (
            json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}),
            json!({}),
        ),
        (
            json!({"tool_choice": "none", "parallel_tool_calls": false}),
            json!({}),
        ),
        (
            json!({"tools": [tool("f")], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}),
            json!({}),
        ),
        (
            json!({"tools": [tool("f")], "tool_choice": "auto", "parallel_tool_calls": false}),
            json!({"tools": [function("f")], "tool_choice": "auto", "parallel_tool_calls": false}),
        ),
    ];
    for (more, expected) in rows {
        let mut all = base.clone();
        for (key, value) in expected.as_object().unwrap() {
            all[key] = value.clone();
        }
        assert_eq!(chat(more.clone()), all, "{more}");
    }
}

#[test]
fn without_tools_what_has_no_effect_on_them_is_left_out() {
    for choice in ["auto", "none"] {
        let more = json!({"tools": [], "tool_choice": choice, "parallel_tool_calls": true});
        let sent = chat(more);
        for key in ["tools", "tool_choice", "parallel_tool_calls"] {
            assert_eq!(sent.get(key), None, "{sent}");
        }
    }
}

#[test]
fn hints_are_left_out_by_name() {
    let call = to_chat(request(json!({
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": true},
        "input": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "encrypted_content": "e"},
            {"role": "user", "content": "x"},
            {"role": "assistant", "phase": "final_answer", "content": [{"type": "output_text", "text": "y", "annotations": [{"type": "url_citation"}]}]},
        ],
    })));
    let expected = [
        "annotations",
        "encrypted_content",
        "include: reasoning.encrypted_content",
        "phase",
        "reasoning",
        "reasoning.summary",
        "stream_options.include_obfuscation",
    ];
    assert_eq!(call.unwrap().omitted, expected);
}

#[test]
fn a_search_in_files_is_done_here_and_not_by_the_backend() {
    let tool = json!({"type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 4});
    let function = json!({"type": "function", "name": "f"});
    let call = to_chat(request(json!({
        "tools": [tool], "tool_choice": "required", "parallel_tool_calls": true, "include": ["file_search_call.results"],
    })))
    .unwrap();
    let chat = call.chat([]);
    for key in ["tools", "tool_choice", "parallel_tool_calls", "include"] {
        assert_eq!(chat.get(key), None, "{key}");
    }
    let search = call.file_search.unwrap();
    assert!(search.is_chosen && search.includes_results);
    assert_eq!(search.vector_store_ids, ["vs_1"]);
    assert!(call.omitted.is_empty());
    let call = to_chat(request(json!({
        "tools": [function, tool], "tool_choice": {"type": "file_search"},
    })))
    .unwrap();
    let chat = call.chat([]);
    assert_eq!(chat["tools"].as_array().unwrap().len(), 1);
    assert_eq!(chat["tool_choice"], "auto");
    assert_eq!(call.file_search.unwrap().path, "tools[1]");
    let allowed = json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]});
    let call = to_chat(request(
        json!({"tools": [function, tool], "tool_choice": allowed}),
    ))
    .unwrap();
    assert!(!call.file_search.unwrap().is_chosen);
    // An earlier search goes nowhere: its answer is there.
    let item = json!([{"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": [], "results": null}, {"role": "user", "content": "hi"}]);
    assert_eq!(messages(item).as_array().unwrap().len(), 1);
}

#[test]
fn servers_are_kept_apart_and_what_was_called_is_read_as_calls_with_results() {
    let server = json!({"type": "mcp", "server_label": "s", "require_approval": "never"});
    let call = to_chat(request(
        json!({"tools": [server], "parallel_tool_calls": false, "max_tool_calls": 3}),
    ))
    .unwrap();
    assert_eq!(call.mcp.servers[0].label, "s");
    assert_eq!(call.mcp.calls_max, Some(3));
    let sent = call.chat([]);
    assert!(sent.get("tools").is_none() && sent["parallel_tool_calls"] == false);
    assert_eq!(
        refused(json!({"tools": [{"type": "mcp", "server_label": "s", "server_url": "http://x"}]})),
        "tools[0].server_url"
    );
    let none = to_chat(request(
        json!({"tools": [{"type": "mcp", "server_label": "s"}], "tool_choice": "none"}),
    ));
    assert!(none.unwrap().mcp.is_refused);
    let made = |id: &str, more: Value| {
        let mut item = json!({"type": "mcp_call", "id": id, "server_label": "s", "name": "read", "arguments": "{}", "status": "completed"});
        item.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        item
    };
    let input = json!([
        {"role": "user", "content": "a"},
        {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": [], "error": null},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]},
        made("c1", json!({"output": "one", "error": null, "approval_request_id": null})),
        made("c2", json!({"output": null, "error": "no"})),
        {"type": "mcp_approval_request", "id": "r1", "server_label": "s", "name": "write", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]},
        {"type": "mcp_approval_response", "approval_request_id": "r1", "approve": true},
    ]);
    let call = to_chat(request(json!({"input": input}))).unwrap();
    let function = json!({"name": "s__read", "arguments": "{}"});
    let calls = ["c1", "c2"].map(|id| json!({"id": id, "type": "function", "function": function}));
    let expected = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "error: no"},
        {"role": "assistant", "content": "Done."},
    ]);
    assert_eq!(call.chat([])["messages"], expected);
    let items = &call.mcp.items;
    assert_eq!(items.listed, ["s"]);
    assert_eq!(
        items.request("r1").map(|one| one.name.as_str()),
        Some("write")
    );
    assert_eq!(
        (&*items.approvals[0].request, &*items.approvals[0].path),
        ("r1", "input[7]")
    );
    assert_eq!(
        refused(json!({"input": [{"type": "mcp_approval_response", "approve": true}]})),
        "input[0].approval_request_id"
    );
}
