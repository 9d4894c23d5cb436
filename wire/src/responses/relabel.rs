//! Responses of a backend that speaks this API, under the id that they have here.
//!
//! A backend stores nothing, so its id of a response leads nowhere. Only the members that belong to this service change:
//! the id, the response that it continues, and whether it is stored. All else passes unchanged.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    file_search::Found,
    responses::{
        events::{Events, failure_events},
        searched::Searched,
    },
    sse, surrogates,
    translate::BadAnswer,
};

#[derive(Deserialize)]
struct EventView<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    sequence_number: Option<u64>,
}

/// Returns `true` if a whole answer is a response and not a chat answer.
pub fn is_response(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow)]
        object: Cow<'a, str>,
    }
    serde_json::from_slice::<View<'_>>(answer).is_ok_and(|view| view.object == "response")
}

/// Returns `true` if complete events are those of a response and not chat chunks.
pub fn are_response_events(events: &[u8]) -> bool {
    let first = sse::events(events).find_map(|event| event.data);
    let view = first.and_then(|data| {
        let view: EventView<'_> = serde_json::from_slice(&data).ok()?;
        Some(view.kind?.starts_with("response."))
    });
    view.unwrap_or(false)
}

/// Writes one response under its own id.
#[derive(Debug)]
pub struct Relabel {
    id: String,
    previous: Option<String>,
    is_stored: bool,
    /// What was found for the call.
    searched: Option<Searched>,
    /// The number of the next event.
    sequence: u64,
    /// The response as the last event had it.
    last: Value,
    has_ended: bool,
}

impl Relabel {
    /// Creates a writer of the response with this id.
    pub fn new(id: impl Into<String>, previous: Option<String>, is_stored: bool) -> Self {
        Self {
            id: id.into(),
            previous,
            is_stored,
            searched: None,
            sequence: 0,
            last: Value::Null,
            has_ended: false,
        }
    }

    /// Sets what was found for the call, before anything is written.
    pub fn set_found(&mut self, found: Found) {
        self.searched = Some(Searched::new(found, &self.id));
    }

    /// Writes a whole response.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a JSON object.
    pub fn whole(&mut self, body: &[u8]) -> Result<Bytes, BadAnswer> {
        self.last = self.labelled(value(body)?);
        self.has_ended = true;
        if let Some(searched) = &self.searched {
            searched.response(&mut self.last);
        }
        Ok(self.last.to_string().into())
    }

    /// Writes complete events.
    ///
    /// # Errors
    /// Returns an error if the data of an event is not JSON.
    pub fn events(&mut self, events: &[u8], out: &mut BytesMut) -> Result<(), BadAnswer> {
        for event in sse::events(events) {
            let data = event.data.as_deref().unwrap_or_default();
            let view = serde_json::from_slice(data);
            let view: EventView<'_> =
                view.map_err(|error| BadAnswer::NotJson(error.to_string()))?;
            let kind = view.kind.unwrap_or_default();
            if self.searched.is_some() {
                self.event_after_search(event.name, &kind, value(data)?, out);
                continue;
            }
            let number = view.sequence_number.unwrap_or(self.sequence);
            self.sequence = number.saturating_add(1);
            if !holds_response(&kind) {
                out.extend_from_slice(&events[event.span]);
                continue;
            }
            let mut whole = value(data)?;
            self.note(&kind, &mut whole);
            sse::write(event.name, whole.to_string().as_bytes(), out);
        }
        Ok(())
    }

    /// Labels the response of an event that holds it.
    fn note(&mut self, kind: &str, event: &mut Value) {
        self.last = self.labelled(event["response"].take());
        self.has_ended = matches!(kind, "response.completed" | "response.incomplete");
        if let Some(searched) = self.searched.as_ref().filter(|_| self.has_ended) {
            searched.response(&mut self.last);
        }
        event["response"] = self.last.clone();
    }

    /// Writes an event of a response for which something was searched.
    fn event_after_search(
        &mut self,
        name: Option<&[u8]>,
        kind: &str,
        mut event: Value,
        out: &mut BytesMut,
    ) {
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        if let Some(searched) = &mut self.searched {
            (before, behind) = searched.event(kind, &mut event);
        }
        if holds_response(kind) {
            self.note(kind, &mut event);
        }
        let own = before.len();
        let count = own + 1 + behind.len();
        before.push(event);
        before.append(&mut behind);
        for (at, mut event) in before.into_iter().enumerate().take(count) {
            event["sequence_number"] = self.sequence.into();
            self.sequence = self.sequence.saturating_add(1);
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            let name = if at == own {
                name
            } else {
                Some(kind.as_bytes())
            };
            sse::write(name, event.to_string().as_bytes(), out);
        }
    }

