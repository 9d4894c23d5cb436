use serde_json::{Value, json};

use super::*;

fn values(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.value.as_str()).collect()
}

/// What the model is asked, and what goes along.
fn parts(texts: &[Text]) -> (Vec<&str>, Vec<&str>) {
    let of = |is_aside: bool| {
        let wanted = texts.iter().filter(|text| text.is_aside == is_aside);
        wanted.map(|text| text.value.as_str()).collect()
    };
    (of(false), of(true))
}

#[test]
fn the_texts_of_a_request_of_each_dialect_are_found() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://a"}});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (body, expected, messages) in [
        (
            json!({"model": "m", "user": "u", "messages": [
                {"role": "system", "content": "a"},
                {"role": "user", "name": "n", "content": [{"type": "text", "text": "b"}, image]},
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "d"},
            ], "tools": [{"function": {"description": "no"}}]}),
            vec!["a", "b", "{}", "d"],
            4,
        ),
        (
            json!({"prompt": ["a", "b"], "suffix": "c"}),
            vec!["a", "b", "c"],
            0,
        ),
        (json!({"input": ["a", "b"]}), vec!["a", "b"], 2),
        (
            json!({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}], "messages": [
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "b"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                ]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"id": "c", "n": 12_345_678, "s": 1}}]},
            ]}),
            vec!["a", "b", "c", "12345678"],
            2,
        ),
        (
            json!({"instructions": "a", "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "b"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "d"},
            ]}),
            vec!["a", "b", "{}", "d"],
            3,
        ),
        (
            json!({"query": "a", "documents": ["b", {"text": "c"}]}),
            vec!["a", "b", "c"],
            0,
        ),
    ] {
        let request = of_request(body.to_string().as_bytes()).unwrap();
        assert_eq!(parts(&request.texts).0, expected, "{body}");
        assert_eq!(request.messages, messages, "{body}");
        assert!(!request.has_token_ids);
    }
    let body = json!({"messages": [{"role": "user", "content": [image, image]}]}).to_string();
    assert_eq!(of_request(body.as_bytes()).unwrap().images, 2);
    for ids in [
        json!({"prompt": [1, 2]}),
        json!({"input": [[1], [2]]}),
        json!({"input": ["a", [1]]}),
    ] {
        assert!(
            of_request(ids.to_string().as_bytes())
                .unwrap()
                .has_token_ids,
            "{ids}"
        );
    }
    for wrong in ["[]", "", "{\"messages\":"] {
        assert_eq!(of_request(wrong.as_bytes()), Err(Unreadable), "{wrong}");
    }
}

#[test]
fn what_goes_along_with_a_request_is_found_too() {
    let schema = json!({"type": "object", "properties": {"url": {"type": "string", "description": "b", "enum": ["c"], "default": "d", "format": "email"}}});
    let mcp = json!({"type": "mcp", "server_label": "l", "server_url": "https://a", "authorization": "k", "headers": {"x": "k"}});
    for (body, asides) in [
        (
            json!({"model": "m", "user": "u", "stop": ["s", "t"], "seed": 4_111_111_111_111_111_u64, "stream": true,
                "metadata": {"id": "i", "name": "n", "number": 12_345_678}, "prompt_cache_key": "p", "service_tier": "auto",
                "logit_bias": {"1": 1}, "options": {"seed": 12_345_678, "stop": "o"}, "messages": []}),
            vec!["u", "s", "t", "i", "n", "12345678", "p", "o"],
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "description": "a", "parameters": schema}}, mcp],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": {"title": "e"}}}}),
            vec!["f", "a", "b", "c", "d", "f", "r", "e"],
        ),
        (
            json!({"stop_sequences": ["s"], "messages": [
                {"role": "user", "name": "ann", "content": "x"},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            ]}),
            vec!["s", "ann", "f"],
        ),
    ] {
        let body = body.to_string();
        let request = of_request(body.as_bytes()).unwrap();
        let mut found = parts(&request.texts).1;
        // The order of members is that of the body.
        found.sort_unstable();
        let mut expected = asides.clone();
        expected.sort_unstable();
        assert_eq!(found, expected, "{body}");
        let starts: Vec<_> = request.texts.iter().map(|text| text.span.start).collect();
        assert!(starts.is_sorted(), "{body}");
    }
}

