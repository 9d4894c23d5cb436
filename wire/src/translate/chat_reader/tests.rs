use serde_json::json;

use super::*;

fn read(deltas: &[Value]) -> (ChatReader, Vec<Piece>) {
    let mut reader = ChatReader::default();
    let mut pieces = Vec::new();
    for delta in deltas {
        let chunk = json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]});
        pieces.extend(reader.chunk(chunk).unwrap());
    }
    (reader, pieces)
}

fn call(slot: usize, id: &str, name: &str) -> Piece {
    Piece::Call {
        slot,
        id: id.to_owned(),
        name: name.to_owned(),
        returned: Map::new(),
    }
}

fn arguments(slot: usize, text: &str) -> Piece {
    Piece::Arguments {
        slot,
        text: text.to_owned(),
    }
}

#[test]
fn calls_are_told_apart_however_a_server_numbers_them() {
    let f = |arguments: &str| json!({"name": "f", "arguments": arguments});
    let table = [
        // As OpenAI sends it.
        vec![
            json!({"tool_calls": [{"index": 0, "id": "a", "function": f("")}]}),
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            json!({"tool_calls": [{"index": 1, "id": "b", "function": f("{}")}]}),
        ],
        // The id is null or empty in later parts, and the name is repeated.
        vec![
            json!({"tool_calls": [{"index": 0, "id": "a", "function": f("{")}]}),
            json!({"tool_calls": [{"index": 0, "id": null, "function": f("}")}]}),
            json!({"tool_calls": [{"index": 1, "id": "b", "function": f("{")}]}),
            json!({"tool_calls": [{"index": 1, "id": "", "function": {"name": "", "arguments": "}"}}]}),
        ],
        // Whole calls without an index.
        vec![
            json!({"tool_calls": [{"id": "a", "function": f("{}")}, {"id": "b", "function": f("{}")}]}),
        ],
        // Every call has index 0.
        vec![
            json!({"tool_calls": [{"index": 0, "id": "a", "function": f("{}")}]}),
            json!({"tool_calls": [{"index": 0, "id": "b", "function": f("{}")}]}),
        ],
        // Arguments as an object, and before the name.
        vec![
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": {}}}]}),
            json!({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}),
            json!({"tool_calls": [{"index": 1, "id": "b", "function": f("{}")}]}),
        ],
    ];
    for deltas in table {
        let (reader, pieces) = read(&deltas);
        let mut joined = [String::new(), String::new()];
        let mut begun = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Arguments { slot, text } => joined[slot] += &text,
                piece => begun.push(piece),
            }
        }
        assert_eq!(begun, [call(0, "a", "f"), call(1, "b", "f")], "{deltas:?}");
        assert_eq!(joined, ["{}", "{}"], "{deltas:?}");
        assert!(reader.has_calls());
    }
}

#[test]
fn a_call_without_an_id_gets_one() {
    let deltas = [json!({"tool_calls": [
        {"function": {"name": "f", "arguments": "1"}}, {"function": {"name": "g", "arguments": "2"}},
    ]})];
    let expected = [
        call(0, "call_c_0", "f"),
        arguments(0, "1"),
        call(1, "call_c_1", "g"),
        arguments(1, "2"),
    ];
    assert_eq!(read(&deltas).1, expected);
    let old = [
        json!({"function_call": {"name": "f", "arguments": "{"}}),
        json!({"function_call": {"arguments": "}"}}),
    ];
    let expected = [
        call(0, "call_c_0", "f"),
        arguments(0, "{"),
        arguments(0, "}"),
    ];
    assert_eq!(read(&old).1, expected);
}

#[test]
fn reasoning_is_read_under_each_of_its_names() {
    let thinking = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}]);
    let table = [
        json!({"reasoning_content": "hm", "content": "hi"}),
        json!({"reasoning": "hm", "content": "hi"}),
        json!({"reasoning": "hm", "reasoning_content": "hm", "content": "hi"}),
        json!({"content": thinking}),
    ];
    let text = Piece::Text {
        text: "hi".to_owned(),
        logprobs: Vec::new(),
    };
    let expected = [Piece::Reasoning("hm".to_owned()), text];
    for delta in table {
        assert_eq!(read(std::slice::from_ref(&delta)).1, expected, "{delta}");
    }
}

