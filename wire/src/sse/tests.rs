//! The standard's examples with every division, and a comparison with another implementation.

use std::convert::Infallible;

use eventsource_stream::Eventsource;
use futures_util::{StreamExt, stream};

use super::*;

const MAX: usize = 4096;

/// Decodes a stream that comes in pieces of `piece` bytes.
fn decoded(stream: &[u8], piece: usize) -> Vec<(String, String)> {
    let mut decoder = Decoder::new(MAX);
    let mut all = Vec::new();
    for chunk in stream.chunks(piece.max(1)) {
        let events = decoder.push(Bytes::copy_from_slice(chunk)).unwrap();
        all.extend(events.into_iter().map(|event| (event.name, event.data)));
    }
    all
}

fn messages(stream: &str, expected: &[&str]) {
    for piece in 1..=stream.len() {
        let data: Vec<String> = decoded(stream.as_bytes(), piece)
            .into_iter()
            .map(|(_, data)| data)
            .collect();
        assert_eq!(data, expected, "{stream:?} in pieces of {piece}");
    }
}

#[test]
fn the_examples_of_the_standard_are_read_as_it_says() {
    messages("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]);
    messages(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &["first event", "second event", " third event"],
    );
    messages("data\n\ndata\ndata\n\ndata:", &["", "\n"]);
    messages("data:test\n\ndata: test\n\n", &["test", "test"]);
}

#[test]
fn every_line_end_and_a_byte_order_mark_are_understood_at_every_cut() {
    for end in ["\n", "\r\n", "\r"] {
        let stream =
            format!("\u{feff}data: a{end}{end}event: x{end}data: b{end}data{end}{end}:c{end}{end}");
        messages(&stream, &["a", "b\n"]);
    }
    messages("data: a\r\n\rdata: b\n\r\ndata: c\r\r\n", &["a", "b", "c"]);
    // Only the first mark is a byte order mark.
    messages("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["b"]);
}

#[test]
fn what_is_incomplete_at_the_end_is_discarded() {
    messages("data: a\n\ndata: b\n", &["a"]);
    messages("data: a\n\ndata: b", &["a"]);
    messages("data: a\r\n", &[]);
}

#[test]
fn an_event_without_an_end_is_refused_at_the_bound() {
    for piece in [1, 100, 10_000] {
        let mut splitter = Splitter::new(1000);
        let mut pushed = [b'x'; 10_000]
            .chunks(piece)
            .map(|chunk| splitter.push(Bytes::copy_from_slice(chunk)));
        assert!(pushed.any(|pushed| pushed == Err(TooLarge { max: 1000 })));
        assert!(splitter.pending.capacity() < 25_000);
    }
}

#[test]
fn an_event_is_written_on_one_line() {
    let mut out = BytesMut::new();
    write(Some(b"x"), b"{\n\"a\":\r\n1}", &mut out);
    assert_eq!(out, "event: x\ndata: { \"a\":  1}\n\n");
}

/// Decodes a stream with the reference implementation.
fn by_reference(stream: &[u8]) -> Vec<(String, String)> {
    let chunk: Result<Vec<u8>, Infallible> = Ok(stream.to_vec());
    let events = stream::iter([chunk]).eventsource();
    let events = events
        .map(|event| event.unwrap())
        .map(|event| (event.event, event.data));
    let mut events = std::pin::pin!(events.collect::<Vec<_>>());
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match events.as_mut().poll(&mut task) {
        std::task::Poll::Ready(events) => events,
        std::task::Poll::Pending => panic!("all chunks are available"),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    /// The reference reads a carriage return at the end of a chunk only when the next byte has arrived. Therefore it
    /// gets the stream as a whole, and with a line feed after a carriage return at the end. It panics at a byte order
    /// mark, so it gets the stream without one.
    #[test]
    fn the_reference_implementation_reads_the_same_events(
        mark in proptest::bool::ANY,
        lines in proptest::collection::vec("(data|event|id|retry|x|)(:| :|: |:  |)(\\{\\}|7|å|a b|:|)(\r\n|\n|\r|\n\n|\r\r|\r\n\r\n|\n\r\n)", 0..24),
        end in "(|data: cut|data: cut\n|\r)",
        piece in 1_usize..60,
    ) {
        let lines = format!("{}{end}", lines.concat());
        let stream = format!("{}{lines}", if mark { "\u{feff}" } else { "" });
        let ended = format!("{lines}{}", if lines.ends_with('\r') { "\n" } else { "" });
        let expected = by_reference(ended.as_bytes());
        proptest::prop_assert_eq!(decoded(stream.as_bytes(), piece), expected.clone(), "{:?}", stream);
        proptest::prop_assert_eq!(decoded(stream.as_bytes(), stream.len()), expected);
    }
}
