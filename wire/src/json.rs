//! JSON as Python servers write it. `NaN`, `Infinity` and `-Infinity` are replaced by values that every parser
//! accepts.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr2;
use serde::de::IgnoredAny;

/// The replacements of infinite numbers. OpenAI writes -9999.0 for the logarithm of a probability of zero.
const FINITE: (&[u8], &[u8]) = (b"9999.0", b"-9999.0");

/// Returns `true` if the bytes are a single JSON value.
pub fn is_valid(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Returns `true` if the bytes end before the JSON value that they begin.
pub fn is_cut(bytes: &[u8]) -> bool {
    !bytes.trim_ascii().is_empty()
        && serde_json::from_slice::<IgnoredAny>(bytes).is_err_and(|error| error.is_eof())
}

/// Returns the text with every number that is not finite replaced: `-Infinity` by `-9999.0`, `Infinity` by `9999.0`, and
/// `NaN` by `0.0` in a list and else by `-9999.0`, as the logarithm of a probability. It is for answers whose text is whole without
/// these numbers and which a strict parser would refuse because of them, never for vectors, whose meaning they are. Returns
/// `None` if all numbers are finite, or if the result is not a single JSON value.
pub fn with_finite_numbers(text: &[u8]) -> Option<Bytes> {
    let mut finite = Vec::new();
    let mut copied = 0;
    let mut place = 0;
    while let Some(at) = next_letter(text, place) {
        let rest = &text[at..];
        let (length, value): (usize, &[u8]) = if rest.starts_with(b"NaN") {
            (3, not_a_number(text, at))
        } else if rest.starts_with(b"Infinity") {
            (8, FINITE.0)
        } else {
            place = at + 1;
            continue;
        };
        let is_negative = at > copied && text[at - 1] == b'-';
        let start = at - usize::from(is_negative);
        finite.extend_from_slice(&text[copied..start]);
        finite.extend_from_slice(if is_negative && length > 3 {
            FINITE.1
        } else {
            value
        });
        place = at + length;
        copied = place;
    }
    if copied == 0 {
        return None;
    }
    finite.extend_from_slice(&text[copied..]);
    is_valid(&finite).then(|| Bytes::from(finite))
}

/// Returns the replacement of the `NaN` at a position.
fn not_a_number(text: &[u8], at: usize) -> &'static [u8] {
    let before = text[..at].strip_suffix(b"-").unwrap_or(&text[..at]);
    match before.trim_ascii_end().last() {
        Some(b':') => FINITE.1,
        _ => b"0.0",
    }
}

/// Finds the next `N` or `I` outside a string.
fn next_letter(text: &[u8], mut place: usize) -> Option<usize> {
    loop {
        let rest = text.get(place..)?;
        let letter = memchr2(b'N', b'I', rest);
        let quote = memchr::memchr(b'"', rest);
        match (letter, quote) {
            (None, _) => return None,
            (Some(letter), Some(quote)) if quote < letter => {
                place = end_of_string(text, place + quote + 1)?;
            }
            (Some(letter), _) => return Some(place + letter),
        }
    }
}

/// Returns the position after the quote that ends the string beginning at `place`.
pub(crate) fn end_of_string(text: &[u8], mut place: usize) -> Option<usize> {
    loop {
        let at = place + memchr2(b'"', b'\\', text.get(place..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        place = at + 2;
    }
}

/// Returns the bytes as text. Sequences that are not UTF-8 become U+FFFD.
pub(crate) fn as_utf8(bytes: Bytes) -> Bytes {
    // Faster than the search for sequences that are not UTF-8.
    if std::str::from_utf8(&bytes).is_ok() {
        return bytes;
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(_) => bytes,
        Cow::Owned(text) => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_replaced_outside_of_strings() {
        let cases = [
            (r#"{"a":-Infinity}"#, Some(r#"{"a":-9999.0}"#)),
            (
                r#"[NaN, Infinity,"NaN\" Infinity\\",-Infinity]"#,
                Some(r#"[0.0, 9999.0,"NaN\" Infinity\\",-9999.0]"#),
            ),
            (
                r#"{"a" : -NaN,"b":[1,-NaN ,NaN]}"#,
                Some(r#"{"a" : -9999.0,"b":[1,0.0 ,0.0]}"#),
            ),
            (r#"{"a":"-Infinity"}"#, None),
            (r#"{"a":1}"#, None),
            (r#"{"a":NaN"#, None),
            (r#"{"a":InfinityNaN}"#, None),
            (r#"{"a":"NaN"#, None),
            ("N", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let finite = with_finite_numbers(text.as_bytes());
            assert_eq!(finite.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
