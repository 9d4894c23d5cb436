#![expect(
    clippy::needless_pass_by_value,
    reason = "JSON reads better where it is passed by value"
)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{file_search::FoundChunk, responses::to_chat};

const ID: &str = "resp_1";

fn template() -> Template {
    let request = json!({
        "model": "m", "input": "hi", "instructions": "be brief", "metadata": {"a": "b"}, "temperature": 0.5,
        "tools": [{"type": "function", "name": "f"}], "service_tier": "auto", "reasoning": {"effort": "low"},
    });
    to_chat(request).unwrap().template
}

fn chunk(delta: Value) -> Value {
    json!({"id": "c", "model": "qwen", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish_chunk(reason: &str) -> Value {
    json!({"id": "c", "model": "qwen", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn usage_chunk() -> Value {
    let usage = json!({
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1},
    });
    json!({"choices": [], "usage": usage})
}

fn whole(answer: Value) -> Value {
    response_of_chat(
        answer.to_string().as_bytes(),
        (&template(), None),
        ID,
        10,
        12,
    )
    .unwrap()
}

fn events(chunks: &[Value]) -> Result<Vec<Value>, BadAnswer> {
    let mut writer = EventWriter::new(template(), ID, 10);
    let mut out = String::new();
    for chunk in chunks {
        writer.data(chunk.to_string().as_bytes(), 11, &mut out)?;
    }
    writer.data(b"[DONE]", 12, &mut out)?;
    let events = parse(&out);
    assert_eq!(
        events.last().map(|event| &event["response"]),
        writer.response()
    );
    Ok(events)
}

fn parse(out: &str) -> Vec<Value> {
    let parts = out.split_terminator("\n\n").enumerate();
    let events = parts.map(|(number, part)| {
        let (name, data) = part.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        assert_eq!(data["sequence_number"], number, "numbers have no gaps");
        data
    });
    events.collect()
}

/// Builds the output from the deltas alone.
fn folded(events: &[Value]) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    for event in events {
        let item = event["output_index"]
            .as_u64()
            .map(|index| usize::try_from(index).unwrap());
        let part = event["content_index"]
            .as_u64()
            .map(|index| usize::try_from(index).unwrap());
        let append = |target: &mut Value| {
            let text = target.as_str().unwrap().to_owned();
            *target = (text + event["delta"].as_str().unwrap()).into();
        };
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(item, Some(items.len()));
                items.push(event["item"].clone());
            }
            "response.content_part.added" => {
                let parts = items[item.unwrap()]["content"].as_array_mut().unwrap();
                assert_eq!(part, Some(parts.len()));
                parts.push(event["part"].clone());
            }
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                append(&mut items[item.unwrap()]["content"][part.unwrap()]["text"]);
            }
            "response.refusal.delta" => {
                append(&mut items[item.unwrap()]["content"][part.unwrap()]["refusal"]);
            }
            "response.function_call_arguments.delta" => {
                append(&mut items[item.unwrap()]["arguments"]);
            }
            "response.output_item.done" => {
                let mut known = items[item.unwrap()].clone();
                if known["type"] != "reasoning" {
                    known["status"] = event["item"]["status"].clone();
                }
                assert_eq!(known, event["item"]);
                items[item.unwrap()] = known;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn a_text_becomes_a_response_that_repeats_its_request() {
    let response = whole(json!({
        "id": "c", "model": "qwen", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": usage_chunk()["usage"], "system_fingerprint": "f"
    }));
    let expected = r#"{
        "id": "resp_1", "object": "response", "created_at": 10, "completed_at": 12, "status": "completed",
        "error": null, "incomplete_details": null, "model": "qwen", "instructions": "be brief",
        "previous_response_id": null, "max_output_tokens": null, "max_tool_calls": null, "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "description": null, "parameters": null, "strict": null}],
        "tool_choice": "auto", "truncation": "disabled", "parallel_tool_calls": true,
        "text": {"format": {"type": "text"}}, "temperature": 0.5, "top_p": 1.0, "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "top_logprobs": 0, "store": true, "background": false,
        "service_tier": "default", "safety_identifier": null, "prompt_cache_key": null, "user": null,
        "reasoning": {"effort": "low", "summary": null},
        "output": [{
            "id": "msg_1_0", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]
        }],
        "usage": {
            "input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5
        },
        "system_fingerprint": "f"
    }"#;
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(response, expected);
}

#[test]
fn events_come_in_their_order() {
    let chunks = [
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning_content": "hm"})),
        chunk(json!({"content": "He"})),
        chunk(json!({"content": "j"})),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}),
        ),
        finish_chunk("tool_calls"),
        usage_chunk(),
    ];
    let events = events(&chunks).unwrap();
    let names: Vec<&str> = events
        .iter()
        .map(|event| &event["type"].as_str().unwrap()["response.".len()..])
        .collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names, expected);
    let response = &events.last().unwrap()["response"];
    assert_eq!(response["output"], Value::Array(folded(&events)));
    assert_eq!(response["output"][2]["call_id"], "a");
    assert_eq!(response["usage"]["total_tokens"], 5);
}