#[test]
fn an_answer_ends_only_with_a_reason() {
    let mut reader = ChatReader::default();
    for reason in [json!(null), json!("")] {
        let chunk =
            json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": reason}]});
        reader.chunk(chunk).unwrap();
        assert_eq!(reader.end(), Err(BadAnswer::Incomplete));
    }
    let chunk = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}]});
    reader.chunk(chunk).unwrap();
    assert_eq!(reader.end(), Ok(()));
    assert_eq!(reader.stop_sequence.as_deref(), Some("END"));
}

#[test]
fn a_call_that_is_never_named_is_not_an_answer() {
    let (mut reader, _) =
        read(&[json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})]);
    reader.finish_reason = Some("tool_calls".to_owned());
    assert!(matches!(reader.end(), Err(BadAnswer::Lacks(_))));
}

#[test]
fn what_is_not_an_answer_is_refused() {
    let mut reader = ChatReader::default();
    for body in [
        json!({}),
        json!([]),
        json!({"choices": []}),
        json!({"choices": [{"message": "x"}]}),
    ] {
        assert!(matches!(reader.whole(body), Err(BadAnswer::Lacks(_))));
    }
    let error = json!({"error": {"message": "no"}, "choices": []});
    assert_eq!(
        reader.chunk(error),
        Err(BadAnswer::Reported("no".to_owned()))
    );
}

#[test]
fn unknown_members_are_kept_and_bounded() {
    let mut reader = ChatReader::default();
    let chunk =
        |n: u32| json!({"system_fingerprint": "f", "choices": [{"delta": {"annotations": [n]}}]});
    reader.chunk(chunk(1)).unwrap();
    reader.chunk(chunk(2)).unwrap();
    let expected = json!({"system_fingerprint": "f", "annotations": [1, 2]});
    assert_eq!(Value::Object(reader.other.clone()), expected);
    let large = json!({"x": "y".repeat(OTHER_SIZE_MAX), "choices": []});
    assert_eq!(
        reader.chunk(large),
        Err(BadAnswer::TooLarge(OTHER_SIZE_MAX))
    );
}

#[test]
fn a_name_in_parts_is_whole_before_the_call_begins() {
    let part = |name: &str, arguments: &str| json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": name, "arguments": arguments}}]});
    let (_, pieces) = read(&[part("get_", ""), part("weather", ""), part("", "{}")]);
    assert_eq!(pieces, [call(0, "a", "get_weather"), arguments(0, "{}")]);
    // Without arguments it begins with the next call, or with the end.
    let mut reader = ChatReader::default();
    let delta = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}, {"index": 1, "id": "b", "function": {"name": "g"}}]});
    let chunk = json!({"choices": [{"delta": delta}]});
    assert_eq!(reader.chunk(chunk).unwrap(), [call(0, "a", "f")]);
    assert_eq!(reader.done(), [call(1, "b", "g")]);
    assert_eq!(reader.finish_reason.as_deref(), Some("tool_calls"));
}

#[test]
fn each_element_of_a_whole_answer_is_a_call() {
    let f =
        |name: &str| json!({"id": "i", "index": 0, "function": {"name": name, "arguments": "{}"}});
    let answer = json!({"id": "c", "choices": [{"message": {"tool_calls": [f("f"), f("g")]}, "finish_reason": "tool_calls"}]});
    let pieces = ChatReader::default().whole(answer).unwrap();
    let expected = [
        call(0, "i", "f"),
        arguments(0, "{}"),
        call(1, "call_c_1", "g"),
        arguments(1, "{}"),
    ];
    assert_eq!(pieces, expected);
}

#[test]
fn the_only_choice_is_read_whatever_its_index() {
    for index in [json!("0"), json!(1), json!(null)] {
        let answer = json!({"choices": [{"index": index, "message": {"content": {"text": "hi"}}, "finish_reason": "STOP"}]});
        let mut reader = ChatReader::default();
        let pieces = reader.whole(answer).unwrap();
        assert!(
            matches!(&pieces[..], [Piece::Text { text, .. }] if text == "hi"),
            "{index}"
        );
        assert_eq!(reader.finish_reason.as_deref(), Some("stop"));
        let chunk = json!({"choices": [{"index": index, "message": {"content": "hi"}, "finish_reason": "MAX_TOKENS"}]});
        let mut reader = ChatReader::default();
        assert_eq!(reader.chunk(chunk).unwrap().len(), 1, "{index}");
        assert_eq!(reader.end(), Ok(()));
    }
}
