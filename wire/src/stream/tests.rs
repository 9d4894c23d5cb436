//! Streams divided at every place: what is passed on, what is removed, and how each one ends.

use super::*;

const MAX: usize = 1024;

/// A chunk with text in choice 0, and one that ends choice 0.
const HI: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"}}]}\n\n";
const STOP: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const END: &str = "data: [DONE]\n\n";

/// Pushes a stream in pieces of a given length. Returns everything that was passed on, and whether the answer was
/// complete.
fn pass_choices(stream: &[u8], piece: usize, choices: u32) -> (String, bool, Framer) {
    let mut framer = Framer::new(MAX, choices);
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

fn pass(stream: &[u8], piece: usize) -> (String, bool, Framer) {
    pass_choices(stream, piece, 1)
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

/// Checks a stream that stops at a problem, after `expected` was passed on.
fn stops(stream: &str, expected: &str, problem: &Problem) {
    for piece in 1..=stream.len() {
        let (passed, whole, framer) = pass(stream.as_bytes(), piece);
        assert_eq!(
            (passed.as_str(), whole, framer.problem()),
            (expected, false, Some(problem)),
            "{stream:?} in pieces of {piece}"
        );
    }
}

fn error(data: &str) -> Problem {
    Problem::Error(Bytes::copy_from_slice(data.as_bytes()))
}

#[test]
fn a_clean_stream_passes_as_it_is_however_it_is_cut() {
    let stream = format!("{HI}event: x\n{HI}{STOP}{END}");
    everywhere(&stream, &stream, true);
}

#[test]
fn complete_events_are_passed_on_without_copying() {
    let chunk = Bytes::from(format!("{HI}{HI}"));
    let passed = Framer::new(MAX, 1).push(chunk.clone()).unwrap();
    assert_eq!(passed.as_ptr(), chunk.as_ptr());
    let with_done = Bytes::from(format!("{HI}{END}"));
    let passed = Framer::new(MAX, 1).push(with_done.clone()).unwrap();
    assert_eq!(
        (passed.as_ptr(), passed.len()),
        (with_done.as_ptr(), with_done.len())
    );
}

#[test]
fn ids_retries_comments_and_carriage_returns_are_removed() {
    let hi = HI.trim_end();
    for end in ["\r\n", "\r", "\n"] {
        let stream = format!(
            "\u{feff}: hi{end}{end}id: 7{end}{hi}{end}retry: 3{end}{end}id{end}{end}{end}:x{end}{end}data:{end}{end}{hi}{end}{end}data:[DONE] {end}{end}"
        );
        everywhere(&stream, &format!("{HI}{HI}{END}"), true);
    }
}

#[test]
fn the_first_chunk_of_a_choice_has_a_role() {
    let chunk = |index: u32, members: &str| {
        format!("data: {{\"choices\":[{{\"index\":{index},\"delta\":{{{members}}}}}]}}\n\n")
    };
    let (without, with) = (
        "\"content\":\"a\"",
        "\"role\":\"assistant\",\"content\":\"a\"",
    );
    let events = |members: [&str; 4]| {
        let chunks = [0, 1, 0, 1].into_iter().zip(members);
        let chunks: String = chunks
            .map(|(index, members)| chunk(index, members))
            .collect();
        format!("{chunks}{END}")
    };
    let given = events([without, with, without, without]);
    everywhere(&given, &events([with, with, without, without]), true);
    let text = format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"a\"}}]}}\n\n{END}");
    everywhere(&text, &text, true);
}

#[test]
fn data_of_several_lines_become_one_line() {
    let stream = "data: {\"choices\":\ndata:  [{\"delta\":{\"role\":\"assistant\",\"content\":\ndata: \"hi\"}}]\ndata\ndata:}\n\ndata:   [DONE]\n\n";
    let passed =
        "data: {\"choices\":  [{\"delta\":{\"role\":\"assistant\",\"content\": \"hi\"}}]  }\n\n";
    everywhere(stream, &format!("{passed}{END}"), true);
}

#[test]
fn what_follows_done_is_ignored() {
    let stream = format!("{HI}{END}data: {{\"error\":1}}\n\n");
    everywhere(&stream, &format!("{HI}{END}"), true);
}

#[test]
fn a_stream_without_done_is_whole_only_when_every_choice_has_a_real_reason_to_finish() {
    everywhere(HI, HI, false);
    everywhere(&format!("{HI}{STOP}"), &format!("{HI}{STOP}{END}"), true);
    for reason in ["null", "\"\"", "false"] {
        let open = format!(
            "data: {{\"choices\":[{{\"delta\":{{\"role\":\"assistant\"}},\"finish_reason\":{reason}}}]}}\n\n"
        );
        everywhere(&open, &open, false);
    }
    let second = HI.replace("\"index\":0", "\"index\":1");
    let both = format!("{HI}{second}{STOP}");
    everywhere(&both, &both, false);
    let other = STOP.replace("\"index\":0", "\"index\":1");
    everywhere(
        &format!("{both}{other}"),
        &format!("{both}{other}{END}"),
        true,
    );
    // The second choice has not arrived yet.
    let (_, whole, _) = pass_choices(format!("{HI}{STOP}").as_bytes(), 1000, 2);
    assert!(!whole);
}

#[test]
fn a_reason_to_finish_in_every_chunk_means_nothing() {
    let each = HI.replace("}]", ",\"finish_reason\":\"stop\"}]");
    let stream = format!("{each}{each}");
    everywhere(&stream, &stream, false);
    everywhere(&format!("{stream}{END}"), &format!("{stream}{END}"), true);
}

#[test]
fn what_is_incomplete_at_the_end_is_discarded() {
    everywhere(&format!("{HI}{}", STOP.trim_end()), HI, false);
    everywhere(
        &format!("{HI}{STOP}{}", HI.trim_end()),
        &format!("{HI}{STOP}{END}"),
        true,
    );
    // Nothing else begins like `[DONE]`.
    everywhere(&format!("{HI}data: [DONE]"), &format!("{HI}{END}"), true);
    everywhere(&format!("{HI}data: [DONE"), HI, false);
}

#[test]
fn an_error_in_band_stops_the_stream_and_what_came_before_is_passed_on() {
    for data in [
        "{\"id\":1,\"error\":{\"code\":500}}",
        "{\"object\":\"error\",\"message\":\"no\",\"code\":400}",
        "{\"detail\":\"no\"}",
        "[{\"error\":{\"code\":500}}]",
        "{\"choices\":[],\"error\":\"no\"}",
    ] {
        stops(&format!("{HI}data: {data}\n\n{END}"), HI, &error(data));
        // Not an event but the text of an error, between events or instead of them.
        stops(&format!("{HI}{data}\n\n{END}"), HI, &error(data));
        stops(&format!("{HI}{data}"), HI, &error(data));
        stops(data, "", &error(data));
        stops(&format!("{HI}data: {data}\n"), HI, &error(data));
    }
    stops(&format!("{HI}event: error\ndata: no\n\n"), HI, &error("no"));
    let innocent = "data: {\"error\":null,\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\\\"error\\\"\"}}]}\n\n";
    everywhere(
        &format!("{innocent}{END}"),
        &format!("{innocent}{END}"),
        true,
    );
}

#[test]
fn a_stream_without_a_choice_is_no_answer() {
    for stream in [
        END.to_owned(),
        format!("data: {{}}\n\n{END}"),
        format!("data: {{\"usage\":null}}\n\n{END}"),
    ] {
        stops(&stream, "", &Problem::Empty);
    }
    everywhere("data: {}\n\n", "", false);
}

#[test]
fn a_choice_that_was_given_up_is_a_problem() {
    stops(
        &format!("{HI}{}", STOP.replace("stop", "abort")),
        HI,
        &Problem::Failed,
    );
}

#[test]
fn pings_are_removed_and_other_events_are_passed_on() {
    let usage = "data: {\"id\":\"a\",\"usage\":{\"completion_tokens\":2}}\n\n";
    let stream =
        format!("{HI}event: ping\ndata: {{\"type\": \"ping\"}}\n\ndata: {{}}\n\n{usage}{END}");
    everywhere(&stream, &format!("{HI}{usage}{END}"), true);
}

#[test]
fn an_endless_line_and_data_that_are_not_json_are_problems() {
    let endless = format!("data: {{\"a\":\"{}", "x".repeat(5000));
    for piece in [1, 100, 5000] {
        let (passed, whole, framer) = pass(endless.as_bytes(), piece);
        assert_eq!(
            (passed.as_str(), whole, framer.problem()),
            ("", false, Some(&Problem::TooLarge))
        );
    }
    let large = format!("data: {{\"a\":\"{}\"}}\n\n", "x".repeat(5000));
    for piece in [1, 100, 10_000] {
        let (_, _, framer) = pass(large.as_bytes(), piece);
        assert_eq!(framer.problem(), Some(&Problem::TooLarge), "{piece}");
    }
    for data in [
        "<html>",
        "ping",
        "{\"choices\":[",
        "[1]",
        "{\"choices\":[1]}",
        "\"x\"",
    ] {
        stops(&format!("data: {data}\n\n"), "", &Problem::Unreadable);
    }
}

#[test]
fn numbers_that_are_not_finite_and_bytes_that_are_not_text_are_made_readable() {
    let stream = "data: {\"choices\":[{\"logprobs\":{\"content\":[{\"logprob\":-Infinity}]},\"finish_reason\":\"stop\"}]}\n\n";
    everywhere(
        stream,
        &format!("{}{END}", stream.replace("-Infinity", "-9999.0")),
        true,
    );
    let (passed, whole, _) = pass(
        b"data: {\"choices\":[{\"text\":\"\xFF\",\"finish_reason\":\"stop\"}]}\n\n",
        1000,
    );
    assert!(whole && passed.contains('\u{fffd}'), "{passed}");
}

#[test]
fn tokens_are_what_the_usage_says_or_else_the_chunks() {
    let events = format!("{HI}{HI}data: {{\"usage\":null}}\n\n");
    assert_eq!(pass(events.as_bytes(), 1000).2.tokens(), 2);
    let usage = format!("{events}data: {{\"usage\": {{\"completion_tokens\":17}}}}\n\n");
    assert_eq!(pass(usage.as_bytes(), 7).2.tokens(), 17);
}

proptest::proptest! {
    #[test]
    fn whatever_comes_what_is_passed_on_is_events_that_a_caller_can_read(
        lines in proptest::collection::vec("(data: ?|id: ?|retry:|:|event: ?|)(\\{\\}|\\{\"error\":[01]\\}|\\{\"choices\":\\[(\\{\\}|)\\]\\}|\\[DONE\\]|x|)(\n|\r\n|\r|\n\n)", 0..20),
        piece in 1_usize..40,
    ) {
        let stream = lines.concat();
        let (passed, whole, framer) = pass(stream.as_bytes(), piece);
        proptest::prop_assert!(passed.is_empty() || passed.ends_with("\n\n"));
        proptest::prop_assert!(!passed.contains('\r') && !passed.contains("\n\n\n"), "{passed:?}");
        for event in passed.split_terminator("\n\n") {
            let (name, data) = event.split_once('\n').map_or((None, event), |(name, data)| (Some(name), data));
            proptest::prop_assert!(name.is_none_or(|name| name.starts_with("event:")), "{passed:?}");
            let data = data.strip_prefix("data:").map(str::trim);
            let readable = data.is_some_and(|data| data == "[DONE]" || data.starts_with('{'));
            proptest::prop_assert!(readable, "{passed:?}");
        }
        let done = passed.matches("data: [DONE]\n").count();
        proptest::prop_assert_eq!(done, usize::from(whole), "{:?}", passed);
        proptest::prop_assert!(done == 0 || passed.ends_with("data: [DONE]\n\n"), "{passed:?}");
        proptest::prop_assert!(done == 0 || framer.problem().is_none());
        let at_once = pass(stream.as_bytes(), stream.len().max(1)).0;
        proptest::prop_assert_eq!(passed, at_once, "cut in pieces of {}", piece);
    }
}

#[test]
fn a_usage_that_the_caller_did_not_ask_for_is_counted_and_not_passed_on() {
    const USAGE: &str =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n";
    let with_usage = &STOP.replace("}]}", "}],\"usage\":{\"prompt_tokens\":5}}");
    let stream = [HI, with_usage, USAGE, END].concat();
    for piece in 1..=stream.len() {
        let mut framer = Framer::new(MAX, 1).hiding_usage();
        let mut passed = Vec::new();
        for chunk in stream.as_bytes().chunks(piece) {
            passed.extend_from_slice(
                &framer
                    .push(Bytes::copy_from_slice(chunk))
                    .unwrap_or_default(),
            );
        }
        assert!(framer.is_done());
        let expected = [HI, with_usage, END].concat();
        assert_eq!(
            String::from_utf8(passed).unwrap(),
            expected,
            "in pieces of {piece}"
        );
        assert_eq!((framer.usage().input, framer.tokens()), (Some(5), 7));
    }
    everywhere(&stream, &stream, true);
}
