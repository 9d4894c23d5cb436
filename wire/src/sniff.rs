//! Determines from its first bytes what a body contains, because its `content-type` is often wrong.

/// The content of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Server-sent events.
    Events,
    /// A JSON value.
    Json,
    /// Something else, such as a page of HTML.
    Other,
}

/// The fields that an event stream can begin with.
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];

/// White space at the start of a body that is skipped; some servers send it to keep a connection alive.
pub const BLANK_MAX: usize = 64 << 10;

/// The longest name of a field that is looked for.
const NAME_MAX: usize = 64;

/// Returns the kind of a body that begins with `start`, or `None` if it cannot be determined yet.
///
/// A body with only white space in its first [`BLANK_MAX`] bytes is [`Kind::Other`].
pub fn kind_of(start: &[u8]) -> Option<Kind> {
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
    let text = text.trim_ascii_start();
    let Some(first) = text.first() else {
        return (start.len() > BLANK_MAX).then_some(Kind::Other);
    };
    match first {
        b'{' | b'[' | b'"' => Some(Kind::Json),
        b':' => Some(Kind::Events),
        0xEF if b"\xEF\xBB\xBF".starts_with(text) => None,
        _ => {
            let name = text
                .iter()
                .position(|byte| matches!(byte, b':' | b'\n' | b'\r'));
            match name {
                Some(end) if FIELDS.contains(&&text[..end]) => Some(Kind::Events),
                None if FIELDS.iter().any(|field| field.starts_with(text)) => None,
                _ => Some(Kind::Other),
            }
        }
    }
}

/// Returns `true` if a body begins with a field that the standard of server-sent events does not define, and which its
/// readers ignore. A body with the label `text/event-stream` is then a stream. Returns `false` for a sentence, a page of
/// HTML or a JSON value, and `None` if that cannot be determined yet.
pub fn begins_with_unknown_field(start: &[u8]) -> Option<bool> {
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
    let text = text.trim_ascii_start();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let length = text.iter().take_while(|byte| is_word(**byte)).count();
    let rest = text[length..].iter().find(|byte| **byte != b' ');
    match rest {
        _ if length > NAME_MAX => Some(false),
        None => None,
        Some(byte) => Some(length > 0 && *byte == b':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_its_first_bytes() {
        for (start, kind) in [
            ("data: x", Some(Kind::Events)),
            ("\u{feff}\r\n\r\ndata", None),
            (": OPENROUTER PROCESSING", Some(Kind::Events)),
            ("event:x", Some(Kind::Events)),
            ("retry\n", Some(Kind::Events)),
            ("  \n {", Some(Kind::Json)),
            ("[", Some(Kind::Json)),
            ("<!doctype html>", Some(Kind::Other)),
            ("database", Some(Kind::Other)),
            ("upstream connect error", Some(Kind::Other)),
            ("d", None),
            (" \n", None),
            ("", None),
        ] {
            assert_eq!(kind_of(start.as_bytes()), kind, "{start:?}");
        }
        for (start, begins) in [
            ("foo: bar\n\ndata", Some(true)),
            ("data : x\n\n", Some(true)),
            ("foo", None),
            ("", None),
            ("null", None),
            ("null\n", Some(false)),
            ("upstream connect error: x", Some(false)),
            ("<html>", Some(false)),
            ("{", Some(false)),
        ] {
            assert_eq!(
                begins_with_unknown_field(start.as_bytes()),
                begins,
                "{start:?}"
            );
        }
        let long = "x".repeat(NAME_MAX + 1);
        assert_eq!(begins_with_unknown_field(long.as_bytes()), Some(false));
        assert_eq!(kind_of(b"\xEF\xBB"), None);
        assert_eq!(kind_of(&b" ".repeat(BLANK_MAX + 1)), Some(Kind::Other));
    }
}
