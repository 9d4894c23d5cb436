//! Messages streams, as they come and as chat chunks: the same events in every cut, and never a clean end without
//! `message_stop`.
#![no_main]

use kebne_wire::anthropic::{ChunkWriter, MessageFramer};
use kebne_wire_fuzz::{contains, read_in_each_cut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (passed, is_whole) = read_in_each_cut(|| MessageFramer::new(16 << 10, None), input);
    assert!(!is_whole || contains(&passed, "message_stop"));
    let writer = || Some(ChunkWriter::new(true, 0));
    let (passed, is_whole) = read_in_each_cut(|| MessageFramer::new(16 << 10, writer()), input);
    assert_eq!(passed.ends_with(b"data: [DONE]\n\n"), is_whole);
});
