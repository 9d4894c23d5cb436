//! The shape that the chunks of one stream repeat: they differ in one text only, so most need not be parsed.
//!
//! A [`Shape`] is learned from a chunk that was parsed: the bytes before and after one of its texts. Another chunk of
//! the same bytes, with another text that is not empty, has the same [`ChunkView`], because the view depends only on
//! whether such a text is empty.

use memchr::memmem;

use super::ChunkView;
use crate::json::end_of_string;

/// The members whose texts vary. [`ChunkView`] reads none of them except for whether they are empty.
const VARYING: [&[u8]; 5] = [
    b"\"content\"",
    b"\"reasoning_content\"",
    b"\"arguments\"",
    b"\"text\"",
    b"\"reasoning\"",
];

/// The shape of a chunk.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The bytes up to the text, with its quotation mark.
    before: Vec<u8>,
    /// The bytes after the text, from its quotation mark.
    after: Vec<u8>,
    /// What every chunk of this shape contains.
    view: ChunkView,
}

impl Shape {
    /// Learns the shape of a chunk whose view is `view`. Returns `None` if the chunk has no text that varies.
    pub(crate) fn of(chunk: &[u8], view: ChunkView) -> Option<Self> {
        let (start, end) = VARYING.iter().find_map(|key| text_of(chunk, key))?;
        Some(Self {
            before: chunk[..start].to_vec(),
            after: chunk[end..].to_vec(),
            view,
        })
    }

    /// Returns the view of a chunk of this shape, or `None` if the chunk must be parsed.
    pub(crate) fn view_of(&self, chunk: &[u8]) -> Option<&ChunkView> {
        let text = chunk.strip_prefix(self.before.as_slice())?;
        let text = text.strip_suffix(self.after.as_slice())?;
        is_plain(text).then_some(&self.view)
    }
}

/// Finds the text of a member in valid JSON; `None` if it is empty or not a string.
fn text_of(chunk: &[u8], key: &[u8]) -> Option<(usize, usize)> {
    let at = memmem::find(chunk, key)?;
    // Within a string the quotation marks are escaped. A mark that ends a string is not followed by a letter.
    if at == 0 || chunk[at - 1] == b'\\' {
        return None;
    }
    let value = chunk[at + key.len()..].trim_ascii_start();
    let value = value.strip_prefix(b":")?.trim_ascii_start();
    let text = value.strip_prefix(b"\"")?;
    let start = chunk.len() - text.len();
    let end = end_of_string(chunk, start)? - 1;
    (end > start).then_some((start, end))
}

/// Returns `true` if `text` is the inside of a JSON string that is not empty. The text is UTF-8. A text with the escape
/// of a code unit counts as `false`, because the unit may be a half of a pair.
fn is_plain(text: &[u8]) -> bool {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without an early exit the comparison is vectorized.
    if !text.iter().fold(false, |any, byte| any | special(*byte)) {
        return !text.is_empty();
    }
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let is_valid = match byte {
            b'\\' => bytes
                .next()
                .is_some_and(|escaped| br#""\/bfnrt"#.contains(escaped)),
            byte => *byte >= 0x20 && *byte != b'"',
        };
        if !is_valid {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> Option<ChunkView> {
        serde_json::from_str(text).ok()
    }

    fn shape(text: &str) -> Option<Shape> {
        Shape::of(text.as_bytes(), view(text)?)
    }

    #[test]
    fn a_chunk_that_differs_in_its_text_has_the_view_of_its_shape() {
        let chunk = |text: &str| {
            format!(
                r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
            )
        };
        let shape = shape(&chunk("Hello")).unwrap();
        for text in [
            "x",
            " world",
            r"line\n",
            r#"a \"word\" \\"#,
            "\u{e4}\u{1f600}",
        ] {
            let chunk = chunk(text);
            assert_eq!(
                shape.view_of(chunk.as_bytes()),
                view(&chunk).as_ref(),
                "{text}"
            );
        }
        for text in [
            "",
            r"\ud83d",
            r"\x",
            r"\",
            "\t",
            "a\",\"b\":\"",
            "a\"}}],\"x\":[{\"a\":{\"b\":\"",
        ] {
            assert_eq!(shape.view_of(chunk(text).as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_chunk_with_another_member_is_parsed() {
        let first = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;
        let shape = shape(first).unwrap();
        for chunk in [
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"index":1,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":{}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":null},"finish_reason":null}]}"#,
        ] {
            assert_eq!(shape.view_of(chunk.as_bytes()), None, "{chunk}");
        }
    }

    #[test]
    fn an_escaped_key_within_a_text_is_not_taken_for_a_member() {
        let chunk = r#"{"choices":[{"delta":{"x":"\"content\":\"a\""}}]}"#;
        assert!(shape(chunk).is_none());
    }

    proptest::proptest! {
        #[test]
        fn a_shape_never_gives_a_view_that_the_parser_does_not(
            first in "\\{\"choices\": ?\\[\\{(\"index\":1,)?\"(delta|message)\":\\{(\"role\":\"a\",)?\"(content|arguments|text|error)\" ?: ?\"(a|\\\\n|\\\\\"|\\\\\\\\|b\\\\\"content\\\\\":\\\\\"){0,3}\"(,\"content\":\"(x|)\")?\\}(,\"finish_reason\":(null|\"stop\"|\"abort\"))?\\}\\](,\"error\":\"x?\")?(,\"object\":\"(error|chunk)\")?(,\"text\":\"y\")?\\}",
            at in 0_usize..200,
            gone in 0_usize..4,
            put in "[a\"\\\\nu0-9:,{}\t\u{e4}]{0,6}",
        ) {
            let Some(shape) = shape(&first) else { return Ok(()) };
            // Another chunk with a few characters changed anywhere.
            let letters: Vec<char> = first.chars().collect();
            let at = at.min(letters.len());
            let end = (at + gone).min(letters.len());
            let other: String = letters[..at].iter().copied().chain(put.chars()).chain(letters[end..].iter().copied()).collect();
            for chunk in [&first, &other] {
                if let Some(known) = shape.view_of(chunk.as_bytes()) {
                    let parsed = view(chunk);
                    proptest::prop_assert_eq!(Some(known), parsed.as_ref(), "{:?} after {:?}", chunk, &first);
                }
            }
        }
    }
}
