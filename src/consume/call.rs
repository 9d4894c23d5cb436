//! The call that a message is.

use std::fmt;

use bytes::Bytes;
use kebne_event_bus::Message;
use kebne_events::CloudEvent;
use serde::Deserialize;

/// A call that came as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The id from which that of the answer is made.
    pub(super) id: String,
    /// The key of the answer.
    pub(super) key: String,
    /// The body of the request.
    pub(super) body: Bytes,
    /// The session of the call.
    pub(super) session: Option<String>,
    /// The tenant that the call names.
    pub(super) tenant: Option<String>,
}

/// The reason why a message is not a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotACall {
    /// The reason code.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) message: String,
}

/// What is looked at in a body or an event.
#[derive(Deserialize)]
struct Members {
    specversion: Option<serde_json::Value>,
    stream: Option<bool>,
}

impl Call {
    /// Returns the id of a message, whether it is a call or not: that of its event with the source, or else that on the bus.
    pub(super) fn id_of(message: &Message) -> String {
        match CloudEvent::from_json(&message.payload) {
            Ok(event) => format!("{}#{}", event.source, event.id),
            Err(_) => message.id.clone(),
        }
    }

    /// Reads a message: a request body in JSON, or a `CloudEvent` with one as its data.
    pub(super) fn read(message: &Message) -> Result<Self, NotACall> {
        let members = members(&message.payload)?;
        if members.specversion.is_none() {
            return Self {
                id: message.id.clone(),
                key: message.key.clone(),
                body: message.payload.clone(),
                session: None,
                tenant: None,
            }
            .require_whole(&members);
        }
        let event = CloudEvent::from_json(&message.payload);
        let event = event.map_err(|error| wrong("invalid_event", &error))?;
        let text = |name: &str| {
            let value = event.extensions.get(name)?;
            value.as_str().map(str::to_owned)
        };
        let (session, tenant) = (text("session"), text("tenant"));
        let key = text("partitionkey").unwrap_or_else(|| message.key.clone());
        let Some(data) = &event.data else {
            return Err(wrong("invalid_event", &"the event has no data"));
        };
        let body = Bytes::copy_from_slice(data.get().as_bytes());
        let members = self::members(&body)?;
        Self {
            id: format!("{}#{}", event.source, event.id),
            key,
            body,
            session,
            tenant,
        }
        .require_whole(&members)
    }

    /// Refuses a call for a stream, because an answer is one message.
    fn require_whole(self, members: &Members) -> Result<Self, NotACall> {
        if members.stream == Some(true) {
            return Err(wrong(
                "invalid_request",
                &"`stream` must not be set: an answer is one message",
            ));
        }
        Ok(self)
    }
}

fn members(bytes: &[u8]) -> Result<Members, NotACall> {
    let members = serde_json::from_slice(bytes);
    members.map_err(|error| wrong("invalid_json", &error))
}

fn wrong(reason: &'static str, error: &dyn fmt::Display) -> NotACall {
    NotACall {
        reason,
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> Message {
        Message::new("7", "calls", "k", payload.to_owned())
    }

    #[test]
    fn a_body_is_a_call_and_so_is_an_event_with_one() {
        let plain = Call::read(&message(r#"{"model":"m"}"#)).unwrap();
        assert_eq!((&*plain.id, &*plain.key), ("7", "k"));
        let event = message(
            r#"{"specversion":"1.0","id":"9","source":"/shop","type":"ask","session":"s","partitionkey":"p","data":{"model":"m"}}"#,
        );
        let call = Call::read(&event).unwrap();
        assert_eq!((&*call.id, &*call.key), ("/shop#9", "p"));
        assert_eq!(&call.body[..], br#"{"model":"m"}"#);
        assert_eq!(call.session.as_deref(), Some("s"));
        assert_eq!(Call::id_of(&event), "/shop#9");
    }

    #[test]
    fn what_is_not_a_call_has_a_reason() {
        for (payload, reason) in [
            ("hello", "invalid_json"),
            ("[1]", "invalid_json"),
            (r#"{"stream":true}"#, "invalid_request"),
            (r#"{"specversion":"1.0"}"#, "invalid_event"),
            (
                r#"{"specversion":"1.0","id":"1","source":"/a","type":"t"}"#,
                "invalid_event",
            ),
        ] {
            assert_eq!(Call::read(&message(payload)).unwrap_err().reason, reason);
        }
    }
}