#[test]
fn an_answer_that_was_cut_short_is_incomplete() {
    let text = json!({"content": "He"});
    for (reason, cause) in [
        ("length", "max_output_tokens"),
        ("content_filter", "content_filter"),
    ] {
        let events = events(&[chunk(text.clone()), finish_chunk(reason)]).unwrap();
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        let streamed = &last["response"];
        let response = whole(
            json!({"model": "qwen", "choices": [{"message": text, "finish_reason": reason}]}),
        );
        assert_eq!(streamed, &response);
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"]["reason"], cause);
        assert_eq!(response["output"][0]["status"], "incomplete");
        assert_eq!(response["completed_at"], Value::Null);
    }
}

#[test]
fn log_probabilities_and_annotations_are_passed_on() {
    let token = json!({"token": "He", "logprob": -0.1, "bytes": [72], "top_logprobs": []});
    let citation = json!({"type": "url_citation", "url_citation": {"url": "https://x", "title": "t", "start_index": 0, "end_index": 1}});
    let flat = json!({"type": "url_citation", "url": "https://x", "title": "t", "start_index": 0, "end_index": 1});
    let mut first = chunk(json!({"content": "He"}));
    first["choices"][0]["logprobs"] = json!({"content": [token]});
    let chunks = [
        first,
        chunk(json!({"annotations": [citation]})),
        finish_chunk("stop"),
    ];
    let events = events(&chunks).unwrap();
    let part = &events.last().unwrap()["response"]["output"][0]["content"][0];
    assert_eq!(
        (&part["logprobs"], &part["annotations"]),
        (&json!([token]), &json!([flat]))
    );
    let added = events
        .iter()
        .find(|event| event["type"] == "response.output_text.annotation.added");
    assert_eq!(added.unwrap()["annotation"], flat);
    let delta = events
        .iter()
        .find(|event| event["type"] == "response.output_text.delta");
    assert_eq!(delta.unwrap()["logprobs"], json!([token]));
}

fn found(is_reported: bool, includes_results: bool) -> Found {
    let chunk = |name: &str| FoundChunk {
        vector_store_id: "vs_1".to_owned(),
        file_id: format!("file-{name}"),
        filename: format!("{name}.md"),
        attributes: json!({"k": "v"}),
        score: 0.5,
        text: format!("text of {name}"),
    };
    Found {
        queries: vec!["what?".to_owned()],
        chunks: vec![chunk("a"), chunk("b")],
        is_reported,
        includes_results,
    }
}

