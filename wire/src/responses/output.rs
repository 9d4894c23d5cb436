//! The output items of a response, built piece by piece, with the events that report each step.

mod places;
mod tools;

use serde_json::{Map, Value, json};

use crate::{
    file_search::{Citations, Found},
    responses::{
        events::Events,
        items::{call_item, empty_part, message_item, reasoning_item},
    },
    translate::{BadAnswer, JsonDepth, Piece},
};

use places::{annotation_event, close_part, part_event, parts_done, place};
use tools::MadeCall;

/// Bytes of an answer that are held: the last events repeat all of it.
const SIZE_MAX: usize = 32 << 20;

/// One item that is still growing.
#[derive(Debug)]
struct Open {
    output_index: usize,
    id: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Reasoning(String),
    Message(Message),
    Call(Call),
}

#[derive(Debug, Default)]
struct Message {
    /// Content parts that are complete.
    done: Vec<Value>,
    text: String,
    logprobs: Vec<Value>,
    /// The part that is growing is a refusal.
    is_refusal: bool,
    /// Annotations of the text that are reported already.
    annotations: Vec<Value>,
    /// Finds the citations of the text.
    citations: Citations,
}

#[derive(Debug)]
struct Call {
    slot: usize,
    id: String,
    name: String,
    arguments: String,
    depth: JsonDepth,
    returned: Map<String, Value>,
}

/// All items of one response.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// What the ids of items are made of.
    suffix: String,
    /// Items in their places; `null` while they are growing.
    items: Vec<Value>,
    open: Vec<Open>,
    size: usize,
    /// Finds citations of what was found for the call.
    citations: Citations,
    /// The calls of tools of MCP servers that have no result yet.
    made: Vec<MadeCall>,
}

impl Output {
    /// Creates the output of the response with this id.
    pub(super) fn new(response_id: &str) -> Self {
        let suffix = response_id.strip_prefix("resp_").unwrap_or(response_id);
        Self {
            suffix: suffix.to_owned(),
            ..Self::default()
        }
    }

    /// Reports what was found for the call, before anything else of the answer.
    pub(super) fn found(&mut self, found: &Found, events: &mut Events<'_>) {
        self.citations = found.citations();
        if !found.is_reported {
            return;
        }
        let open = self.start("fs", events, |id| found.item(id, "in_progress"));
        for step in ["in_progress", "searching", "completed"] {
            let kind = format!("response.file_search_call.{step}");
            events.write(
                &kind,
                || json!({"item_id": open.id, "output_index": open.output_index}),
            );
        }
        let item = found.item(&open.id, "completed");
        events.write(
            "response.output_item.done",
            || json!({"output_index": open.output_index, "item": item}),
        );
        if let Some(place) = self.items.get_mut(open.output_index) {
            *place = item;
        }
    }

    /// Adds a piece.
    pub(super) fn add(&mut self, piece: Piece, events: &mut Events<'_>) -> Result<(), BadAnswer> {
        self.size = self.size.saturating_add(piece.size());
        if self.size > SIZE_MAX {
            return Err(BadAnswer::TooLarge(SIZE_MAX));
        }
        match piece {
            Piece::Reasoning(text) => self.reasoning(&text, events),
            Piece::Text { text, logprobs } => self.text(&text, logprobs, false, events),
            Piece::Refusal(text) => self.text(&text, Vec::new(), true, events),
            Piece::Call {
                slot,
                id,
                name,
                returned,
            } => {
                let item = self.start("fc", events, |id_of_item| {
                    call_item(id_of_item, &id, &name, "", "in_progress", &returned)
                });
                self.open.push(Open {
                    kind: Kind::Call(Call {
                        slot,
                        id,
                        name,
                        arguments: String::new(),
                        depth: JsonDepth::default(),
                        returned,
                    }),
                    ..item
                });
            }
            Piece::Arguments { slot, text } => return self.arguments(slot, &text, events),
        }
        Ok(())
    }

    /// Completes all items and returns them. `annotations` belong to the last text.
    pub(super) fn finish(
        &mut self,
        annotations: Vec<Value>,
        is_whole: bool,
        events: &mut Events<'_>,
    ) -> Vec<Value> {
        let status = if is_whole { "completed" } else { "incomplete" };
        let mut annotations = annotations;
        for open in std::mem::take(&mut self.open) {
            let own = std::mem::take(&mut annotations);
            self.close(open, &own, status, events);
        }
        self.annotate(annotations);
        self.give_up_calls();
        std::mem::take(&mut self.items)
    }

    /// Returns the items so far of a response that fails; what was growing is incomplete.
    pub(super) fn abandon(&mut self) -> Vec<Value> {
        let mut sequence = 0;
        let mut nowhere = Events {
            out: None,
            sequence: &mut sequence,
        };
        self.finish(Vec::new(), false, &mut nowhere)
    }

    /// Adds annotations that came after their text was complete.
    fn annotate(&mut self, annotations: Vec<Value>) {
        if annotations.is_empty() {
            return;
        }
        let messages = self
            .items
            .iter_mut()
            .filter(|item| item["type"] == "message");
        if let Some(part) = messages
            .last()
            .and_then(|item| item["content"].as_array_mut()?.last_mut())
        {
            match part["annotations"].as_array_mut() {
                Some(known) => known.extend(annotations),
                None => part["annotations"] = annotations.into(),
            }
        }
    }

