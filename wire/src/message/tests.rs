//! The pieces of every server's messages, and the schema of a message in a request.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

fn joined(pieces: &[Value]) -> Draft {
    let mut draft = Draft::default();
    for piece in pieces {
        draft.add(piece.as_object().unwrap().clone());
    }
    draft
}

fn message(pieces: &[Value]) -> Value {
    joined(pieces).request_message().unwrap()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls are easier to read this way"
)]
fn call(index: Option<u64>, id: Value, name: Value, arguments: Value) -> Value {
    let mut call = json!({"id": id, "function": {"name": name, "arguments": arguments}});
    if let Some(index) = index {
        call["index"] = index.into();
    }
    json!({"tool_calls": [call]})
}

fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
    let message = message(pieces);
    check(&message).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let calls = message["tool_calls"].as_array().unwrap().iter();
    calls
        .map(|call| {
            let function = &call["function"];
            (
                text(&call["id"]),
                text(&function["name"]),
                text(&function["arguments"]),
            )
        })
        .collect()
}

fn triple(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

/// Checks the schema of an assistant's message in a request strictly: no field that some server refuses.
fn check(message: &Value) -> Result<(), String> {
    let object = message.as_object().ok_or("no object")?;
    let mut known = vec!["role", "content", "tool_calls", "function_call"];
    if object.contains_key("tool_calls") {
        known.extend(THOUGHTS);
    }
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("`{key}` is not allowed"));
    }
    if message["role"] != "assistant" || !object.contains_key("content") {
        return Err("no role or content".to_owned());
    }
    let function = |function: &Value| {
        let has_name = function["name"]
            .as_str()
            .is_some_and(|name| !name.is_empty());
        let object = function
            .as_object()
            .is_some_and(|function| function.len() == 2);
        has_name && object && function["arguments"].is_string()
    };
    let has_calls = match object.get("tool_calls") {
        None => false,
        Some(Value::Array(calls)) if !calls.is_empty() => {
            for call in calls {
                let has_id = call["id"].as_str().is_some_and(|id| !id.is_empty());
                let is_valid = has_id && call["type"] == "function" && function(&call["function"]);
                let known = |key: &str| {
                    ["id", "type", "function"].contains(&key) || RETURNED.contains(&key)
                };
                let is_known = |call: &Map<String, Value>| call.keys().all(|key| known(key));
                if !is_valid || !call.as_object().is_some_and(is_known) {
                    return Err(format!("bad call {call}"));
                }
            }
            true
        }
        Some(calls) => return Err(format!("bad calls {calls}")),
    };
    let has_function = match object.get("function_call") {
        None => false,
        Some(call) if function(call) => true,
        Some(call) => return Err(format!("bad function call {call}")),
    };
    match &message["content"] {
        Value::String(_) => Ok(()),
        Value::Null if has_calls || has_function => Ok(()),
        other => Err(format!("bad content {other}")),
    }
}

#[test]
fn later_pieces_with_a_null_or_empty_id_belong_to_the_same_call() {
    for id in [Value::Null, json!("")] {
        let pieces = [
            call(Some(0), json!("a"), json!("f"), json!("")),
            call(Some(0), id.clone(), Value::Null, json!("{\"x\":")),
            call(Some(1), json!("b"), json!("g"), json!("{}")),
            call(Some(0), id, json!(""), json!("1}")),
        ];
        assert_eq!(
            calls(&pieces),
            [triple("a", "f", "{\"x\":1}"), triple("b", "g", "{}")]
        );
    }
}

#[test]
fn calls_without_an_index_or_all_with_index_zero_are_told_apart() {
    for index in [None, Some(0)] {
        let pieces = [
            call(index, json!("a"), json!("f"), json!("{\"x\":1}")),
            call(index, json!("b"), json!("f"), json!("{")),
            call(index, Value::Null, Value::Null, json!("}")),
        ];
        assert_eq!(
            calls(&pieces),
            [triple("a", "f", "{\"x\":1}"), triple("b", "f", "{}")],
            "{index:?}"
        );
    }
}

