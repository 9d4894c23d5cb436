//! Messages streams, as they come and as chat chunks: the same events in every cut, and never a clean end without
//! `message_stop`.
#![no_main]

use bytes::Bytes;
use kebne_wire::{
    anthropic::{ChunkWriter, MessageFramer},
    framing::Framing,
};
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
    let native = || MessageFramer::new(16 << 10, None);
    let (passed, is_whole) = read(native(), input, input.len());
    assert_eq!((passed.clone(), is_whole), read(native(), input, 1));
    assert!(!is_whole || contains(&passed, "message_stop"));
    let chat = || MessageFramer::new(16 << 10, Some(ChunkWriter::new(true, 0)));
    let (passed, is_whole) = read(chat(), input, input.len());
    assert_eq!((passed.clone(), is_whole), read(chat(), input, 1));
    assert_eq!(passed.ends_with(b"data: [DONE]\n\n"), is_whole);
});
