//! Responses streams: the same events in every cut, and never a clean end without a final event.
#![no_main]

use bytes::Bytes;
use kebne_wire::{framing::Framing, responses::ResponseFramer};
use libfuzzer_sys::fuzz_target;

fn read(mut framing: impl Framing, stream: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = framing.push(Bytes::copy_from_slice(chunk));
        passed.extend_from_slice(&events.unwrap_or_default());
    }
    passed.extend_from_slice(&framing.end().unwrap_or_default());
    let is_whole = framing.is_done() && framing.problem().is_none();
    (passed, is_whole)
}

fn contains(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}

fuzz_target!(|input: &[u8]| {
    let framer = || ResponseFramer::new(16 << 10);
    let (passed, is_whole) = read(framer(), input, input.len());
    assert_eq!((passed.clone(), is_whole), read(framer(), input, 1));
    let has_end = contains(&passed, "response.completed") || contains(&passed, "response.incomplete");
    assert!(!is_whole || has_end);
});
