//! Adds a search that was done here to a response of a backend that speaks this API: the item of the search, and the citations.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    file_search::{Citations, Found},
    responses::{events::Events, output::Output},
};

/// Adds one search to one response.
#[derive(Debug)]
pub(super) struct Searched {
    found: Found,
    /// The item of the search; `None` if it is not reported.
    item: Option<Value>,
    has_reported: bool,
    /// The texts by their places in the answer of the backend.
    texts: BTreeMap<(u64, u64), Text>,
}

/// A text that is being written.
#[derive(Debug)]
struct Text {
    citations: Citations,
    /// The annotations of the backend and of the search, in their order.
    annotations: Vec<Value>,
}

impl Searched {
    /// Creates what adds a search to the response with this id.
    pub(super) fn new(found: Found, response_id: &str) -> Self {
        let mut sequence = 0;
        let mut nowhere = Events {
            out: None,
            sequence: &mut sequence,
        };
        let mut output = Output::new(response_id);
        output.found(&found, &mut nowhere);
        let item = output.finish(Vec::new(), true, &mut nowhere).pop();
        Self {
            item,
            found,
            has_reported: false,
            texts: BTreeMap::new(),
        }
    }

    /// Adds the search to a whole response.
    pub(super) fn response(&self, response: &mut Value) {
        let Some(output) = response["output"].as_array_mut() else {
            return;
        };
        for (index, item) in (0..).zip(output.iter_mut()) {
            self.item(index, item);
        }
        if let Some(item) = &self.item {
            output.insert(0, item.clone());
        }
    }

    /// Adds the citations to an item at a place of the backend's answer.
    fn item(&self, index: u64, item: &mut Value) {
        let parts = item["content"].as_array_mut();
        for (at, part) in (0..).zip(parts.into_iter().flatten()) {
            self.part((index, at), part);
        }
    }

    fn part(&self, place: (u64, u64), part: &mut Value) {
        let Some(text) = part["text"]
            .as_str()
            .filter(|_| part["type"] == "output_text")
        else {
            return;
        };
        let own = part["annotations"].as_array().cloned().unwrap_or_default();
        let streamed = self.texts.get(&place).map(|text| &text.annotations);
        let all = match streamed {
            Some(streamed) if own.iter().all(|one| streamed.contains(one)) => streamed.clone(),
            _ => own
                .into_iter()
                .chain(self.found.citations().feed(text))
                .collect(),
        };
        part["annotations"] = all.into();
    }

    /// Changes an event for its place behind the search. Returns the events that stand before it and behind it.
    pub(super) fn event(&mut self, kind: &str, event: &mut Value) -> (Vec<Value>, Vec<Value>) {
        let place = event["output_index"].as_u64();
        let part = event["content_index"].as_u64().unwrap_or_default();
        let before = if place.is_some() {
            self.report()
        } else {
            Vec::new()
        };
        let Some(index) = place else {
            let behind = if kind == "response.in_progress" {
                self.report()
            } else {
                Vec::new()
            };
            return (before, behind);
        };
        let shift = u64::from(self.item.is_some());
        let mut behind = Vec::new();
        match kind {
            "response.output_text.delta" => {
                let citations = self.found.citations();
                let text = self.texts.entry((index, part)).or_insert_with(|| Text {
                    citations,
                    annotations: Vec::new(),
                });
                for annotation in text
                    .citations
                    .feed(event["delta"].as_str().unwrap_or_default())
                {
                    behind.push(json!({
                        "type": "response.output_text.annotation.added", "item_id": event["item_id"],
                        "output_index": index + shift, "content_index": part,
                        "annotation_index": text.annotations.len(), "annotation": annotation,
                    }));
                    text.annotations.push(annotation);
                }
            }
            "response.output_text.annotation.added" => {
                if let Some(text) = self.texts.get_mut(&(index, part)) {
                    event["annotation_index"] = text.annotations.len().into();
                    text.annotations.push(event["annotation"].clone());
                }
            }
            "response.content_part.done" => self.part((index, part), &mut event["part"]),
            "response.output_item.done" => self.item(index, &mut event["item"]),
            _ => {}
        }
        event["output_index"] = (index + shift).into();
        (before, behind)
    }

    /// Returns the events that report the search, the first time.
    fn report(&mut self) -> Vec<Value> {
        let Some(item) = self.item.as_ref().filter(|_| !self.has_reported) else {
            return Vec::new();
        };
        self.has_reported = true;
        let id = item["id"].as_str().unwrap_or_default();
        let begun = self.found.item(id, "in_progress");
        let mut events =
            vec![json!({"type": "response.output_item.added", "output_index": 0, "item": begun})];
        events.extend(["in_progress", "searching", "completed"].map(|step| {
            let kind = format!("response.file_search_call.{step}");
            json!({"type": kind, "item_id": id, "output_index": 0})
        }));
        events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
        events
    }
}
