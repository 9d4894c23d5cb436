//! The form in which a call is sent: the data alone, or as a `CloudEvents` event.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::settings::Format;

/// The type of the event of a direct call.
pub const DIRECT_CALL: &str = "kebne.function.call";
/// The type of the event of a chat call.
pub const CHAT_CALL: &str = "kebne.function.chat";

/// The content type of JSON.
const JSON: &str = "application/json";
/// The content type of an event in the structured mode.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";
/// The version of the specification.
const SPECVERSION: &str = "1.0";

/// What a call is about.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The id; that of repeated attempts is the same.
    pub id: &'a str,
    /// Where it comes from, a URI reference.
    pub source: &'a str,
    /// The type of the event.
    pub kind: &'a str,
    /// What it is about; the name of the function for calls.
    pub subject: Option<&'a str>,
}

/// A call as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The content type of the body.
    pub content_type: &'static str,
    /// Headers besides it.
    pub headers: Vec<(String, String)>,
    /// The body: JSON.
    pub body: Vec<u8>,
}

impl Envelope {
    /// Puts an event, which is given in the structured mode, into the form of a call. As `json` it is sent as it is.
    pub fn of_event(format: Format, event: &[u8]) -> Self {
        let (content_type, headers, body) = match (format, opened(event)) {
            (Format::Cloudevents, Some((headers, data))) => (JSON, headers, data),
            (Format::CloudeventsStructured, _) => (STRUCTURED, Vec::new(), event.to_vec()),
            (Format::Json | Format::Cloudevents, _) => (JSON, Vec::new(), event.to_vec()),
        };
        Self {
            content_type,
            headers,
            body,
        }
    }

    /// Puts data, which is JSON, into the form of a call.
    pub fn new(format: Format, event: &Event<'_>, data: &[u8]) -> Self {
        match format {
            Format::Json => Self {
                content_type: JSON,
                headers: Vec::new(),
                body: data.to_vec(),
            },
            Format::Cloudevents => Self {
                content_type: JSON,
                headers: attributes(event).collect(),
                body: data.to_vec(),
            },
            Format::CloudeventsStructured => Self {
                content_type: STRUCTURED,
                headers: Vec::new(),
                body: structured(event, data),
            },
        }
    }
}

/// Names and values.
type Headers = Vec<(String, String)>;

/// Returns the attributes of an event in the structured mode as headers, and its data; `None` if it is no event.
fn opened(event: &[u8]) -> Option<(Headers, Vec<u8>)> {
    let mut event: Map<String, Value> = serde_json::from_slice(event).ok()?;
    let data = event.remove("data").unwrap_or_default();
    event.remove("datacontenttype");
    let attributes = event.into_iter().filter_map(|(name, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text,
            other => other.to_string(),
        };
        Some((format!("ce-{name}"), encoded(&text)))
    });
    Some((attributes.collect(), data.to_string().into_bytes()))
}

/// Returns the attributes of an event as headers.
fn attributes(event: &Event<'_>) -> impl Iterator<Item = (String, String)> {
    let all = [
        ("ce-specversion", Some(SPECVERSION)),
        ("ce-id", Some(event.id)),
        ("ce-source", Some(event.source)),
        ("ce-type", Some(event.kind)),
        ("ce-subject", event.subject),
    ];
    let set = all.into_iter();
    set.filter_map(|(name, value)| Some((name.to_owned(), encoded(value?))))
}

/// Encodes the value of an attribute as the HTTP protocol binding has it: what is not printable ASCII, and spaces, quotes and `%`.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _always_written = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns an event as JSON. The data is inserted as it is.
fn structured(event: &Event<'_>, data: &[u8]) -> Vec<u8> {
    let mut head = json!({"specversion": SPECVERSION, "id": event.id, "source": event.source, "type": event.kind,
        "datacontenttype": JSON});
    if let Some(subject) = event.subject {
        head["subject"] = Value::from(subject);
    }
    let mut body = head.to_string().into_bytes();
    body.pop();
    body.extend_from_slice(br#","data":"#);
    body.extend_from_slice(data);
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: Event<'_> = Event {
        id: "id 1",
        source: "/kebne",
        kind: DIRECT_CALL,
        subject: Some("größe"),
    };

    #[test]
    fn json_is_sent_as_it_is() {
        let sent = Envelope::new(Format::Json, &EVENT, b"{\"a\": 1}");
        assert_eq!(
            (sent.content_type, sent.body.as_slice()),
            (JSON, &b"{\"a\": 1}"[..])
        );
        assert!(sent.headers.is_empty());
    }

    #[test]
    fn the_binary_mode_has_attributes_in_headers_that_are_encoded() {
        let sent = Envelope::new(Format::Cloudevents, &EVENT, b"7");
        let expected = [
            ("ce-specversion", "1.0"),
            ("ce-id", "id%201"),
            ("ce-source", "/kebne"),
            ("ce-type", "kebne.function.call"),
            ("ce-subject", "gr%C3%B6%C3%9Fe"),
        ];
        assert_eq!(
            sent.headers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!((sent.content_type, sent.body.as_slice()), (JSON, &b"7"[..]));
    }

    #[test]
    fn an_event_keeps_its_attributes_in_each_form() {
        let event = json!({"specversion": "1.0", "id": "7", "source": "/kebne", "type": "kebne.call.ended.v1", "tenant": "a b",
            "datacontenttype": "application/json", "data": {"n": 1}});
        let text = event.to_string();
        let sent = Envelope::of_event(Format::Cloudevents, text.as_bytes());
        assert_eq!(sent.body, br#"{"n":1}"#);
        for (name, value) in [
            ("ce-id", "7"),
            ("ce-type", "kebne.call.ended.v1"),
            ("ce-tenant", "a%20b"),
        ] {
            assert!(
                sent.headers.contains(&(name.to_owned(), value.to_owned())),
                "{name}"
            );
        }
        for format in [Format::Json, Format::CloudeventsStructured] {
            let sent = Envelope::of_event(format, text.as_bytes());
            let body: Value = serde_json::from_slice(&sent.body).unwrap();
            assert_eq!(body, event);
        }
    }

    #[test]
    fn the_structured_mode_is_one_event_with_the_data_in_it() {
        let sent = Envelope::new(Format::CloudeventsStructured, &EVENT, br#"{"a":[1]}"#);
        let event: Value = serde_json::from_slice(&sent.body).unwrap();
        let expected = json!({"specversion": "1.0", "id": "id 1", "source": "/kebne", "type": "kebne.function.call",
            "subject": "größe", "datacontenttype": "application/json", "data": {"a": [1]}});
        assert_eq!(event, expected);
        assert_eq!(sent.content_type, STRUCTURED);
    }
}