    /// Returns the events that end the stream with an error.
    pub fn fail(&mut self, code: &str, message: &str) -> Bytes {
        let mut out = String::new();
        let mut response = std::mem::take(&mut self.last);
        if response.is_null() {
            response = self.labelled(json!({"object": "response", "output": []}));
        }
        if let Some(response) = response.as_object_mut() {
            response.insert("status".to_owned(), "failed".into());
            let error = json!({"code": code, "message": message});
            response.insert("error".to_owned(), error);
        }
        let mut events = Events {
            out: Some(&mut out),
            sequence: &mut self.sequence,
        };
        failure_events(code, message, &response, &mut events);
        self.last = response;
        out.into()
    }

    /// Returns the response as it ended; `None` while it has not.
    pub fn response(&self) -> Option<&Value> {
        self.has_ended.then_some(&self.last)
    }

    fn labelled(&self, mut response: Value) -> Value {
        if let Some(members) = response.as_object_mut() {
            members.insert("id".to_owned(), self.id.clone().into());
            let previous = self.previous.clone();
            members.insert("previous_response_id".to_owned(), previous.into());
            members.insert("store".to_owned(), self.is_stored.into());
        }
        response
    }
}

fn holds_response(kind: &str) -> bool {
    matches!(
        kind,
        "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.completed"
            | "response.incomplete"
    )
}

