//! Asks for the usage of a streamed answer whose caller did not ask for it.
//!
//! Servers report the tokens of a stream only if `stream_options.include_usage` is `true`. The report is a chunk without
//! choices, which [`Framer::hiding_usage`](crate::stream::Framer::hiding_usage) removes again.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memmem;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

use crate::error::ErrorView;

/// The field of a request.
const NAME: &str = "stream_options";
/// The field and its value, for a request without it.
const FIELD: &[u8] = br#""stream_options":{"include_usage":true}"#;

/// The one field that is read.
#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
}

/// Reads a value that is there, even if it is null.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Returns the body of a streamed request with the question for its usage; `None` if it asks itself, or is not an object
/// with options that can be extended. All other bytes stay unchanged.
pub fn asking_for_usage(body: &Bytes) -> Option<Bytes> {
    if memmem::find(body, NAME.as_bytes()).is_some() {
        let options: Options<'_> = serde_json::from_slice(body).ok()?;
        if let Some(raw) = options.stream_options {
            return extended(body, raw);
        }
    }
    let start = memchr::memchr(b'{', body)? + 1;
    let (head, rest) = body.split_at(start);
    let is_empty = rest.trim_ascii_start().starts_with(b"}");
    let mut asking = BytesMut::with_capacity(body.len() + FIELD.len() + 1);
    asking.put_slice(head);
    asking.put_slice(FIELD);
    if !is_empty {
        asking.put_u8(b',');
    }
    asking.put_slice(rest);
    Some(asking.freeze())
}

/// Returns the body with other options in the place of `raw`, which is a part of it.
fn extended(body: &Bytes, raw: &RawValue) -> Option<Bytes> {
    let mut options: Option<Map<String, Value>> = serde_json::from_str(raw.get()).ok()?;
    let options = options.get_or_insert_default();
    let was = options.insert("include_usage".to_owned(), true.into());
    if was == Some(true.into()) {
        return None;
    }
    let start = raw.get().as_ptr().addr() - body.as_ptr().addr();
    let options = serde_json::to_string(options).ok()?;
    let parts = [
        &body[..start],
        options.as_bytes(),
        &body[start + raw.get().len()..],
    ];
    Some(parts.concat().into())
}

/// Returns `true` if the body of a refusal names the options of streams as its reason.
pub fn is_refusal_of_usage(error: &[u8]) -> bool {
    let Some(error) = ErrorView::read(error) else {
        return false;
    };
    let is_named = |text: &str| text.contains(NAME) || text.contains("include_usage");
    is_named(&error.message) || error.param.as_deref().is_some_and(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_does_not_ask_is_made_to_ask() {
        for (body, asking) in [
            ("{}", r#"{"stream_options":{"include_usage":true}}"#),
            (
                r#" { "model":"m"}"#,
                r#" {"stream_options":{"include_usage":true}, "model":"m"}"#,
            ),
            (
                r#"{"a":1e2,"stream_options": null ,"b":2}"#,
                r#"{"a":1e2,"stream_options": {"include_usage":true} ,"b":2}"#,
            ),
            (
                r#"{"stream_options":{"x":1,"include_usage":false}}"#,
                r#"{"stream_options":{"x":1,"include_usage":true}}"#,
            ),
            (
                r#"{"messages":["stream_options"]}"#,
                r#"{"stream_options":{"include_usage":true},"messages":["stream_options"]}"#,
            ),
        ] {
            let made = asking_for_usage(&Bytes::from_static(body.as_bytes()));
            assert_eq!(made.as_deref(), Some(asking.as_bytes()), "{body}");
        }
        for body in [
            r#"{"stream_options":{"include_usage":true}}"#,
            r#"{"stream_options":7}"#,
            "[",
        ] {
            assert_eq!(asking_for_usage(&Bytes::from_static(body.as_bytes())), None);
        }
    }

    #[test]
    fn a_refusal_is_known_by_the_name_of_the_field() {
        for (error, is_refusal) in [
            (
                r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options')}]","code":400}"#,
                true,
            ),
            (
                r#"{"error":{"message":"Unknown parameter","param":"stream_options.include_usage"}}"#,
                true,
            ),
            (
                r#"{"error":{"message":"max_tokens is too large","param":"max_tokens"}}"#,
                false,
            ),
            ("", false),
        ] {
            assert_eq!(is_refusal_of_usage(error.as_bytes()), is_refusal, "{error}");
        }
    }
}