#[test]
fn a_search_is_reported_before_the_answer_and_its_citations_with_it() {
    let pieces = ["It is so [", "2]", ", and so [1, 2]."];
    for includes_results in [false, true] {
        let mut writer = EventWriter::new(template(), ID, 10);
        writer.set_found(found(true, includes_results));
        let mut out = String::new();
        for piece in pieces {
            let data = chunk(json!({"content": piece})).to_string();
            writer.data(data.as_bytes(), 11, &mut out).unwrap();
        }
        let end = finish_chunk("stop").to_string();
        writer.data(end.as_bytes(), 11, &mut out).unwrap();
        writer.data(b"[DONE]", 12, &mut out).unwrap();
        let events = parse(&out);
        let names: Vec<&str> = events
            .iter()
            .map(|event| &event["type"].as_str().unwrap()["response.".len()..])
            .collect();
        let expected = [
            "created",
            "in_progress",
            "output_item.added",
            "file_search_call.in_progress",
            "file_search_call.searching",
            "file_search_call.completed",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.annotation.added",
            "output_text.delta",
            "output_text.annotation.added",
            "output_text.annotation.added",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ];
        assert_eq!(names, expected);
        let response = &events.last().unwrap()["response"];
        let call = &response["output"][0];
        assert_eq!(
            (&call["type"], &call["queries"], &call["status"]),
            (
                &json!("file_search_call"),
                &json!(["what?"]),
                &json!("completed")
            )
        );
        assert_eq!(call["results"].is_array(), includes_results);
        if includes_results {
            assert_eq!(call["results"][1]["text"], "text of b");
        }
        let annotations = &response["output"][1]["content"][0]["annotations"];
        let cited = |name: &str, index: u64| json!({"type": "file_citation", "file_id": format!("file-{name}"), "filename": format!("{name}.md"), "index": index});
        assert_eq!(
            *annotations,
            json!([cited("b", 9), cited("a", 21), cited("b", 21)])
        );
        let numbers: Vec<&Value> = events
            .iter()
            .filter_map(|event| event.get("annotation_index"))
            .collect();
        assert_eq!(numbers, [&json!(0), &json!(1), &json!(2)]);
        let answer = json!({"model": "qwen", "choices": [{"message": {"content": pieces.concat()}, "finish_reason": "stop"}]});
        let found = found(true, includes_results);
        let answer = answer.to_string();
        let whole = response_of_chat(answer.as_bytes(), (&template(), Some(&found)), ID, 10, 12);
        assert_eq!(whole.as_ref().unwrap(), response);
    }
}

#[test]
fn a_search_that_is_not_reported_only_annotates() {
    let answer = json!({"model": "qwen", "choices": [{"message": {"content": "so [1]"}, "finish_reason": "stop"}]});
    let found = found(false, false);
    let answer = answer.to_string();
    let whole = response_of_chat(answer.as_bytes(), (&template(), Some(&found)), ID, 10, 12);
    let whole = whole.unwrap();
    assert_eq!(whole["output"][0]["type"], "message");
    let part = &whole["output"][0]["content"][0];
    assert_eq!(part["annotations"][0]["file_id"], "file-a");
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let chunks = [
        chunk(json!({"content": "He"})),
        chunk(json!({"refusal": "no"})),
        finish_chunk("stop"),
    ];
    let events = events(&chunks).unwrap();
    let content = &events.last().unwrap()["response"]["output"][0]["content"];
    assert_eq!(content[1], json!({"type": "refusal", "refusal": "no"}));
    assert_eq!(folded(&events)[0]["content"], *content);
}

#[test]
fn a_failure_is_an_error_and_the_response_so_far() {
    let mut writer = EventWriter::new(template(), ID, 10);
    let mut out = String::new();
    writer
        .data(
            chunk(json!({"content": "He"})).to_string().as_bytes(),
            11,
            &mut out,
        )
        .unwrap();
    assert_eq!(writer.end(12, &mut out), Err(BadAnswer::Incomplete));
    writer.fail("upstream_error", "the backend broke off", &mut out);
    let events = parse(&out);
    let [.., error, failed] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(error["type"], "error");
    assert_eq!(
        (&error["error"]["message"], &error["message"]),
        (
            &json!("the backend broke off"),
            &json!("the backend broke off")
        )
    );
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(failed["response"]["error"]["code"], "upstream_error");
    assert_eq!(failed["response"]["output"][0]["status"], "incomplete");
    assert_eq!(failed["response"]["output"][0]["content"][0]["text"], "He");
}