#[test]
fn names_that_are_repeated_stay_and_names_in_pieces_grow() {
    let pieces = [
        call(Some(3), json!("a"), json!("get_"), json!("")),
        call(Some(3), json!("a"), json!("time"), json!("")),
    ];
    assert_eq!(calls(&pieces), [triple("a", "get_time", "{}")]);
    let pieces = [
        call(Some(0), json!("a"), json!("get"), json!("{")),
        call(Some(0), json!("a"), json!("get"), json!("}")),
    ];
    assert_eq!(calls(&pieces), [triple("a", "get", "{}")]);
}

#[test]
fn what_a_request_must_have_is_added_and_what_it_must_not_have_is_removed() {
    let cases = [
        (
            json!({"role": "assistant", "content": "x", "tool_calls": [], "reasoning": "r", "name": "n", "annotations": []}),
            json!({"role": "assistant", "content": "x"}),
        ),
        (
            json!({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}, "type": ""}]}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}),
        ),
        (
            json!({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, "b"]}),
            json!({"role": "assistant", "content": "ab"}),
        ),
        (
            json!({"content": null, "refusal": "no"}),
            json!({"role": "assistant", "content": "no"}),
        ),
        (
            json!({"content": null, "function_call": {"name": "f", "arguments": null}}),
            json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
        ),
        (
            json!({"content": "", "function_call": {"name": "", "arguments": ""}}),
            json!({"role": "assistant", "content": ""}),
        ),
        (
            json!({"role": "assistant"}),
            json!({"role": "assistant", "content": ""}),
        ),
    ];
    for (sent, kept) in cases {
        let message = message(std::slice::from_ref(&sent));
        assert_eq!(message, kept, "{sent}");
        check(&message).unwrap();
    }
}

#[test]
fn each_element_of_a_whole_message_is_a_call_with_an_id_of_its_own() {
    for (first, second) in [("i", "i"), ("", ""), ("call_1", "")] {
        let call = |id: &str, name: &str| json!({"id": id, "index": 0, "function": {"name": name, "arguments": "{}"}});
        let message = json!({"tool_calls": [call(first, "f"), call(second, "g")]});
        let draft = Draft::of_whole(message.as_object().unwrap().clone());
        let message = draft.request_message().unwrap();
        check(&message).unwrap();
        let calls = message["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 2);
        assert_eq!(
            calls[1]["function"],
            json!({"name": "g", "arguments": "{}"})
        );
        assert_ne!(calls[0]["id"], calls[1]["id"]);
    }
}

#[test]
fn what_a_server_requires_back_with_a_call_is_kept() {
    let signed = json!({"google": {"thought_signature": "SIG=="}});
    let mut first = call(Some(0), json!("a"), json!("f"), json!("{"));
    first["tool_calls"][0]["extra_content"] = signed.clone();
    first["tool_calls"][0]["unknown"] = json!(1);
    let pieces = [
        json!({"reasoning_content": "h", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}]}),
        json!({"reasoning_content": "m", "thinking_blocks": [{"type": "redacted_thinking", "data": "d"}]}),
        first.clone(),
        call(Some(0), Value::Null, Value::Null, json!("}")),
    ];
    let kept = message(&pieces);
    check(&kept).unwrap();
    let expected = json!({
        "role": "assistant", "content": null, "reasoning_content": "hm",
        "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}],
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": signed}],
    });
    assert_eq!(kept, expected);
    // Without a call no server requires it.
    let said = [pieces[0].clone(), json!({"content": "a"})];
    assert_eq!(message(&said), json!({"role": "assistant", "content": "a"}));
}

