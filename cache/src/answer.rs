//! What an answer says, and whether it is complete. Answers are read in the dialects in which backends give them.

use serde::Deserialize;
use serde_json::Value;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON body.
    Whole,
    /// Server-sent events.
    Stream,
}

/// The members of an answer, or of an event, that say how it ended.
#[derive(Default, Deserialize)]
struct Ending {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    data: Option<Vec<serde::de::IgnoredAny>>,
    error: Option<serde::de::IgnoredAny>,
    #[serde(rename = "type")]
    kind: Option<String>,
    status: Option<String>,
    stop_reason: Option<String>,
    delta: Option<Delta>,
    response: Option<Response>,
}

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Response {
    status: Option<String>,
}

/// Returns `true` if an answer is complete, so that it may be kept: a chat or completion that ended by itself, a list of vectors. One that
/// reached a bound, was filtered, or calls tools that the settings do not allow is not.
pub fn is_complete(form: Form, body: &[u8], tools: bool) -> bool {
    let is_good = |reason: &str| match reason {
        "stop" | "end_turn" | "stop_sequence" | "completed" | "eos" | "eos_token" => true,
        "tool_calls" | "function_call" | "tool_use" => tools,
        _ => false,
    };
    match form {
        Form::Whole => {
            let Ok(answer) = serde_json::from_slice::<Ending>(body) else {
                return false;
            };
            if answer.error.is_some() {
                return false;
            }
            let reasons = reasons(&answer);
            let is_list = answer.data.as_ref().is_some_and(|data| !data.is_empty());
            let all = answer
                .choices
                .iter()
                .all(|choice| choice.finish_reason.is_some());
            all && reasons.iter().all(|reason| is_good(reason)) && (is_list || !reasons.is_empty())
        }
        Form::Stream => {
            let mut ended = false;
            for data in data_of(body).filter(|data| *data != b"[DONE]") {
                let Ok(event) = serde_json::from_slice::<Ending>(data) else {
                    return false;
                };
                let is_error = event.error.is_some() || event.kind.as_deref() == Some("error");
                let reasons = reasons(&event);
                if is_error || !reasons.iter().all(|reason| is_good(reason)) {
                    return false;
                }
                ended |= !reasons.is_empty();
            }
            ended
        }
    }
}

/// Returns the reasons for which an answer ended.
fn reasons(answer: &Ending) -> Vec<&str> {
    let choices = answer.choices.iter();
    let mut reasons: Vec<&str> = choices
        .filter_map(|choice| choice.finish_reason.as_deref())
        .collect();
    reasons.extend(answer.stop_reason.as_deref());
    let delta = answer.delta.as_ref();
    reasons.extend(delta.and_then(|delta| delta.stop_reason.as_deref()));
    match answer.kind.as_deref() {
        Some("response.completed" | "response.incomplete" | "response.failed") => {
            let response = answer.response.as_ref();
            reasons.extend(response.and_then(|response| response.status.as_deref()));
        }
        // Events of a response have a status of their own.
        Some(_) => {}
        None => reasons.extend(answer.status.as_deref()),
    }
    reasons
}

/// Returns the data of complete events.
fn data_of(events: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = events.split(|byte| *byte == b'\n');
    lines.filter_map(|line| Some(line.strip_prefix(b"data:")?.trim_ascii()))
}

/// Returns the text that an answer consists of; `None` if it contains anything else, such as the call of a tool.
pub fn text_of(form: Form, body: &[u8]) -> Option<String> {
    let mut text = String::new();
    match form {
        Form::Whole => add_text(&serde_json::from_slice(body).ok()?, "message", &mut text)?,
        Form::Stream => {
            for data in data_of(body).filter(|data| *data != b"[DONE]") {
                add_text(&serde_json::from_slice(data).ok()?, "delta", &mut text)?;
            }
        }
    }
    (!text.trim().is_empty()).then_some(text)
}