#[test]
fn a_cut_is_never_an_end() {
    let chunks = [chunk(json!({"content": "He"})), usage_chunk()];
    let mut writer = EventWriter::new(template(), ID, 10);
    let mut out = String::new();
    for chunk in &chunks {
        let data = chunk.to_string();
        writer.data(data.as_bytes(), 1, &mut out).unwrap();
    }
    assert_eq!(writer.end(1, &mut out), Err(BadAnswer::Incomplete));
    assert_eq!(events(&[]), Err(BadAnswer::Incomplete));
    // The server says that it is done, but not why.
    let events = events(&chunks).unwrap();
    assert_eq!(events.last().unwrap()["type"], "response.completed");
}

#[test]
fn a_call_without_arguments_has_an_empty_object() {
    let call = json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}});
    let events = events(&[
        chunk(json!({"tool_calls": [call]})),
        finish_chunk("tool_calls"),
    ])
    .unwrap();
    let of = |kind: &str| {
        let mut events = events.iter();
        events.find(|event| event["type"] == kind).unwrap().clone()
    };
    assert_eq!(of("response.function_call_arguments.delta")["delta"], "{}");
    assert_eq!(
        of("response.function_call_arguments.done")["arguments"],
        "{}"
    );
    assert_eq!(
        of("response.completed")["response"]["output"][0]["arguments"],
        "{}"
    );
}

#[test]
fn a_failure_before_the_first_event_comes_after_the_beginning() {
    let mut writer = EventWriter::new(template(), ID, 10);
    let mut out = String::new();
    writer.fail("upstream_error", "no", &mut out);
    let events = parse(&out);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "error",
        "response.failed",
    ];
    assert_eq!(kinds, expected);
    assert!(
        (0..)
            .zip(&events)
            .all(|(number, event)| event["sequence_number"] == number)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Reasoning(String),
    Text(String),
    Call(String),
}

