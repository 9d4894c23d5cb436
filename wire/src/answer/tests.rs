//! Messages of whole and streamed answers.

use serde_json::json;

use super::*;

const MAX: usize = 1 << 20;

fn streamed(events: &[Value]) -> Result<Value, MessageError> {
    let mut answer = Answer::default();
    for event in events {
        assert!(!answer.is_done());
        answer.feed(format!("data: {event}\n\n").as_bytes(), MAX);
    }
    answer.feed(b"data: [DONE]\n\n", MAX);
    assert!(answer.is_done());
    answer.finish()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "calls are easier to read this way"
)]
fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}

#[test]
fn the_pieces_of_a_text_become_one() {
    let message = streamed(&[
        delta(json!({"role": "assistant", "content": ""})),
        delta(json!({"content": "Hej", "reasoning_content": "hm"})),
        json!({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        delta(json!({"content": "då"})),
        delta(json!({})),
        json!({"choices": [], "usage": {"total_tokens": 1}}),
        json!({"usage": {"total_tokens": 1}}),
    ]);
    let expected = json!({"role": "assistant", "content": "Hejdå"});
    assert_eq!(message, Ok(expected));
}

#[test]
fn a_choice_with_both_a_message_and_a_delta_is_read() {
    let both = |content: &str| json!({"choices": [{"index": 0, "delta": {"content": content}, "message": {"content": "all"}}]});
    let message = streamed(&[both("Hej"), both("då")]);
    assert_eq!(
        message,
        Ok(json!({"role": "assistant", "content": "Hejdå"}))
    );
    let body = json!({"choices": [{"message": {"content": "Hej"}, "delta": {}}]});
    let message = Answer::of_whole(body.to_string().as_bytes());
    assert_eq!(message, Ok(json!({"role": "assistant", "content": "Hej"})));
}

#[test]
fn no_more_is_held_than_may_be_kept() {
    let mut answer = Answer::default();
    let event = delta(json!({"content": "x".repeat(100), "reasoning": "y".repeat(1000)}));
    for _ in 0..1000 {
        answer.feed(format!("data: {event}\n\n").as_bytes(), 1000);
    }
    assert!(answer.is_too_large(1000));
    assert!(answer.size <= 1100, "{}", answer.size);
    assert_eq!(
        answer.draft.whole()["content"].as_str().map(str::len),
        Some(answer.size)
    );
}

#[test]
fn a_whole_message_keeps_what_can_be_sent_back() {
    let body = json!({"choices": [{"index": 0, "message": {
        "role": "assistant", "content": "Hej", "refusal": null, "annotations": [], "reasoning": "x", "tool_calls": [],
    }}]});
    let message = Answer::of_whole(body.to_string().as_bytes());
    assert_eq!(message, Ok(json!({"role": "assistant", "content": "Hej"})));
}

#[test]
fn an_answer_without_a_message_and_one_that_cannot_be_read_say_so() {
    assert_eq!(streamed(&[]), Err(MessageError::Missing));
    assert_eq!(
        streamed(&[json!({"choices": 1})]),
        Err(MessageError::Unreadable)
    );
    for body in ["{}", r#"{"choices":[]}"#, r#"{"choices":[{"index":0}]}"#] {
        assert_eq!(
            Answer::of_whole(body.as_bytes()),
            Err(MessageError::Missing),
            "{body}"
        );
    }
    assert_eq!(Answer::of_whole(b"x"), Err(MessageError::Unreadable));
    // An answer without content is a valid message.
    let empty = streamed(&[delta(json!({"role": "assistant"}))]);
    assert_eq!(empty, Ok(json!({"role": "assistant", "content": ""})));
}
