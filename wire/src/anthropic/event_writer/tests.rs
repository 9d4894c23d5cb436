#![expect(
    clippy::needless_pass_by_value,
    reason = "JSON reads better where it is passed by value"
)]

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::anthropic::message_of_chat;

fn context() -> MessageContext {
    MessageContext::of_request(&json!({"model": "m"}), "req_1")
}

fn chunk(delta: Value) -> Value {
    json!({"id": "chatcmpl-7", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "chatcmpl-7", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
}

/// Writes the chunks and `[DONE]`, and returns the events.
fn events(chunks: &[Value]) -> Result<Vec<Value>, BadAnswer> {
    let mut writer = EventWriter::new(context());
    let mut out = String::new();
    for chunk in chunks {
        writer.data(chunk.to_string().as_bytes(), &mut out)?;
    }
    writer.data(b" [DONE]", &mut out)?;
    Ok(parse(&out))
}

/// Writes the chunks of a stream that ends without `[DONE]`.
fn cut(chunks: &[Value]) -> Result<Vec<Value>, BadAnswer> {
    let mut writer = EventWriter::new(context());
    let mut out = String::new();
    for chunk in chunks {
        writer.data(chunk.to_string().as_bytes(), &mut out)?;
    }
    writer.end(&mut out)?;
    Ok(parse(&out))
}

fn parse(out: &str) -> Vec<Value> {
    let parts = out.split_terminator("\n\n");
    let events = parts.map(|part| {
        let (name, data) = part.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        data
    });
    events.collect()
}

/// Builds the message of a stream as the official clients do.
fn folded(events: &[Value]) -> Map<String, Value> {
    let mut message = events[0]["message"].as_object().unwrap().clone();
    let mut blocks: Vec<Value> = Vec::new();
    let mut open: Vec<Option<String>> = Vec::new();
    for event in &events[1..] {
        let index = event["index"]
            .as_u64()
            .map(|index| usize::try_from(index).unwrap());
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, Some(blocks.len()));
                blocks.push(event["content_block"].clone());
                open.push(Some(String::new()));
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let json = open[index.unwrap()].as_mut().expect("the block is open");
                match delta["type"].as_str().unwrap() {
                    "input_json_delta" => json.push_str(delta["partial_json"].as_str().unwrap()),
                    kind => {
                        let key = kind.strip_suffix("_delta").unwrap();
                        let block = &mut blocks[index.unwrap()];
                        let text = block[key].as_str().unwrap().to_owned();
                        block[key] = (text + delta[key].as_str().unwrap()).into();
                    }
                }
            }
            "content_block_stop" => {
                let json = open[index.unwrap()].take().expect("the block is open");
                if blocks[index.unwrap()]["type"] == "tool_use" {
                    blocks[index.unwrap()]["input"] = crate::anthropic::message::input_of(&json);
                }
            }
            "message_delta" => {
                assert!(open.iter().all(Option::is_none), "every block is closed");
                message.extend(event["delta"].as_object().unwrap().clone());
                message.insert("usage".to_owned(), event["usage"].clone());
            }
            "ping" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message.insert("content".to_owned(), blocks.into());
    message
}

fn names(events: &[Value]) -> Vec<String> {
    let name = |event: &Value| match event["index"].as_u64() {
        Some(index) => format!("{} {index}", event["type"].as_str().unwrap()),
        None => event["type"].as_str().unwrap().to_owned(),
    };
    events.iter().map(name).collect()
}

#[test]
fn events_come_in_their_order() {
    let chunks = [
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning_content": "hm"})),
        chunk(json!({"content": "He"})),
        chunk(json!({"content": "j"})),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
        ),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})),
        finish("tool_calls"),
        usage(),
    ];
    let events = events(&chunks).unwrap();
    let expected = [
        "message_start",
        "ping",
        "content_block_start 0",
        "content_block_delta 0",
        "content_block_stop 0",
        "content_block_start 1",
        "content_block_delta 1",
        "content_block_delta 1",
        "content_block_stop 1",
        "content_block_start 2",
        "content_block_delta 2",
        "content_block_stop 2",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&events), expected);
    let end = &events[12];
    assert_eq!(end["delta"]["stop_reason"], "tool_use");
    assert_eq!(
        (
            &end["usage"]["input_tokens"],
            &end["usage"]["output_tokens"]
        ),
        (&json!(3), &json!(2))
    );
}

#[test]
fn calls_that_alternate_come_one_after_the_other() {
    let part = |index: u32, arguments: &str| {
        chunk(
            json!({"tool_calls": [{"index": index, "id": format!("c{index}"), "function": {"name": "f", "arguments": arguments}}]}),
        )
    };
    let chunks = [
        part(0, "{\"a\":"),
        part(1, "{\"b\":"),
        part(0, "1}"),
        part(1, "2}"),
        finish("tool_calls"),
    ];
    let written = events(&chunks).unwrap();
    let block = |index: u32, deltas: usize| {
        let mut names = vec![format!("content_block_start {index}")];
        names.extend(vec![format!("content_block_delta {index}"); deltas]);
        names.push(format!("content_block_stop {index}"));
        names
    };
    let expected = [block(0, 2), block(1, 2)].concat();
    assert_eq!(names(&written)[2..8], expected[..6]);
    assert_eq!(names(&written)[8..10], expected[6..]);
    let message = folded(&written);
    assert_eq!(message["content"][0]["input"], json!({"a": 1}));
    assert_eq!(message["content"][1]["input"], json!({"b": 2}));
    let unnamed = chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}));
    let after_the_end = [part(0, "{}"), part(1, "{}"), unnamed, finish("tool_calls")];
    assert!(matches!(
        events(&after_the_end),
        Err(BadAnswer::Contradicts(_))
    ));
    let blanks = [
        part(0, "{}"),
        part(1, "{}"),
        part(0, " \n"),
        finish("tool_calls"),
    ];
    assert!(events(&blanks).is_ok());
}

