//! What the targets of streams share.

use bytes::Bytes;
use kebne_wire::framing::Framing;

/// Reads a stream in pieces of a given length. Returns what a caller gets, and whether the answer is complete.
pub fn read(mut framing: impl Framing, stream: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = framing.push(Bytes::copy_from_slice(chunk));
        passed.extend_from_slice(&events.unwrap_or_default());
    }
    passed.extend_from_slice(&framing.end().unwrap_or_default());
    let is_whole = framing.is_done() && framing.problem().is_none();
    (passed, is_whole)
}

/// Reads a stream at once and byte by byte, and requires the same result.
pub fn read_in_each_cut<F: Framing>(framing: impl Fn() -> F, stream: &[u8]) -> (Vec<u8>, bool) {
    let at_once = read(framing(), stream, stream.len());
    assert_eq!(at_once, read(framing(), stream, 1));
    at_once
}

/// Returns `true` if a text contains a word.
pub fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}
