//! JSON escapes of half a character.
//!
//! A character outside the basic plane, such as an emoji, is written as two escapes, a high and a low surrogate. Servers
//! that cut their text by UTF-16 units send the halves in different chunks, or only one of them. RFC 8259 allows that
//! and common parsers accept it, but `serde_json` cannot make a `String` of it.

use std::collections::BTreeMap;

use memchr::{memchr, memrchr};
use serde::de::DeserializeOwned;

/// The bytes of an escape such as `\ud83d`.
const ESCAPE_SIZE: usize = 6;

/// The escape of the replacement character.
const REPLACEMENT: &[u8] = b"\\ufffd";

/// The number of texts of which a half is held. A chunk has few texts, and few of them end within a character.
const HELD_MAX: usize = 16;

/// An escape that is not part of a pair.
struct Half {
    at: usize,
    is_high: bool,
}

/// Reads a JSON value in which half characters become U+FFFD.
///
/// # Errors
/// Returns an error if the text is not JSON or not such a value.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match with_whole_characters(text) {
        Some(whole) => serde_json::from_slice(&whole),
        None => Err(error),
    })
}

/// Returns the JSON text with every half character replaced by U+FFFD; `None` if it has none.
pub fn with_whole_characters(text: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    let mut copied = 0;
    for half in halves(text) {
        whole.extend_from_slice(&text[copied..half.at]);
        whole.extend_from_slice(REPLACEMENT);
        copied = half.at + ESCAPE_SIZE;
    }
    if copied == 0 {
        return None;
    }
    whole.extend_from_slice(&text[copied..]);
    Some(whole)
}

/// Joins the halves of characters that arrive in different chunks of a stream.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    /// The high surrogate with which a text ended, by the name of the text's member.
    held: BTreeMap<Vec<u8>, [u8; ESCAPE_SIZE]>,
}

impl Halves {
    /// Reads one chunk. A half at the end of a text is held until the text of the same name in a later chunk begins with
    /// the other half. Other halves become U+FFFD.
    pub(crate) fn read<T: DeserializeOwned>(&mut self, chunk: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(chunk).or_else(|error| match self.join(chunk) {
            Some(whole) => serde_json::from_slice(&whole),
            None => Err(error),
        })
    }

    fn join(&mut self, chunk: &[u8]) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let mut copied = 0;
        for half in halves(chunk) {
            whole.extend_from_slice(&chunk[copied..half.at]);
            copied = half.at + ESCAPE_SIZE;
            let name = name_of_text(chunk, half.at).unwrap_or_default();
            if half.is_high && chunk.get(copied) == Some(&b'"') && self.held.len() < HELD_MAX {
                if let Ok(escape) = chunk[half.at..copied].try_into() {
                    self.held.insert(name.to_vec(), escape);
                }
                continue;
            }
            let begins_text = start_of_text(chunk, half.at) == Some(half.at);
            let held = (!half.is_high && begins_text).then(|| self.held.remove(name));
            match held.flatten() {
                Some(high) => {
                    whole.extend_from_slice(&high);
                    whole.extend_from_slice(&chunk[half.at..copied]);
                }
                None => whole.extend_from_slice(REPLACEMENT),
            }
        }
        if copied == 0 {
            return None;
        }
        whole.extend_from_slice(&chunk[copied..]);
        Some(whole)
    }
}

/// Returns the escapes that are not part of a pair.
fn halves(text: &[u8]) -> impl Iterator<Item = Half> {
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let at = place + memchr(b'\\', text.get(place..)?)?;
            let Some(unit) = unit_at(text, at) else {
                place = at + 2;
                continue;
            };
            place = at + ESCAPE_SIZE;
            match unit {
                0xD800..=0xDBFF
                    if unit_at(text, place).is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) =>
                {
                    place += ESCAPE_SIZE;
                }
                0xD800..=0xDFFF => {
                    let is_high = unit < 0xDC00;
                    return Some(Half { at, is_high });
                }
                _ => {}
            }
        }
    })
}

/// Returns the UTF-16 unit of the escape at a position.
fn unit_at(text: &[u8], at: usize) -> Option<u16> {
    let escape = text.get(at..at + ESCAPE_SIZE)?;
    let digits = escape.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Returns the position after the quote that opens the text around a position.
fn start_of_text(text: &[u8], within: usize) -> Option<usize> {
    let mut end = within;
    loop {
        let quote = memrchr(b'"', text.get(..end)?)?;
        let before = text[..quote].iter().rev();
        let slashes = before.take_while(|byte| **byte == b'\\').count();
        if slashes % 2 == 0 {
            return Some(quote + 1);
        }
        end = quote;
    }
}

/// Returns the name of the member whose text is around a position.
fn name_of_text(text: &[u8], within: usize) -> Option<&[u8]> {
    let quote = start_of_text(text, within)? - 1;
    let before = text[..quote].trim_ascii_end().strip_suffix(b":")?;
    let name = before.trim_ascii_end().strip_suffix(b"\"")?;
    let start = start_of_text(text, name.len())?;
    Some(&name[start..])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_half_character_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#""x\ud83d y""#, "x\u{fffd} y"),
            (r#""\ude00""#, "\u{fffd}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\\ud83d\uDE00""#, "\\ud83d\u{fffd}"),
            (r#""\uD83D\u0041""#, "\u{fffd}A"),
            (r#""\ud83d\ude00\u00e4""#, "\u{1f600}\u{e4}"),
        ] {
            let value: Value = read(text.as_bytes()).unwrap();
            assert_eq!(value, expected, "{text}");
        }
        for text in [r#""\ud83d"#, r#""\ud8"#, r#""\ud83d" x"#, "\\ud83d", ""] {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(with_whole_characters(br#""\ud83d\ude00""#), None);
    }

    #[test]
    fn halves_in_different_chunks_are_joined_text_by_text() {
        let mut halves = Halves::default();
        let mut read = |chunk: &str| halves.read::<Value>(chunk.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"content":"a \ud83d","t":[{"token" : "\"\ud83d"}]}"#),
            json!({"content": "a ", "t": [{"token": "\""}]})
        );
        assert_eq!(read(r#"{"other":1}"#), json!({"other": 1}));
        assert_eq!(
            read(r#"{"t":[{"token":"\ude00"}],"x":"\ude00","content":"\ude00\ud83d"}"#),
            json!({"t": [{"token": "\u{1f600}"}], "x": "\u{fffd}", "content": "\u{1f600}"})
        );
        assert_eq!(
            read(r#"{"content":"b\ude00"}"#),
            json!({"content": "b\u{fffd}"})
        );
        assert_eq!(
            read(r#"{"content":"\"\ude00"}"#),
            json!({"content": "\"\u{fffd}"})
        );
        assert_eq!(
            read(r#"{"content":"\ude00."}"#),
            json!({"content": "\u{1f600}."})
        );
    }
}
