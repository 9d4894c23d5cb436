//! Whole answers and errors.
#![no_main]

use bytes::Bytes;
use kebne_wire::{answer::Answer, error::ErrorView, request::Endpoint, whole};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let checked = whole::check(Endpoint::Chat, Bytes::copy_from_slice(input), "");
    if checked.is_ok() {
        assert_eq!(ErrorView::read(input), None);
    }
    drop(Answer::of_whole(input));
});
