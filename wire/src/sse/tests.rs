//! Streams cut at every place, and what is taken out of them.

use super::*;

const MAX: usize = 1024;

/// Pushes a stream in pieces of a length and returns everything that was passed on, and whether it was whole.
fn pass(stream: &[u8], piece: usize) -> (String, bool, Framer) {
    let mut framer = Framer::new(MAX);
    let mut passed = Vec::new();
    for chunk in stream.chunks(piece) {
        let events = framer.push(Bytes::copy_from_slice(chunk));
        let events = events.unwrap_or_default();
        assert!(events.is_empty() || events.ends_with(b"\n\n"), "{events:?}");
        passed.extend_from_slice(&events);
    }
    let (events, whole) = framer.end();
    passed.extend_from_slice(&events.unwrap_or_default());
    (String::from_utf8(passed).unwrap(), whole, framer)
}

fn everywhere(stream: &str, expected: &str, expected_whole: bool) {
    for piece in 1..=stream.len() {
        let (passed, whole, _) = pass(stream.as_bytes(), piece);
        assert_eq!(
            (passed.as_str(), whole),
            (expected, expected_whole),
            "in pieces of {piece}"
        );
    }
}

#[test]
fn a_clean_stream_passes_as_it_is_however_it_is_cut() {
    let stream = "data: {\"a\":1}\n\nevent: x\ndata: {\"b\":2}\n\ndata: [DONE]\n\n";
    everywhere(stream, stream, true);
}

#[test]
fn complete_events_are_passed_on_without_copying() {
    let chunk = Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"b\":2}\n\n");
    let passed = Framer::new(MAX).push(chunk.clone()).unwrap();
    assert_eq!(passed.as_ptr(), chunk.as_ptr());
    let with_done = Bytes::from_static(b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
    let passed = Framer::new(MAX).push(with_done.clone()).unwrap();
    assert_eq!(
        (passed.as_ptr(), passed.len()),
        (with_done.as_ptr(), with_done.len())
    );
}

#[test]
fn ids_retries_comments_and_carriage_returns_are_taken_out() {
    let stream = ": hi\r\n\r\nid: 7\r\ndata: {\"a\":1}\r\nretry: 3\r\n\r\nid\r\n\r\n\n:x\n\ndata:{\"b\":2}\n\ndata:[DONE] \r\n\r\n";
    everywhere(
        stream,
        "data: {\"a\":1}\n\ndata:{\"b\":2}\n\ndata: [DONE]\n\n",
        true,
    );
}

#[test]
fn what_follows_done_is_ignored() {
    everywhere(
        "data: {}\n\ndata: [DONE]\n\ndata: {\"error\":1}\n\n",
        "data: {}\n\ndata: [DONE]\n\n",
        true,
    );
}

#[test]
fn a_stream_without_done_is_whole_only_after_a_reason_to_finish() {
    let open = "data: {\"choices\":[{\"finish_reason\":null}]}\n\n";
    everywhere(open, open, false);
    let finished = "data: {\"choices\":[{\"finish_reason\": \"stop\"}]}\n\n";
    everywhere(finished, &format!("{finished}data: [DONE]\n\n"), true);
    everywhere(
        "data: {}\n\ndata: [DONE]",
        "data: {}\n\ndata: [DONE]\n\n",
        true,
    );
}

#[test]
fn an_error_in_band_stops_the_stream_and_what_came_before_is_passed_on() {
    let stream = "data: {\"a\":1}\n\nevent: error\ndata: {\"id\":1,\"error\":{\"code\":500}}\n\ndata: [DONE]\n\n";
    for piece in 1..=stream.len() {
        let (passed, whole, framer) = pass(stream.as_bytes(), piece);
        assert_eq!(
            (passed.as_str(), whole),
            ("data: {\"a\":1}\n\n", false),
            "in pieces of {piece}"
        );
        let error = Bytes::from_static(b"{\"id\":1,\"error\":{\"code\":500}}");
        assert_eq!(framer.problem(), Some(&Problem::Error(error)));
    }
    let innocent = "data: {\"error\":null,\"c\":\"\\\"error\\\"\"}\n\ndata: [DONE]\n\n";
    everywhere(innocent, innocent, true);
}

#[test]
fn an_endless_line_and_data_that_are_no_json_are_problems() {
    let endless = format!("data: {{\"a\":\"{}", "x".repeat(5000));
    for piece in [1, 100, 5000] {
        let (passed, whole, framer) = pass(endless.as_bytes(), piece);
        assert_eq!(
            (passed.as_str(), whole, framer.problem()),
            ("", false, Some(&Problem::TooLarge))
        );
    }
    let (_, whole, framer) = pass(b"data: <html>\n\n", 100);
    assert_eq!((whole, framer.problem()), (false, Some(&Problem::Garbage)));
}

#[test]
fn tokens_are_what_the_usage_said_or_else_the_events() {
    let events = "data: {\"usage\":null}\n\ndata: {\"x\":1}\n\n";
    assert_eq!(pass(events.as_bytes(), 1000).2.tokens(), 2);
    let usage = format!("{events}data: {{\"usage\": {{\"completion_tokens\":17}}}}\n\n");
    assert_eq!(pass(usage.as_bytes(), 7).2.tokens(), 17);
}

proptest::proptest! {
    #[test]
    fn whatever_comes_what_is_passed_on_is_events_that_a_caller_can_bear(
        lines in proptest::collection::vec("(data: ?|id: ?|retry:|:|event: ?|)(\\{\\}|\\{\"error\":[01]\\}|\\[DONE\\]|x|)\r?\n", 0..20),
        piece in 1_usize..40,
    ) {
        let stream = lines.concat();
        let (passed, _, framer) = pass(stream.as_bytes(), piece);
        proptest::prop_assert!(passed.is_empty() || passed.ends_with("\n\n"));
        proptest::prop_assert!(!passed.contains('\r') && !passed.contains("\n\n\n"), "{passed:?}");
        for line in passed.lines() {
            let borne = ["id:", "retry:", ":"].iter().all(|bad| !line.starts_with(bad));
            proptest::prop_assert!(borne && line != "id" && line != "retry", "{passed:?}");
        }
        let done = passed.matches("data: [DONE]\n").count();
        proptest::prop_assert!(done <= 1 && (done == 0 || passed.ends_with("data: [DONE]\n\n")), "{passed:?}");
        proptest::prop_assert!(done == 0 || framer.problem().is_none());
        let at_once = pass(stream.as_bytes(), stream.len().max(1)).0;
        proptest::prop_assert_eq!(passed, at_once, "cut in pieces of {}", piece);
    }
}