fn answer(steps: &[Step], reason: &str) -> (Value, Vec<Value>) {
    let (mut reasoning, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    let mut chunks = vec![chunk(json!({"role": "assistant"}))];
    for step in steps {
        match step {
            Step::Reasoning(part) => {
                reasoning += part;
                chunks.push(chunk(json!({"reasoning": part})));
            }
            Step::Text(part) => {
                text += part;
                chunks.push(chunk(json!({"content": part})));
            }
            Step::Call(argument) => {
                let (index, id) = (calls.len(), format!("c{}", calls.len()));
                let body = format!("{{\"x\":{}}}", json!(argument));
                let head =
                    json!({"index": index, "id": id, "function": {"name": "f", "arguments": ""}});
                chunks.push(chunk(json!({"tool_calls": [head]})));
                for letter in body.chars() {
                    chunks.push(chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": letter.to_string()}}]})));
                }
                calls.push(json!({"id": id, "function": {"name": "f", "arguments": body}}));
            }
        }
    }
    chunks.extend([finish_chunk(reason), usage_chunk()]);
    let message = json!({"reasoning": reasoning, "content": text, "tool_calls": calls});
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    let whole =
        json!({"id": "c", "model": "qwen", "usage": usage_chunk()["usage"], "choices": [choice]});
    (whole, chunks)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let texts = "[a-z\"\\\\{}é ]{0,6}";
    let reasoning = proptest::collection::vec(texts.prop_map(Step::Reasoning), 0..3);
    let text = proptest::collection::vec(texts.prop_map(Step::Text), 0..4);
    let calls = proptest::collection::vec(texts.prop_map(Step::Call), 0..3);
    (reasoning, text, calls).prop_map(|(reasoning, text, calls)| [reasoning, text, calls].concat())
}

proptest! {
    #[test]
    fn a_stream_ends_with_the_whole_response(steps in steps(), is_cut in any::<bool>()) {
        let (answer, chunks) = answer(&steps, if is_cut { "length" } else { "stop" });
        let events = events(&chunks).unwrap();
        let last = &events.last().unwrap()["response"];
        prop_assert_eq!(last, &whole(answer));
        prop_assert_eq!(last["output"].clone(), Value::Array(folded(&events)));
    }

    #[test]
    fn no_bytes_make_it_panic(data in proptest::collection::vec(".{0,40}", 0..8)) {
        let mut writer = EventWriter::new(Template::default(), ID, 1);
        let mut out = String::new();
        for data in data {
            if writer.data(data.as_bytes(), 1, &mut out).is_err() {
                break;
            }
        }
        writer.fail("x", "y", &mut out);
    }
}

/// Writes a list that failed, three calls of which two have ended, a call that waits, and a text.
fn with_steps(writer: &mut EventWriter) -> String {
    use crate::mcp::McpEnding;
    let mut out = String::new();
    let label = || "s".to_owned();
    let begun = |call: &str| McpStep::Begun {
        call: call.to_owned(),
        label: label(),
        name: "read".to_owned(),
        arguments: format!("{{\"of\":\"{call}\"}}"),
        approval: None,
    };
    let ended = |call: &str, ending: McpEnding| McpStep::Ended {
        call: call.to_owned(),
        ending,
    };
    let steps = [
        McpStep::Listed {
            label: label(),
            tools: Vec::new(),
            error: Some("away".to_owned()),
        },
        begun("a"),
        begun("b"),
        ended("b", McpEnding::Error("no".to_owned())),
        ended("a", McpEnding::Output("yes".to_owned())),
        begun("c"),
        McpStep::Asked {
            label: label(),
            name: "write".to_owned(),
            arguments: "{}".to_owned(),
        },
    ];
    for step in &steps {
        writer.step(step, &mut out);
    }
    let delta = chunk(json!({"content": "hi"}));
    let end = finish_chunk("stop");
    for chunk in [delta, end] {
        writer
            .data(chunk.to_string().as_bytes(), 11, &mut out)
            .unwrap();
    }
    writer.data(b"[DONE]", 12, &mut out).unwrap();
    out
}

#[test]
fn steps_with_tools_are_items_in_their_order() {
    let mut writer = EventWriter::new(template(), ID, 10);
    let out = with_steps(&mut writer);
    let output = writer.response().unwrap()["output"].clone();
    let brief = output.as_array().unwrap().iter().map(|item| {
        let text = |key: &str| item[key].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {}",
            text("type"),
            text("status"),
            text("output"),
            text("error")
        )
    });
    assert_eq!(
        brief.collect::<Vec<_>>(),
        [
            "mcp_list_tools - - away",
            "mcp_call completed yes -",
            "mcp_call failed - no",
            "mcp_call incomplete - -",
            "mcp_approval_request - - -",
            "message completed - -",
        ]
    );
    assert_eq!(output[1]["arguments"], "{\"of\":\"a\"}");
    let events = parse(&out);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds[3], "response.mcp_list_tools.in_progress");
    assert_eq!(kinds[4], "response.mcp_list_tools.failed");
    for (kind, count) in [
        ("response.mcp_call.in_progress", 3),
        ("response.mcp_call_arguments.done", 3),
        ("response.mcp_call.completed", 1),
        ("response.mcp_call.failed", 1),
        ("response.output_item.added", 6),
        ("response.output_item.done", 5),
    ] {
        assert_eq!(
            kinds.iter().filter(|one| **one == kind).count(),
            count,
            "{kind}"
        );
    }
    let failed = events
        .iter()
        .find(|event| event["type"] == "response.mcp_call.failed");
    assert_eq!(failed.unwrap()["output_index"], 2);
}
