//! Reads the stream of a model server as it comes from a socket, cut at arbitrary places.
//!
//! Run with `cargo run -p kebne-wire --example read_stream`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use bytes::Bytes;
use kebne_wire::{answer::Answer, stream::Framer};

/// A stream with a comment, an `id:` line and carriage returns, which callers never see.
const STREAM: &str = ": processing\r\n\r\n\
id: 1\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hej\"}}]}\r\n\r\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" världen\"},\"finish_reason\":\"stop\"}]}\r\n\r\n\
data: [DONE]\r\n\r\n";

fn main() {
    let mut framer = Framer::new(64 * 1024, 1);
    let mut answer = Answer::default();
    for piece in STREAM.as_bytes().chunks(40) {
        if let Some(events) = framer.push(Bytes::copy_from_slice(piece)) {
            print!("{}", String::from_utf8_lossy(&events));
            answer.feed(&events, 64 * 1024);
        }
    }
    println!("complete: {}", framer.is_done());
    println!(
        "kept: {}",
        answer
            .finish()
            .map_or_else(|error| error.to_string(), |message| message.to_string())
    );
}
