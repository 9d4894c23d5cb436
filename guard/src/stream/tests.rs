use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Action, Guard, GuardRuleSettings, GuardSettings, Pattern, Side};

fn rules(actions: &[(Pattern, Action)]) -> Rules {
    let rules = actions.iter().map(|(pattern, action)| GuardRuleSettings {
        pattern: Some(*pattern),
        action: *action,
        ..GuardRuleSettings::default()
    });
    let guard = GuardSettings {
        name: "g".to_owned(),
        rules: rules.collect(),
        ..GuardSettings::default()
    };
    let guard = Guard::new(&guard).unwrap();
    Rules::new(Side::Output, guard.rules(Side::Output))
}

fn masking() -> Rules {
    rules(&[
        (Pattern::Email, Action::Mask),
        (Pattern::Card, Action::Mask),
    ])
}

fn chunk(choice: u32, delta: &Value, finish: &Value) -> Bytes {
    let choice = json!({"index": choice, "delta": delta, "logprobs": {"content": []}, "finish_reason": finish});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]});
    format!("data: {chunk}\n\n").into()
}

fn event(data: &Value) -> Bytes {
    let name = data["type"].as_str().unwrap();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// Passes events through a guard; returns what comes out, as JSON.
fn passed(rules: Rules, parts: &[Bytes]) -> (Vec<Value>, Option<Stopped>) {
    let mut guard = StreamGuard::new(rules);
    let (mut out, mut stopped) = (Vec::new(), None);
    let mut take = |released: Released| {
        out.extend_from_slice(&released.events);
        stopped = released.stopped;
    };
    for part in parts {
        take(guard.push(part));
    }
    take(guard.end());
    let data = events(&out).map(|event| {
        let data = event.data.unwrap().into_owned();
        serde_json::from_slice(&data).unwrap_or(Value::Null)
    });
    (data.collect(), stopped)
}

fn joined(out: &[Value], pointer: &str) -> String {
    let texts = out
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str());
    texts.collect()
}

#[test]
fn a_match_that_spans_chunks_is_masked_and_every_chunk_is_passed_on() {
    let none = Value::Null;
    let parts = [
        chunk(0, &json!({"role": "assistant", "content": ""}), &none),
        chunk(0, &json!({"content": "write to an"}), &none),
        chunk(0, &json!({"content": "n@exam"}), &none),
        chunk(0, &json!({"content": "ple.com."}), &none),
        chunk(0, &json!({"content": " Bye b"}), &none),
        chunk(0, &json!({}), &json!("stop")),
        Bytes::from_static(b"data: [DONE]\n\n"),
    ];
    let (out, stopped) = passed(masking(), &parts);
    assert_eq!(stopped, None);
    assert_eq!(out.len(), parts.len());
    let texts: Vec<&str> = out[..5]
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["", "write to [EMAIL]", "", ".", " Bye b"]);
    assert_eq!(out[5]["choices"][0]["finish_reason"], "stop");
    assert_eq!(out[1]["id"], "c");
    // The probabilities repeat the text.
    assert_eq!(out[1]["choices"][0]["logprobs"], Value::Null);
}

#[test]
fn choices_and_members_are_texts_of_their_own() {
    let none = Value::Null;
    let parts = [
        chunk(0, &json!({"reasoning_content": "ask ann@example"}), &none),
        chunk(1, &json!({"content": "bob@example"}), &none),
        chunk(0, &json!({"content": ".com"}), &none),
        chunk(1, &json!({"content": ".com"}), &json!("stop")),
        chunk(0, &json!({}), &json!("stop")),
    ];
    let (out, _) = passed(masking(), &parts);
    assert_eq!(
        joined(&out, "/choices/0/delta/reasoning_content"),
        "ask ann@example"
    );
    assert_eq!(joined(&out, "/choices/0/delta/content"), "[EMAIL].com");
}

