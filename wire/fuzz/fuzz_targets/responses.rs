//! Responses streams: the same events in every cut, and never a clean end without a final event.
#![no_main]

use kebne_wire::responses::ResponseFramer;
use kebne_wire_fuzz::{contains, read_in_each_cut};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (passed, is_whole) = read_in_each_cut(|| ResponseFramer::new(16 << 10), input);
    let has_end = contains(&passed, "response.completed") || contains(&passed, "response.incomplete");
    assert!(!is_whole || has_end);
});