fn value(bytes: &[u8]) -> Result<Value, BadAnswer> {
    surrogates::read(bytes).map_err(|error| BadAnswer::NotJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\", \"sequence_number\":2,\"delta\":\"\\u00e4\"}\n\n";

    fn event(kind: &str, number: u64, response: &Value) -> String {
        let data = json!({"type": kind, "sequence_number": number, "response": response});
        format!("event: {kind}\ndata: {data}\n\n")
    }

    #[test]
    fn only_the_members_of_this_service_change() {
        let theirs = json!({"id": "resp_theirs", "object": "response", "status": "in_progress", "store": false, "x": 1});
        let ours = json!({"id": "resp_ours", "object": "response", "status": "in_progress", "store": true, "x": 1, "previous_response_id": "resp_old"});
        let mut relabel = Relabel::new("resp_ours", Some("resp_old".to_owned()), true);
        let stream = |response: &Value| {
            let begun = event("response.created", 0, response);
            let goes_on = event("response.in_progress", 1, response);
            let ends = event("response.completed", 3, response);
            format!("{begun}{goes_on}{DELTA}{ends}")
        };
        let mut out = BytesMut::new();
        let theirs_stream = stream(&theirs);
        let (head, end) = theirs_stream.split_at(theirs_stream.find(DELTA).unwrap());
        assert!(are_response_events(head.as_bytes()));
        relabel.events(head.as_bytes(), &mut out).unwrap();
        assert_eq!(relabel.response(), None);
        relabel.events(end.as_bytes(), &mut out).unwrap();
        assert_eq!(std::str::from_utf8(&out).unwrap(), stream(&ours));
        assert_eq!(relabel.response(), Some(&ours));
        let mut relabel = Relabel::new("resp_ours", Some("resp_old".to_owned()), true);
        let body = theirs.to_string();
        assert!(is_response(body.as_bytes()));
        let whole = relabel.whole(body.as_bytes()).unwrap();
        assert_eq!(value(&whole).unwrap(), ours);
    }

    fn found() -> Found {
        Found {
            queries: vec!["q".to_owned()],
            chunks: vec![crate::file_search::FoundChunk {
                file_id: "file-a".to_owned(),
                filename: "a.md".to_owned(),
                ..Default::default()
            }],
            is_reported: true,
            includes_results: false,
        }
    }

    fn theirs(output: &Value) -> Value {
        json!({"id": "resp_theirs", "object": "response", "output": output})
    }

    fn item() -> Value {
        let part = json!({"type": "output_text", "text": "so [1]", "annotations": []});
        json!({"type": "message", "id": "msg_1", "role": "assistant", "content": [part]})
    }

    /// Returns the stream of a backend that cites what it was sent.
    fn citing() -> String {
        let (item, none) = (item(), json!([]));
        let place = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
        let placed = |kind: &str, number: u64, more: Value| {
            let mut data = json!({"type": kind, "sequence_number": number});
            for members in [&place, &more] {
                let members = members.as_object().unwrap().clone();
                data.as_object_mut().unwrap().extend(members);
            }
            format!("event: {kind}\ndata: {data}\n\n")
        };
        let part = json!({"part": item["content"][0]});
        let stream = [
            event("response.created", 0, &theirs(&none)),
            event("response.in_progress", 1, &theirs(&none)),
            placed("response.output_item.added", 2, json!({})),
            placed("response.output_text.delta", 3, json!({"delta": "so ["})),
            placed("response.output_text.delta", 4, json!({"delta": "1]"})),
            placed("response.content_part.done", 5, part),
            placed("response.output_item.done", 6, json!({"item": item})),
            event("response.completed", 7, &theirs(&json!([item]))),
        ];
        stream.concat()
    }

    #[test]
    fn a_search_that_was_done_here_stands_before_what_the_backend_writes() {
        let mut relabel = Relabel::new("resp_1", None, true);
        relabel.set_found(found());
        let mut out = BytesMut::new();
        relabel.events(citing().as_bytes(), &mut out).unwrap();
        let events: Vec<Value> = sse::events(&out)
            .map(|event| value(&event.data.unwrap()).unwrap())
            .collect();
        let kinds: Vec<&str> = events
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
            "output_text.delta",
            "output_text.delta",
            "output_text.annotation.added",
            "content_part.done",
            "output_item.done",
            "completed",
        ];
        assert_eq!(kinds, expected);
        assert!(
            (0..)
                .zip(&events)
                .all(|(number, event)| event["sequence_number"] == number)
        );
        assert!(events[7..13].iter().all(|event| event["output_index"] == 1));
        let cited =
            json!([{"type": "file_citation", "file_id": "file-a", "filename": "a.md", "index": 3}]);
        assert_eq!(events[11]["part"]["annotations"], cited);
        assert_eq!(events[12]["item"]["content"][0]["annotations"], cited);
        assert_eq!(events[1]["response"]["output"], json!([]));
        let response = relabel.response().unwrap();
        assert_eq!(response["output"][0]["type"], "file_search_call");
        assert_eq!(response["output"][1]["content"][0]["annotations"], cited);
        let mut whole = Relabel::new("resp_1", None, true);
        whole.set_found(found());
        let body = theirs(&json!([item()])).to_string();
        let body = value(&whole.whole(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(body["output"], response["output"]);
    }

    #[test]
    fn a_loss_goes_on_where_the_events_stopped() {
        let mut relabel = Relabel::new("resp_1", None, false);
        let mut out = BytesMut::new();
        let begun = event("response.created", 0, &json!({"object": "response"}));
        let events = format!("{begun}{DELTA}");
        relabel.events(events.as_bytes(), &mut out).unwrap();
        let failed = relabel.fail("upstream_error", "broke off");
        let numbers: Vec<(String, u64)> = sse::events(&failed)
            .map(|event| {
                let data = value(&event.data.unwrap()).unwrap();
                let kind = data["type"].as_str().unwrap().to_owned();
                (kind, data["sequence_number"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(
            numbers,
            [("error".to_owned(), 3), ("response.failed".to_owned(), 4)]
        );
        let text = std::str::from_utf8(&failed).unwrap();
        assert!(text.contains(r#""id":"resp_1""#) && text.contains(r#""status":"failed""#));
        assert_eq!(relabel.response(), None);
    }

    #[test]
    fn a_loss_before_the_first_event_has_the_response_too() {
        let failed = Relabel::new("resp_1", None, true).fail("upstream_error", "none");
        let last = sse::events(&failed).last().and_then(|event| event.data);
        let response = value(&last.unwrap()).unwrap()["response"].take();
        assert_eq!(
            (&response["id"], &response["status"]),
            (&json!("resp_1"), &json!("failed"))
        );
    }

    #[test]
    fn chat_answers_are_told_apart() {
        assert!(!is_response(br#"{"object":"chat.completion"}"#));
        assert!(!is_response(b"{}"));
        assert!(!are_response_events(b"data: {\"choices\":[]}\n\n"));
        assert!(!are_response_events(b"data: [DONE]\n\n"));
    }
}
