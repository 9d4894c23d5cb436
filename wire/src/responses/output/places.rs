//! The events of content parts, at their places in the answer.

use serde_json::{Value, json};

use super::{Kind, Open};
use crate::responses::events::Events;

/// Completes the part of a message that is growing.
pub(super) fn close_part(open: &mut Open, annotations: &[Value], events: &mut Events<'_>) {
    let index = parts_done(open);
    let Kind::Message(message) = &mut open.kind else {
        return;
    };
    let text = std::mem::take(&mut message.text);
    let logprobs = std::mem::take(&mut message.logprobs);
    message.citations = message.citations.fresh();
    // Those that are known already were reported where they stand.
    let mut all = std::mem::take(&mut message.annotations);
    let reported = all.len();
    all.extend_from_slice(annotations);
    let part = if message.is_refusal {
        json!({"type": "refusal", "refusal": text})
    } else {
        json!({
            "type": "output_text", "text": text, "annotations": all, "logprobs": logprobs,
        })
    };
    message.done.push(part.clone());
    if message.is_refusal {
        events.write("response.refusal.done", || {
            place(open, index, json!({"refusal": text}))
        });
    } else {
        for (number, annotation) in all.iter().enumerate().skip(reported) {
            annotation_event(open, index, number, annotation, events);
        }
        events.write("response.output_text.done", || {
            place(open, index, json!({"text": text, "logprobs": logprobs}))
        });
    }
    part_event("done", open, index, &part, events);
}

pub(super) fn annotation_event(
    open: &Open,
    content_index: usize,
    number: usize,
    annotation: &Value,
    events: &mut Events<'_>,
) {
    events.write("response.output_text.annotation.added", || {
        let members = json!({"annotation_index": number, "annotation": annotation});
        place(open, content_index, members)
    });
}

pub(super) fn parts_done(open: &Open) -> usize {
    match &open.kind {
        Kind::Message(message) => message.done.len(),
        Kind::Reasoning(_) | Kind::Call(_) => 0,
    }
}

/// Adds the place of a content part to the members of an event.
pub(super) fn place(open: &Open, content_index: usize, mut members: Value) -> Value {
    members["item_id"] = open.id.clone().into();
    members["output_index"] = open.output_index.into();
    members["content_index"] = content_index.into();
    members
}

pub(super) fn part_event(
    what: &str,
    open: &Open,
    index: usize,
    part: &Value,
    events: &mut Events<'_>,
) {
    let kind = format!("response.content_part.{what}");
    events.write(&kind, || place(open, index, json!({"part": part})));
}