/// Adds the text of an answer or an event. Returns `None` if it is something else.
fn add_text(answer: &Value, member: &str, text: &mut String) -> Option<()> {
    for choice in answer["choices"].as_array().into_iter().flatten() {
        let message = &choice[member];
        if message
            .get("tool_calls")
            .is_some_and(|calls| !calls.is_null())
        {
            return None;
        }
        let content = message.get("content").or_else(|| choice.get("text"));
        text.push_str(content.and_then(Value::as_str).unwrap_or_default());
    }
    // Anthropic's messages.
    for block in answer["content"].as_array().into_iter().flatten() {
        text.push_str(block["text"].as_str()?);
    }
    if answer["type"] == "content_block_delta" {
        text.push_str(answer["delta"]["text"].as_str().unwrap_or_default());
    }
    Some(())
}

/// Returns `true` if two texts are the same apart from white space, case, and a full stop at the end.
pub fn same_text(left: &str, right: &str) -> bool {
    let plain = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        words.join(" ").trim_end_matches(['.', '!']).to_owned()
    };
    plain(left) == plain(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &str) -> bool {
        is_complete(Form::Whole, body.as_bytes(), false)
    }

    fn stream(body: &str) -> bool {
        is_complete(Form::Stream, body.as_bytes(), false)
    }

    #[test]
    fn only_an_answer_that_ended_by_itself_is_complete() {
        assert!(whole(
            r#"{"choices":[{"finish_reason":"stop","message":{"content":"a"}}]}"#
        ));
        assert!(whole(r#"{"data":[{"embedding":[1]}]}"#));
        assert!(whole(
            r#"{"type":"message","stop_reason":"end_turn","content":[]}"#
        ));
        for cut in [
            "",
            "7",
            "{}",
            r#"{"choices":[]}"#,
            r#"{"data":[]}"#,
            r#"{"choices":[{"finish_reason":"length"}]}"#,
            r#"{"choices":[{"finish_reason":"content_filter"}]}"#,
            r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}"#,
            r#"{"choices":[{"finish_reason":"tool_calls"}]}"#,
            r#"{"choices":[{"finish_reason":"stop"}],"error":{}}"#,
            r#"{"stop_reason":"max_tokens"}"#,
            r#"{"status":"incomplete"}"#,
        ] {
            assert!(!whole(cut), "{cut}");
        }
        let tools = br#"{"choices":[{"finish_reason":"tool_calls"}]}"#;
        assert!(is_complete(Form::Whole, tools, true));
    }

    #[test]
    fn a_stream_needs_its_end() {
        let part =
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        let end =
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        assert!(stream(&[part, end].concat()));
        assert!(!stream(part) && !stream(""));
        assert!(!stream(&[part, end, "data: {\"error\":{}}\n\n"].concat()));
        assert!(!stream(
            "data: {\"choices\":[{\"finish_reason\":\"length\"}]}\n\n"
        ));
        assert!(stream(
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"
        ));
        let response = |status: &str| {
            format!(
                "event: x\ndata: {{\"type\":\"response.output_item.added\",\"status\":\"in_progress\"}}\n\n\
                 data: {{\"type\":\"response.{status}\",\"response\":{{\"status\":\"{status}\"}}}}\n\n"
            )
        };
        assert!(stream(&response("completed")) && !stream(&response("incomplete")));
    }

    #[test]
    fn texts_are_found_and_compared() {
        let body = br#"{"choices":[{"message":{"content":"Paris."}}]}"#;
        assert_eq!(text_of(Form::Whole, body).as_deref(), Some("Paris."));
        let events = b"data: {\"choices\":[{\"delta\":{\"content\":\"Pa\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"ris\"}}]}\n\n";
        assert_eq!(text_of(Form::Stream, events).as_deref(), Some("Paris"));
        let tool = br#"{"choices":[{"message":{"content":"a","tool_calls":[{}]}}]}"#;
        assert_eq!(text_of(Form::Whole, tool), None);
        let block = br#"{"content":[{"type":"text","text":"a"}]}"#;
        assert_eq!(text_of(Form::Whole, block).as_deref(), Some("a"));
        assert!(same_text("Paris.", " paris\n"));
        assert!(!same_text("Paris", "London") && !same_text("not 5", "5"));
    }
}
