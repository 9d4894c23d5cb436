//! Compressed bodies: never more than the bound.
#![no_main]

use bytes::Bytes;
use kebne_wire::encoding::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for encoding in ["gzip", "deflate"] {
        if let Ok(decoded) = decode(encoding, Bytes::copy_from_slice(input), 1 << 20) {
            assert!(decoded.len() <= 1 << 20);
        }
    }
});
