use serde_json::json;

use super::*;
use crate::{
    anthropic::{EventWriter, MessageContext},
    translate::{ChatReader, Piece},
};

fn chunks(events: &[Value], include_usage: bool) -> Result<Vec<Value>, BadAnswer> {
    let mut writer = ChunkWriter::new(include_usage, 1);
    let mut out = String::new();
    for event in events {
        writer.data(event.to_string().as_bytes(), &mut out)?;
    }
    assert_eq!(writer.is_done(), out.ends_with("data: [DONE]\n\n"));
    let datas = out
        .split_terminator("\n\n")
        .map(|part| part.strip_prefix("data: ").unwrap());
    let datas = datas.filter(|data| *data != "[DONE]");
    Ok(datas
        .map(|data| serde_json::from_str(data).unwrap())
        .collect())
}

fn stream() -> Vec<Value> {
    let start = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u32| json!({"type": "content_block_stop", "index": index});
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 2}}}),
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        json!({"type": "ping"}),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        start(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "He"})),
        delta(1, json!({"type": "text_delta", "text": "j"})),
        stop(1),
        start(
            2,
            json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        ),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(
            2,
            json!({"type": "input_json_delta", "partial_json": "{\"x\":"}),
        ),
        delta(2, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(2),
        start(
            3,
            json!({"type": "tool_use", "id": "t2", "name": "g", "input": {"whole": true}}),
        ),
        stop(3),
        start(
            4,
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        stop(4),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 9, "input_tokens": null}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn a_stream_becomes_chunks_of_the_same_answer() {
    let chunks = chunks(&stream(), true).unwrap();
    let mut reader = ChatReader::default();
    let mut pieces = Vec::new();
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(
            (&chunk["id"], &chunk["model"], &chunk["created"]),
            (&json!("msg_1"), &json!("claude"), &json!(1))
        );
        assert!(chunk.get("usage").is_some());
        pieces.extend(reader.chunk(chunk.clone()).unwrap());
    }
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let text = |text: &str| Piece::Text {
        text: text.to_owned(),
        logprobs: Vec::new(),
    };
    let call = |slot, id: &str, name: &str| Piece::Call {
        slot,
        id: id.to_owned(),
        name: name.to_owned(),
        returned: Map::new(),
    };
    let arguments = |slot, text: &str| Piece::Arguments {
        slot,
        text: text.to_owned(),
    };
    let expected = [
        Piece::Reasoning("hm".to_owned()),
        text("He"),
        text("j"),
        call(0, "t1", "f"),
        arguments(0, "{\"x\":"),
        arguments(0, "1}"),
        call(1, "t2", "g"),
        arguments(1, "{\"whole\":true}"),
    ];
    assert_eq!(pieces, expected);
    assert_eq!(reader.end(), Ok(()));
    assert_eq!(reader.finish_reason.as_deref(), Some("tool_calls"));
    assert_eq!(
        reader.other["thinking_blocks"],
        json!([{"type": "thinking", "thinking": "hm", "signature": "sig"}])
    );
    assert_eq!(reader.other["content_blocks"][0]["name"], "web_search");
    let usage = reader.usage.unwrap();
    assert_eq!(
        (&usage["prompt_tokens"], &usage["completion_tokens"]),
        (&json!(5), &json!(9))
    );
}

#[test]
fn usage_comes_only_when_it_was_asked_for() {
    for chunk in chunks(&stream(), false).unwrap() {
        assert_eq!(chunk.get("usage"), None);
    }
}

#[test]
fn an_error_or_a_cut_is_never_an_end() {
    let mut events = stream();
    events.insert(
        5,
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    );
    assert_eq!(
        chunks(&events, false),
        Err(BadAnswer::Reported("Overloaded".to_owned()))
    );
    let mut events = stream();
    events.retain(|event| event["type"] != "message_delta");
    assert_eq!(chunks(&events, false), Err(BadAnswer::Incomplete));
    let events = stream();
    let cut = chunks(&events[..events.len() - 1], false).unwrap();
    assert!(
        cut.iter()
            .all(|chunk| chunk["choices"][0]["finish_reason"].is_null())
    );
}

#[test]
fn a_whole_message_becomes_a_chat_answer() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_sequence": "x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "He"}, {"type": "text", "text": "j"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"z": 1, "a": 2}},
        ],
        "stop_reason": "tool_use", "usage": {"input_tokens": 3, "output_tokens": 4},
    });
    let answer = chat_of_message(message.to_string().as_bytes(), 7).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Hej");
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["arguments"],
        r#"{"z":1,"a":2}"#
    );
    assert_eq!(choice["message"]["thinking_blocks"][0]["signature"], "s");
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        (&answer["object"], &answer["created"]),
        (&json!("chat.completion"), &json!(7))
    );
    assert_eq!(
        (&answer["usage"]["total_tokens"], &answer["stop_sequence"]),
        (&json!(7), &json!("x"))
    );
    for body in [
        "",
        "[]",
        "{}",
        r#"{"type":"error","error":{"message":"x"}}"#,
    ] {
        assert!(chat_of_message(body.as_bytes(), 7).is_err(), "{body}");
    }
}

#[test]
fn events_survive_the_way_through_chat() {
    let mut events = stream();
    events.retain(|event| event["index"] != 4);
    let through = chunks(&events, true).unwrap();
    let mut writer = EventWriter::new(MessageContext::default());
    let mut out = String::new();
    for chunk in through {
        writer.data(chunk.to_string().as_bytes(), &mut out).unwrap();
    }
    writer.data(b"[DONE]", &mut out).unwrap();
    let kinds = |out: &str| {
        out.lines()
            .filter(|line| line.starts_with("event: content_block_start"))
            .count()
    };
    assert_eq!(kinds(&out), 4);
    assert!(out.contains("\"stop_reason\":\"tool_use\""));
    assert!(out.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}
