//! The bound of output tokens under its newer name. `OpenAI`'s reasoning models refuse `max_tokens`, and many other
//! servers know no other name.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::ErrorView;

/// The names.
const OLDER: &[u8] = b"\"max_tokens\"";
const NEWER: &[u8] = b"\"max_completion_tokens\"";

/// Returns `true` if the body of an error asks for `max_completion_tokens` in the place of `max_tokens`.
pub fn asks_for_newer_name(error: &[u8]) -> bool {
    let view = ErrorView::read(error).unwrap_or_default();
    view.param.as_deref() == Some("max_tokens") && view.message.contains("max_completion_tokens")
}

/// Returns a chat request with `max_tokens` under its newer name; everything else is unchanged. Returns `None` if it has
/// no `max_tokens`, or both names.
pub fn under_newer_name(body: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Limits<'a> {
        #[serde(borrow, default)]
        max_tokens: Option<&'a RawValue>,
        #[serde(borrow, default)]
        max_completion_tokens: Option<&'a RawValue>,
    }
    let limits: Limits<'_> = serde_json::from_slice(body).ok()?;
    if limits.max_completion_tokens.is_some() {
        return None;
    }
    let value = limits.max_tokens?.get();
    let value_at = value.as_ptr().addr() - body.as_ptr().addr();
    let before = body.get(..value_at)?.trim_ascii_end().strip_suffix(b":")?;
    let start = before.trim_ascii_end().strip_suffix(OLDER)?.len();
    let mut renamed = BytesMut::with_capacity(body.len() + NEWER.len() - OLDER.len());
    renamed.put_slice(&body[..start]);
    renamed.put_slice(NEWER);
    renamed.put_slice(&body[start + OLDER.len()..]);
    Some(renamed.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_changes() {
        let renamed = under_newer_name(br#"{"a":{"max_tokens":1}, "max_tokens" : 7,"b":[]}"#);
        let expected = r#"{"a":{"max_tokens":1}, "max_completion_tokens" : 7,"b":[]}"#;
        assert_eq!(renamed.as_deref(), Some(expected.as_bytes()));
        for body in [
            "{}",
            r#"{"max_tokens":1,"max_completion_tokens":2}"#,
            r#"{"a":{"max_tokens":1}}"#,
            "[",
        ] {
            assert_eq!(under_newer_name(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn the_refusal_is_known_by_its_field_and_its_words() {
        let refusal = |param: &str, message: &str| {
            format!(
                r#"{{"error":{{"message":"{message}","param":"{param}","code":"unsupported_parameter"}}}}"#
            )
        };
        let words = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        assert!(asks_for_newer_name(refusal("max_tokens", words).as_bytes()));
        assert!(!asks_for_newer_name(
            refusal("max_tokens", "too large").as_bytes()
        ));
        assert!(!asks_for_newer_name(refusal("messages", words).as_bytes()));
    }
}
