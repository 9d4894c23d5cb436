//! The messages that answer calls.

use std::collections::BTreeMap;

use bytes::Bytes;
use kebne_event_bus::Message;
use kebne_events::{CloudEvent, WriteError, rfc3339};
use serde_json::{Value, json, value::RawValue};

use crate::unix_time;

/// The type of an answer.
const ANSWER: &str = "kebne.answer.v1";
/// The type of a dead letter.
const DEAD_LETTER: &str = "kebne.dead_letter.v1";

/// Whose answer a message is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address<'a> {
    /// The attribute `source`.
    pub(super) source: &'a str,
    /// The subject on the bus.
    pub(super) topic: &'a str,
    /// The id of the call.
    pub(super) call: &'a str,
    /// The key of the call.
    pub(super) key: &'a str,
}

/// The reason why a call is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// The status of the last answer of the gateway; 0 without one.
    pub(super) status: u16,
    /// The reason code.
    pub(super) reason: String,
    /// The message.
    pub(super) message: String,
}

impl Address<'_> {
    /// Returns the message with an answer. Its body is the data, as it is if it is JSON, or else as a text.
    pub(super) fn answer(
        self,
        body: &Bytes,
        request: Option<String>,
    ) -> Result<Message, WriteError> {
        let mut event = self.event(ANSWER);
        if let Some(request) = request {
            event
                .extensions
                .insert("requestid".to_owned(), request.into());
        }
        let json: Result<&RawValue, _> = serde_json::from_slice(body);
        let event = match json {
            Ok(json) => event.with_data(&json)?,
            Err(_) => event.with_data(&String::from_utf8_lossy(body))?,
        };
        self.message(&event)
    }

    /// Returns the message of a call that is not answered, with what it was.
    pub(super) fn dead_letter(
        self,
        reason: &Cause,
        payload: &Bytes,
    ) -> Result<Message, WriteError> {
        let call: Value = serde_json::from_slice(payload)
            .unwrap_or_else(|_| String::from_utf8_lossy(payload).into_owned().into());
        let data = json!({
            "status": reason.status,
            "reason": reason.reason,
            "message": reason.message,
            "call": call,
        });
        let event = self.event(DEAD_LETTER).with_data(&data)?;
        self.message(&event)
    }

    /// The id is the same for an answer and for a dead letter: a call has one of them.
    fn event(self, kind: &str) -> CloudEvent {
        let key = Value::from(self.key);
        CloudEvent {
            id: format!("{}/answer", self.call),
            source: self.source.to_owned(),
            kind: kind.to_owned(),
            subject: Some(self.call.to_owned()),
            time: Some(rfc3339(unix_time::millis())),
            extensions: BTreeMap::from([("partitionkey".to_owned(), key)]),
            ..CloudEvent::default()
        }
    }

    fn message(self, event: &CloudEvent) -> Result<Message, WriteError> {
        let payload = event.to_json()?;
        Ok(Message::new(&*event.id, self.topic, self.key, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_and_a_dead_letter_of_one_call_have_one_id() {
        let address = Address {
            source: "/kebne",
            topic: "answers",
            call: "7",
            key: "k",
        };
        let body = Bytes::from_static(b"{\"a\": 1.0}");
        let answer = address.answer(&body, Some("req_1".to_owned())).unwrap();
        let reason = Cause {
            status: 400,
            reason: "invalid_request".to_owned(),
            message: "no".to_owned(),
        };
        let dead = address
            .dead_letter(&reason, &Bytes::from_static(b"x"))
            .unwrap();
        assert_eq!((&*answer.id, &*dead.id), ("7/answer", "7/answer"));
        let text = std::str::from_utf8(&answer.payload).unwrap();
        assert!(text.contains("\"data\":{\"a\": 1.0}"), "{text}");
        let dead: Value = serde_json::from_slice(&dead.payload).unwrap();
        assert_eq!(dead["data"]["call"], "x");
        assert_eq!(dead["data"]["reason"], "invalid_request");
    }
}