#[test]
fn a_member_that_occurs_twice_is_read_twice() {
    let body = br#"{"messages":[{"content":"a","content":"b"}],"messages":"c"}"#;
    assert_eq!(values(&of_request(body).unwrap().texts), ["a", "b", "c"]);
}

#[test]
fn only_the_text_changes() {
    let body =
        r#"{ "x":1e2,"messages":[{"content" : "a\u0042\ud83d", "role":"user"}], "model":"m" }"#;
    let request = of_request(body.as_bytes()).unwrap();
    assert_eq!(values(&request.texts), ["aB\u{fffd}"]);
    let edits = [(
        request.texts[0].span.clone(),
        Replacement::Text("\"c\"".to_owned()),
    )];
    let changed = replaced(body.as_bytes(), &edits);
    let expected = r#"{ "x":1e2,"messages":[{"content" : "\"c\"", "role":"user"}], "model":"m" }"#;
    assert_eq!(str::from_utf8(&changed), Ok(expected));
    let start = body.find("\"m\"").unwrap();
    assert_eq!(&changed[moved(&(start..start + 3), &edits)], b"\"m\"");
    let start = body.find("1e2").unwrap();
    assert_eq!(&changed[moved(&(start..start + 3), &edits)], b"1e2");
}

#[test]
fn the_texts_of_answers_are_found() {
    for (body, expected) in [
        (
            json!({"id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a", "reasoning_content": "b",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}, "logprobs": {"content": [{"token": "a"}]}, "finish_reason": "stop"}]}),
            vec!["a", "b", "{}"],
        ),
        (json!({"choices": [{"text": "a"}]}), vec!["a"]),
        (
            json!({"type": "message", "content": [{"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "text", "text": "b"}, {"type": "tool_use", "input": {"k": "c"}}]}),
            vec!["a", "b", "c"],
        ),
        (
            json!({"output": [{"type": "reasoning", "summary": [{"text": "a"}]}, {"type": "message", "content": [{"type": "output_text", "text": "b"}]}]}),
            vec!["a", "b"],
        ),
        (json!({"data": [{"embedding": [0.5]}]}), vec![]),
    ] {
        let body = body.to_string();
        assert_eq!(
            values(&of_answer(body.as_bytes()).unwrap()),
            expected,
            "{body}"
        );
    }
    let body = json!({"choices": [{"logprobs": {"content": []}}, {"logprobs": null}]}).to_string();
    let found = probabilities(body.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(&body[found[0].clone()], r#"{"content":[]}"#);
}

#[test]
fn json_nested_beyond_the_bound_is_not_read() {
    let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    assert_eq!(of_request(deep.as_bytes()), Err(Unreadable));
    let deep = format!(
        r#"{{"choices":[{{"delta":{}1{}}}]}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    assert!(of_event(deep.as_bytes()).is_err());
}

#[test]
fn the_pieces_of_an_event_name_their_running_texts() {
    let event = json!({"choices": [
        {"index": 1, "delta": {"content": "a", "tool_calls": [{"index": 3, "function": {"name": "f", "arguments": "b"}}]}, "finish_reason": null},
        {"delta": {"content": ""}, "finish_reason": "stop"},
        {"index": 0, "text": "c"},
    ]});
    let texts = of_event(event.to_string().as_bytes()).unwrap();
    let names: Vec<(&str, &str)> = texts
        .deltas
        .iter()
        .map(|delta| (delta.name.as_str(), delta.text.value.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("1..content", "a"),
            ("1..tool_calls.3.function.arguments", "b"),
            ("0.text", "c")
        ]
    );
    assert_eq!(texts.deltas[1].text.form, Form::Json);
    assert_eq!(texts.ends, Ends::Groups(vec!["1".to_owned()]));
    let of = |value: Value| of_event(value.to_string().as_bytes()).unwrap();
    let start = of(
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "text", "text": "a"}}),
    );
    let delta = of(
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "b"}}),
    );
    assert_eq!(start.deltas[0].name, delta.deltas[0].name);
    assert_eq!(of(json!({"type": "ping"})).ends, Ends::Nothing);
}