    fn reasoning(&mut self, text: &str, events: &mut Events<'_>) {
        if !self.is_last(|kind| matches!(kind, Kind::Reasoning(_))) {
            let item = self.start("rs", events, |id| reasoning_item(id, ""));
            part_event(
                "added",
                &item,
                0,
                &json!({"type": "reasoning_text", "text": ""}),
                events,
            );
            self.open.push(item);
        }
        let Some(open) = self.open.last_mut() else {
            return;
        };
        events.write("response.reasoning_text.delta", || {
            place(open, 0, json!({"delta": text}))
        });
        if let Kind::Reasoning(known) = &mut open.kind {
            known.push_str(text);
        }
    }

    fn text(
        &mut self,
        text: &str,
        logprobs: Vec<Value>,
        is_refusal: bool,
        events: &mut Events<'_>,
    ) {
        if !self.is_last(|kind| matches!(kind, Kind::Message(_))) {
            let mut item = self.start("msg", events, |id| message_item(id, &[], "in_progress"));
            part_event("added", &item, 0, &empty_part(is_refusal), events);
            item.kind = Kind::Message(Message {
                is_refusal,
                citations: self.citations.fresh(),
                ..Message::default()
            });
            self.open.push(item);
        }
        let Some(open) = self.open.last_mut() else {
            return;
        };
        let changes =
            matches!(&open.kind, Kind::Message(message) if message.is_refusal != is_refusal);
        if changes {
            close_part(open, &[], events);
            let index = parts_done(open);
            part_event("added", open, index, &empty_part(is_refusal), events);
        }
        let index = parts_done(open);
        if is_refusal {
            events.write("response.refusal.delta", || {
                place(open, index, json!({"delta": text}))
            });
        } else {
            events.write("response.output_text.delta", || {
                place(open, index, json!({"delta": text, "logprobs": logprobs}))
            });
        }
        let Kind::Message(message) = &mut open.kind else {
            return;
        };
        message.is_refusal = is_refusal;
        message.text.push_str(text);
        message.logprobs.extend(logprobs);
        if is_refusal {
            return;
        }
        let (first, found) = (message.annotations.len(), message.citations.feed(text));
        message.annotations.extend(found.iter().cloned());
        for (number, annotation) in (first..).zip(&found) {
            annotation_event(open, index, number, annotation, events);
        }
    }

    fn arguments(
        &mut self,
        slot: usize,
        text: &str,
        events: &mut Events<'_>,
    ) -> Result<(), BadAnswer> {
        for open in &mut self.open {
            let Open {
                output_index,
                id,
                kind: Kind::Call(call),
            } = open
            else {
                continue;
            };
            if call.slot == slot {
                call.depth.push(text);
                call.arguments.push_str(text);
                events.write(
                    "response.function_call_arguments.delta",
                    || json!({"item_id": id, "output_index": output_index, "delta": text}),
                );
                return Ok(());
            }
        }
        // The item was completed because its arguments were: only blanks can follow.
        if text.trim().is_empty() {
            return Ok(());
        }
        Err(BadAnswer::Contradicts("tool_calls[].function.arguments"))
    }

    /// Returns `true` if the newest item is growing and of the kind.
    fn is_last(&self, is_kind: impl Fn(&Kind) -> bool) -> bool {
        let last = self.open.last();
        last.is_some_and(|open| open.output_index + 1 == self.items.len() && is_kind(&open.kind))
    }

    /// Completes what is complete and reports a new item.
    fn start(
        &mut self,
        prefix: &str,
        events: &mut Events<'_>,
        item: impl FnOnce(&str) -> Value,
    ) -> Open {
        for open in std::mem::take(&mut self.open) {
            if matches!(&open.kind, Kind::Call(call) if !call.depth.is_complete()) {
                self.open.push(open);
            } else {
                self.close(open, &[], "completed", events);
            }
        }
        let output_index = self.items.len();
        self.items.push(Value::Null);
        let id = format!("{prefix}_{}_{output_index}", self.suffix);
        events.write(
            "response.output_item.added",
            || json!({"output_index": output_index, "item": item(&id)}),
        );
        Open {
            output_index,
            id,
            kind: Kind::Reasoning(String::new()),
        }
    }

    fn close(
        &mut self,
        mut open: Open,
        annotations: &[Value],
        status: &str,
        events: &mut Events<'_>,
    ) {
        if let Kind::Message(_) = open.kind {
            close_part(&mut open, annotations, events);
        }
        // Clients parse the arguments, also those of a tool without parameters.
        if let Kind::Call(call) = &mut open.kind
            && call.arguments.trim().is_empty()
        {
            "{}".clone_into(&mut call.arguments);
            events.write(
                "response.function_call_arguments.delta",
                || json!({"item_id": open.id, "output_index": open.output_index, "delta": "{}"}),
            );
        }
        let item = match &open.kind {
            Kind::Reasoning(text) => {
                events.write("response.reasoning_text.done", || {
                    place(&open, 0, json!({"text": text}))
                });
                let part = json!({"type": "reasoning_text", "text": text});
                part_event("done", &open, 0, &part, events);
                reasoning_item(&open.id, text)
            }
            Kind::Message(message) => message_item(&open.id, &message.done, status),
            Kind::Call(call) => {
                events.write("response.function_call_arguments.done", || {
                    json!({
                        "item_id": open.id, "output_index": open.output_index,
                        "name": call.name, "arguments": call.arguments,
                    })
                });
                call_item(
                    &open.id,
                    &call.id,
                    &call.name,
                    &call.arguments,
                    status,
                    &call.returned,
                )
            }
        };
        events.write(
            "response.output_item.done",
            || json!({"output_index": open.output_index, "item": item}),
        );
        if let Some(place) = self.items.get_mut(open.output_index) {
            *place = item;
        }
    }
}
