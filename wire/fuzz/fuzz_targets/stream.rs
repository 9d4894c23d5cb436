//! Streams: the same events in every cut, and never a clean end without `[DONE]`.
#![no_main]

use kebne_wire::stream::Framer;
use kebne_wire_fuzz::read_in_each_cut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (passed, is_whole) = read_in_each_cut(|| Framer::new(16 << 10, 1), input);
    assert_eq!(passed.ends_with(b"data: [DONE]\n\n"), is_whole);
});