#[test]
fn what_comes_between_the_pieces_of_a_text_does_not_end_it() {
    let none = Value::Null;
    let call = json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]});
    let long =
        "a citation that is longer than what is held back of a text that has paused, and more";
    for between in [
        json!({"reasoning_content": "hm"}),
        json!({"refusal": "no"}),
        json!({"foo": "x"}),
        json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        json!({"annotations": [{"title": long}]}),
        call,
    ] {
        let parts = [
            chunk(0, &json!({"content": "joe@ex"}), &none),
            chunk(0, &between, &none),
            chunk(0, &json!({"content": "ample.com end"}), &none),
            chunk(0, &json!({}), &json!("stop")),
        ];
        let (out, _) = passed(masking(), &parts);
        let text = joined(&out, "/choices/0/delta/content");
        assert_eq!(text, "[EMAIL] end", "{between}");
        let (out, stopped) = passed(rules(&[(Pattern::Email, Action::Refuse)]), &parts);
        assert!(out.is_empty() && stopped.is_some(), "{between}");
    }
    for beside in [json!("x"), json!([{"t": long}])] {
        let pieces = ["4111 1", "111 11", "11 111", "1 end"];
        let part = |piece: &str| chunk(0, &json!({"content": piece, "provider": &beside}), &none);
        let (out, _) = passed(masking(), &pieces.map(part));
        assert_eq!(joined(&out, "/choices/0/delta/content"), "[CARD] end");
    }
}

#[test]
fn what_comes_between_the_deltas_of_other_dialects_does_not_end_a_text() {
    let block =
        |delta: Value| event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    let citation = json!({"type": "citations_delta", "citation": {"cited_text": "a source"}});
    let parts = [
        block(json!({"type": "text_delta", "text": "joe@ex"})),
        block(citation),
        block(json!({"type": "text_delta", "text": "ample.com end"})),
        event(&json!({"type": "content_block_stop", "index": 0})),
    ];
    let (out, _) = passed(masking(), &parts);
    assert_eq!(joined(&out, "/delta/text"), "[EMAIL] end");
    let of = |kind: &str, more: Value| {
        let mut data = json!({"type": kind, "output_index": 0, "content_index": 0});
        let more = more.as_object().unwrap().clone();
        data.as_object_mut().unwrap().extend(more);
        event(&data)
    };
    let text = |delta: &str| of("response.output_text.delta", json!({"delta": delta}));
    let parts = [
        text("joe@ex"),
        of(
            "response.output_text.annotation.added",
            json!({"annotation": {"title": "t"}}),
        ),
        of("response.reasoning_text.delta", json!({"delta": "hm"})),
        event(&json!({"type": "keepalive"})),
        text("ample.com end"),
        of(
            "response.output_text.done",
            json!({"text": "joe@example.com end"}),
        ),
    ];
    let (out, _) = passed(masking(), &parts);
    let deltas = [&out[0], &out[4]].map(|event| event["delta"].as_str().unwrap());
    assert_eq!(deltas.concat(), "[EMAIL] end");
}

#[test]
fn the_end_of_a_text_that_has_paused_does_not_hold_back_another_one() {
    let none = Value::Null;
    let mut guard = StreamGuard::new(masking());
    let mut out = Vec::new();
    let reasoning = |text: &str| chunk(0, &json!({"reasoning": text}), &none);
    let mut take = |events: &Bytes| out.extend_from_slice(&guard.push(events).events);
    take(&reasoning("ask joe@ex"));
    for _ in 0..40 {
        take(&chunk(0, &json!({"content": " and so "}), &none));
    }
    let events_out = events(&out).count();
    assert!(events_out > 38, "{events_out}");
    let mut parts = vec![reasoning("ask joe@ex")];
    parts.extend(vec![chunk(0, &json!({"content": " and so "}), &none); 40]);
    parts.push(reasoning("ample.com end"));
    // Of a match that has been passed on in part, the rest is masked, and a refusal still ends the stream.
    let (all, _) = passed(masking(), &parts);
    assert_eq!(
        joined(&all, "/choices/0/delta/reasoning"),
        "ask joe@ex[EMAIL] end"
    );
    let (_, stopped) = passed(rules(&[(Pattern::Email, Action::Refuse)]), &parts);
    assert!(matches!(stopped, Some(Stopped::Refused(_))));
}

