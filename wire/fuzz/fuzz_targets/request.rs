//! Request bodies: the span of the model lies within the body.
#![no_main]

use bytes::Bytes;
use kebne_wire::{
    request::{Endpoint, parse},
    splice::{model_of, with_model},
    turn::NewTurn,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let body = Bytes::copy_from_slice(input);
    drop(NewTurn::read(&body, 1 << 20));
    if let Ok(parsed) = parse(Endpoint::Chat, body, "id".into()) {
        assert_eq!(model_of(&parsed.request), parsed.model);
        assert_eq!(model_of(&with_model(&parsed.request, "other")), "other");
    }
});