#[test]
fn arguments_that_are_not_an_object_are_kept_in_one() {
    for (sent, kept) in [
        ("{\"a\"", r#"{"INVALID_JSON":"{\"a\""}"#),
        ("[1]", r#"{"INVALID_JSON":"[1]"}"#),
        (
            "{\"a\":1}{\"b\":2}",
            r#"{"INVALID_JSON":"{\"a\":1}{\"b\":2}"}"#,
        ),
        ("null", "{}"),
        (" ", "{}"),
        ("{\"a\": 1e2}", "{\"a\": 1e2}"),
    ] {
        let pieces = [call(Some(0), json!("a"), json!("f"), json!(sent))];
        assert_eq!(calls(&pieces), [triple("a", "f", kept)]);
    }
}

#[test]
fn of_audio_the_transcript_is_kept() {
    let pieces = [
        json!({"content": null, "audio": {"id": "audio_1", "transcript": "He"}}),
        json!({"audio": {"transcript": "j", "data": "AAAA"}}),
    ];
    let expected = json!({"role": "assistant", "content": "Hej"});
    assert_eq!(message(&pieces), expected);
}

#[test]
fn what_has_no_valid_form_says_why() {
    let name = MessageError::ToolCall {
        index: 0,
        field: "name",
    };
    for (sent, error) in [
        (json!({"content": 7}), MessageError::Content),
        (
            json!({"content": [{"type": "image_url"}]}),
            MessageError::Content,
        ),
        (
            json!({"content": "here", "images": [{"image_url": {}}]}),
            MessageError::Images,
        ),
        (
            json!({"tool_calls": [{"id": "a", "function": {}}]}),
            name.clone(),
        ),
        (json!({"tool_calls": [{"id": "a"}]}), name),
    ] {
        assert_eq!(
            joined(std::slice::from_ref(&sent)).request_message(),
            Err(error),
            "{sent}"
        );
    }
    let many: Vec<Value> = (0..=TOOL_CALLS_MAX as u64)
        .map(|index| {
            call(
                Some(index),
                json!(format!("{index}")),
                json!("f"),
                json!(""),
            )
        })
        .collect();
    assert_eq!(
        joined(&many).request_message(),
        Err(MessageError::ToolCalls)
    );
}

/// How a server numbers tool calls.
#[derive(Clone, Copy, Debug)]
enum Numbering {
    Counted,
    AllZero,
    Absent,
}

/// Cuts an answer into the pieces of a legal stream.
fn pieces(
    text: Option<Vec<String>>,
    tools: &[(String, Vec<String>)],
    numbering: Numbering,
    later_id: &Value,
) -> Vec<Value> {
    let mut pieces = vec![json!({"role": "assistant", "content": text.as_ref().map(|_| "")})];
    pieces.extend(
        text.into_iter()
            .flatten()
            .map(|text| json!({"content": text, "reasoning_content": "r"})),
    );
    for (place, (name, arguments)) in (0_u64..).zip(tools) {
        let index = match numbering {
            Numbering::Counted => Some(place),
            Numbering::AllZero => Some(0),
            Numbering::Absent => None,
        };
        let id = json!(format!("call-{place}"));
        pieces.push(call(index, id, json!(name), json!("")));
        for part in arguments {
            pieces.push(call(index, later_id.clone(), Value::Null, json!(part)));
        }
    }
    pieces.push(json!({"tool_calls": []}));
    pieces.push(json!({}));
    pieces
}

proptest! {
    #[test]
    fn any_legal_stream_becomes_a_message_that_a_request_may_hold(
        text in option::of(vec("[a-z\"\\\\ å]{0,5}", 0..4)),
        tools in vec(("[a-z_]{1,6}", vec("[a-z0-9{}:\"]{0,4}", 0..4)), 0..4),
        numbering in select(vec![Numbering::Counted, Numbering::AllZero, Numbering::Absent]),
        later_id in select(vec![Value::Null, json!("")]),
    ) {
        let sent = pieces(text.clone(), &tools, numbering, &later_id);
        let message = joined(&sent).request_message().unwrap();
        prop_assert_eq!(check(&message), Ok(()), "{}", message);
        let text = text.unwrap_or_default().concat();
        prop_assert_eq!(message["content"].as_str().unwrap_or_default(), text);
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        prop_assert_eq!(calls.len(), tools.len());
        for (call, (name, arguments)) in calls.iter().zip(&tools) {
            prop_assert_eq!(&call["function"]["name"], &json!(name));
            let arguments = arguments.concat();
            let is_object = serde_json::from_str::<Map<String, Value>>(&arguments).is_ok();
            let arguments = match &*arguments {
                "" => "{}".to_owned(),
                _ if is_object => arguments,
                cut => json!({INVALID_JSON: cut}).to_string(),
            };
            prop_assert_eq!(&call["function"]["arguments"], &json!(arguments));
        }
    }
}