#[test]
fn the_arguments_of_a_call_stay_json() {
    let none = Value::Null;
    let call = |arguments: &str| json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": arguments}}]});
    let parts = [
        chunk(0, &call(r#"{"to":"ann\u0040exam"#), &none),
        chunk(0, &call(r#"ple.com","card":41111111"#), &none),
        chunk(0, &call(r#"11111111,"n":1e3 }"#), &none),
        chunk(0, &json!({}), &json!("tool_calls")),
    ];
    let (out, _) = passed(masking(), &parts);
    assert_eq!(out.len(), 4);
    let arguments = joined(&out, "/choices/0/delta/tool_calls/0/function/arguments");
    assert_eq!(arguments, r#"{"to":"[EMAIL]","card":"[CARD]","n":1e3 }"#);
    let names: Vec<_> = out[..3]
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["name"])
        .collect();
    assert_eq!(names, ["f", "f", "f"]);
}

#[test]
fn a_stream_of_messages_keeps_its_events() {
    let parts = [
        event(&json!({"type": "message_start", "message": {"content": [], "usage": {}}})),
        event(
            &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4111 1111 "}}),
        ),
        event(&json!({"type": "ping"})),
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "1111 1111"}}),
        ),
        event(&json!({"type": "content_block_stop", "index": 0})),
        event(
            &json!({"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":\"ann@"}}),
        ),
        event(
            &json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "example.com\"}"}}),
        ),
        event(&json!({"type": "content_block_stop", "index": 1})),
        event(
            &json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
        ),
        event(&json!({"type": "message_stop"})),
    ];
    let (out, _) = passed(masking(), &parts);
    let kinds = |values: &[Value]| {
        values
            .iter()
            .map(|event| event["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let sent: Vec<Value> = parts
        .iter()
        .map(|part| {
            serde_json::from_slice(&part[part.iter().position(|byte| *byte == b'{').unwrap()..])
                .unwrap()
        })
        .collect();
    assert_eq!(kinds(&out), kinds(&sent));
    assert_eq!(joined(&out, "/delta/text"), "[CARD]");
    assert_eq!(joined(&out, "/delta/partial_json"), r#"{"a":"[EMAIL]"}"#);
    assert_eq!(out[10], sent[10]);
}

#[test]
fn a_stream_of_a_response_masks_what_it_repeats_too() {
    let text = "mail ann@example.com!";
    let part = json!({"type": "output_text", "text": text, "annotations": []});
    let item = json!({"type": "message", "id": "m", "content": [part]});
    let delta = |delta: &str, number: u32| {
        event(
            &json!({"type": "response.output_text.delta", "sequence_number": number, "output_index": 0, "content_index": 0, "delta": delta}),
        )
    };
    let parts = [
        delta("mail ann@", 1),
        delta("example.com!", 2),
        event(
            &json!({"type": "response.output_text.done", "output_index": 0, "content_index": 0, "text": text}),
        ),
        event(&json!({"type": "response.output_item.done", "output_index": 0, "item": item})),
        event(&json!({"type": "response.completed", "response": {"id": "r", "output": [item]}})),
    ];
    let (out, _) = passed(masking(), &parts);
    assert_eq!(out.len(), 5);
    assert_eq!(joined(&out, "/delta"), "mail [EMAIL]!");
    assert!(
        !Value::from(out.clone()).to_string().contains("ann@"),
        "{out:?}"
    );
    assert_eq!(
        out[4]["response"]["output"][0]["content"][0]["text"],
        "mail [EMAIL]!"
    );
}

#[test]
fn a_refusal_passes_on_what_was_before_it_and_a_tag_changes_nothing() {
    let none = Value::Null;
    let parts = [
        chunk(0, &json!({"content": "one "}), &none),
        chunk(0, &json!({"content": "two ann@example"}), &none),
        chunk(0, &json!({"content": ".com three"}), &none),
        chunk(0, &json!({}), &json!("stop")),
    ];
    let (out, stopped) = passed(rules(&[(Pattern::Email, Action::Refuse)]), &parts);
    assert_eq!(joined(&out, "/choices/0/delta/content"), "one ");
    let Some(Stopped::Refused(refused)) = stopped else {
        panic!("{stopped:?}");
    };
    assert_eq!((&*refused.guard, &*refused.rule), ("g", "email"));

    let mut guard = StreamGuard::new(rules(&[(Pattern::Email, Action::Tag)]));
    for part in &parts {
        assert_eq!(&guard.push(part).events, part);
    }
    let hits = guard.take_hits();
    assert_eq!(hits.first().unwrap().action, Action::Tag);
}

#[test]
fn what_cannot_be_read_or_held_stops_the_stream() {
    let (out, stopped) = passed(masking(), &[Bytes::from_static(b"data: [1]\n\n")]);
    assert_eq!((out.len(), stopped), (0, Some(Stopped::Unreadable)));
    let none = Value::Null;
    let call =
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "x".repeat(64 << 10)}}]});
    let parts = vec![chunk(0, &call, &none); 17];
    let (_, stopped) = passed(masking(), &parts);
    assert_eq!(stopped, Some(Stopped::Unreadable));
}

