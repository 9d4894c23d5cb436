//! Streams: the same events in every cut, and never a clean end without `[DONE]`.
#![no_main]

use bytes::Bytes;
use kebne_wire::stream::Framer;
use libfuzzer_sys::fuzz_target;

fn read(stream: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let mut framer = Framer::new(16 << 10, 1);
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = framer.push(Bytes::copy_from_slice(chunk));
        passed.extend_from_slice(&events.unwrap_or_default());
    }
    let (events, is_whole) = framer.end();
    passed.extend_from_slice(&events.unwrap_or_default());
    (passed, is_whole)
}

fuzz_target!(|input: &[u8]| {
    let at_once = read(input, input.len());
    assert_eq!(at_once, read(input, 1));
    assert_eq!(at_once.0.ends_with(b"data: [DONE]\n\n"), at_once.1);
});
