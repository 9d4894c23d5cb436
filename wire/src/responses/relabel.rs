//! Responses of a backend that speaks this API, under the id that they have here.
//!
//! A backend stores nothing, so its id of a response leads nowhere. Only the members that belong to this service change:
//! the id, the response that it continues, and whether it is stored. All else passes unchanged.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    responses::events::{Events, failure_events},
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
            sequence: 0,
            last: Value::Null,
            has_ended: false,
        }
    }

    /// Writes a whole response.
    ///
    /// # Errors
    /// Returns an error if the bytes are not a JSON object.
    pub fn whole(&mut self, body: &[u8]) -> Result<Bytes, BadAnswer> {
        self.last = self.labelled(value(body)?);
        self.has_ended = true;
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
            let number = view.sequence_number.unwrap_or(self.sequence);
            self.sequence = number.saturating_add(1);
            let holds_response = matches!(
                &*kind,
                "response.created"
                    | "response.queued"
                    | "response.in_progress"
                    | "response.completed"
                    | "response.incomplete"
            );
            if !holds_response {
                out.extend_from_slice(&events[event.span]);
                continue;
            }
            let mut whole = value(data)?;
            self.last = self.labelled(whole["response"].take());
            self.has_ended = matches!(&*kind, "response.completed" | "response.incomplete");
            whole["response"] = self.last.clone();
            sse::write(event.name, whole.to_string().as_bytes(), out);
        }
        Ok(())
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