thread_local! {
    static MASKING: Rules = masking();
}

fn words() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "ann@example.com",
        "4111 1111 1111 1111",
        " ",
        "x",
        "@",
        "1",
        ".",
        "\"",
        "\\",
        "é🦀",
        "\n",
    ];
    proptest::collection::vec(prop::sample::select(WORDS), 0..24).prop_map(|words| words.concat())
}

/// Cuts a text at these places.
fn pieces<'t>(text: &'t str, cuts: &[prop::sample::Index]) -> Vec<&'t str> {
    let place = |cut: &prop::sample::Index| text.floor_char_boundary(cut.index(text.len() + 1));
    let mut places: Vec<usize> = cuts.iter().map(place).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    let pieces = places.windows(2).map(|ends| &text[ends[0]..ends[1]]);
    pieces.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn masking_a_stream_equals_masking_the_whole(
        text in words(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut parts: Vec<Bytes> = pieces(&text, &cuts)
            .into_iter()
            .map(|piece| chunk(0, &json!({"content": piece}), &Value::Null))
            .collect();
        parts.push(chunk(0, &json!({}), &json!("stop")));
        let rules = MASKING.with(Rules::clone);
        let (out, stopped) = passed(rules.clone(), &parts);
        prop_assert_eq!(stopped, None);
        prop_assert_eq!(out.len(), parts.len());
        let whole = rules.plain(&text, &mut Hits::new()).unwrap();
        prop_assert_eq!(joined(&out, "/choices/0/delta/content"), whole.unwrap_or(text));
    }

    #[test]
    fn any_order_of_the_pieces_of_several_texts_equals_the_wholes(
        texts in prop::array::uniform6((words(), prop::array::uniform2(any::<prop::sample::Index>()))),
        order in Just((0..18).map(|place| place % 6).collect::<Vec<usize>>()).prop_shuffle(),
        joins in prop::collection::vec(any::<bool>(), 18),
    ) {
        // Three members of two choices, each in three pieces.
        let members = ["content", "reasoning", "foo"];
        let mut left: Vec<std::vec::IntoIter<&str>> = texts.iter().map(|(text, cuts)| pieces(text, cuts).into_iter()).collect();
        let mut deltas: Vec<(u32, Value)> = Vec::new();
        for (field, joins) in order.into_iter().zip(joins) {
            let (choice, member) = (u32::from(field >= 3), members[field % 3]);
            let piece = left[field].next().unwrap();
            match deltas.last_mut() {
                Some((last, delta)) if joins && *last == choice && delta[member].is_null() => delta[member] = json!(piece),
                _ => deltas.push((choice, json!({member: piece}))),
            }
        }
        let mut parts: Vec<Bytes> = deltas.iter().map(|(choice, delta)| chunk(*choice, delta, &Value::Null)).collect();
        parts.push(Bytes::from_static(b"data: [DONE]\n\n"));
        let rules = MASKING.with(Rules::clone);
        let (out, stopped) = passed(rules.clone(), &parts);
        prop_assert_eq!(stopped, None);
        prop_assert_eq!(out.len(), parts.len());
        for (field, (text, _)) in texts.iter().enumerate() {
            let of_choice: Vec<Value> = out.iter().filter(|event| event["choices"][0]["index"] == field / 3).cloned().collect();
            let whole = rules.plain(text, &mut Hits::new()).unwrap();
            let pointer = format!("/choices/0/delta/{}", members[field % 3]);
            prop_assert_eq!(joined(&of_choice, &pointer), whole.unwrap_or_else(|| text.clone()));
        }
    }
}