#[test]
fn text_waits_for_the_arguments_of_a_call_and_what_never_ends_is_closed_at_the_end() {
    let call = |index: u32, arguments: &str| {
        let call = json!({"index": index, "id": format!("c{index}"), "function": {"name": "f", "arguments": arguments}});
        chunk(json!({"tool_calls": [call]}))
    };
    let chunks = [
        call(0, "{"),
        chunk(json!({"content": "after"})),
        call(1, "{\"b\""),
        call(2, "{}"),
        finish("length"),
    ];
    let message = folded(&events(&chunks).unwrap());
    let content = message["content"].as_array().unwrap();
    let kinds: Vec<_> = content
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tool_use", "text", "tool_use", "tool_use"]);
    assert_eq!(content[2]["input"], json!({"INVALID_JSON": "{\"b\""}));
}

#[test]
fn a_cut_is_never_an_end() {
    let chunks = [chunk(json!({"content": "He"})), usage()];
    assert_eq!(cut(&chunks), Err(BadAnswer::Incomplete));
    assert_eq!(cut(&[]), Err(BadAnswer::Incomplete));
    // The server says that it is done, but not why.
    assert!(events(&chunks).is_ok());
    assert_eq!(events(&[]), Err(BadAnswer::Incomplete));
    let mut writer = EventWriter::new(context());
    let mut out = String::new();
    writer
        .data(finish("stop").to_string().as_bytes(), &mut out)
        .unwrap();
    writer.end(&mut out).unwrap();
    let length = out.len();
    writer.data(b"[DONE]", &mut out).unwrap();
    assert_eq!(out.len(), length, "the end is written once");
}

#[test]
fn an_error_in_the_stream_is_an_error() {
    let error = json!({"error": {"message": "boom", "type": "server_error"}});
    assert_eq!(
        events(&[error]),
        Err(BadAnswer::Reported("boom".to_owned()))
    );
    let mut writer = EventWriter::new(context());
    assert!(matches!(
        writer.data(b"{", &mut String::new()),
        Err(BadAnswer::NotJson(_))
    ));
}

#[derive(Clone, Debug)]
enum Step {
    Reasoning(String),
    Text(String),
    Call(Vec<String>),
}

/// Turns steps into a whole answer and into the chunks of the same answer.
fn answer(steps: &[Step]) -> (Value, Vec<Value>) {
    let (mut reasoning, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    let mut chunks = vec![chunk(json!({"role": "assistant"}))];
    for step in steps {
        match step {
            Step::Reasoning(part) => {
                reasoning += part;
                chunks.push(chunk(json!({"reasoning_content": part})));
            }
            Step::Text(part) => {
                text += part;
                chunks.push(chunk(json!({"content": part})));
            }
            Step::Call(parts) => {
                let (index, id) = (calls.len(), format!("c{}", calls.len()));
                let body = format!("{{\"x\":{}}}", json!(parts.concat()));
                let head = json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
                chunks.push(chunk(json!({"tool_calls": [head]})));
                let letters: Vec<char> = body.chars().collect();
                for part in letters.chunks(3) {
                    let part: String = part.iter().collect();
                    chunks.push(chunk(
                        json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]}),
                    ));
                }
                calls.push(json!({"id": id, "type": "function", "function": {"name": "f", "arguments": body}}));
            }
        }
    }
    let reason = if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    chunks.extend([finish(reason), usage()]);
    let message = json!({"reasoning_content": reasoning, "content": text, "tool_calls": calls});
    let whole = json!({
        "id": "chatcmpl-7", "model": "m", "usage": usage()["usage"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
    });
    (whole, chunks)
}

fn texts() -> impl Strategy<Value = String> {
    "[a-z\"\\\\{}é ]{0,6}"
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reasoning = proptest::collection::vec(texts().prop_map(Step::Reasoning), 0..3);
    let text = proptest::collection::vec(texts().prop_map(Step::Text), 0..4);
    let call = proptest::collection::vec(texts(), 0..3).prop_map(Step::Call);
    let calls = proptest::collection::vec(call, 0..3);
    (reasoning, text, calls).prop_map(|(reasoning, text, calls)| [reasoning, text, calls].concat())
}

proptest! {
    #[test]
    fn a_stream_folds_into_the_whole_message(steps in steps()) {
        let (whole, chunks) = answer(&steps);
        let whole = message_of_chat(whole.to_string().as_bytes(), &context()).unwrap();
        let streamed = folded(&events(&chunks).unwrap());
        prop_assert_eq!(Value::Object(streamed), whole);
    }

    #[test]
    fn a_cut_stream_never_has_an_end(steps in steps(), cut in 0.0..1.0_f64) {
        let (_, chunks) = answer(&steps);
        // The last two chunks are the reason and the usage.
        let count = chunks.len() - 2;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "the index of a short list")]
        let count = (cut * count as f64) as usize;
        prop_assert_eq!(self::cut(&chunks[..count]), Err(BadAnswer::Incomplete));
    }

    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(".{0,40}", 0..8)) {
        let mut writer = EventWriter::new(context());
        let mut out = String::new();
        for data in data {
            if writer.data(data.as_bytes(), &mut out).is_err() {
                break;
            }
        }
    }
}
