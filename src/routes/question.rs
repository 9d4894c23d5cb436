//! What a route reads of a body: the caller's last message, and whether there are tools.

use std::borrow::Cow;

use kebne_wire::request::Endpoint;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The bytes of a question that are kept; the language and the intent are told by its beginning.
const QUESTION_MAX: usize = 4096;

/// What a body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The beginning of the text of the caller's last message; empty if there is none.
    pub text: String,
    /// `true` if something follows it, such as the result of a tool: it was asked by an earlier call.
    pub is_repeated: bool,
    /// `true` if tools are offered.
    pub has_tools: bool,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
    #[serde(borrow)]
    functions: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

impl Question {
    /// Reads the body of a call. What cannot be read is left for the backend to check.
    pub fn of(endpoint: Endpoint, body: &[u8]) -> Self {
        if !endpoint.generates() {
            return Self::default();
        }
        let Ok(fields) = serde_json::from_slice::<Fields<'_>>(body) else {
            return Self::default();
        };
        let is_there =
            |list: Option<&RawValue>| list.is_some_and(|list| !matches!(list.get(), "null" | "[]"));
        let texts = fields.messages.or(fields.input).or(fields.prompt);
        let (mut text, is_repeated) = texts.and_then(last_text).unwrap_or_default();
        text.truncate(text.floor_char_boundary(QUESTION_MAX));
        Self {
            text,
            is_repeated,
            has_tools: is_there(fields.tools) || is_there(fields.functions),
        }
    }
}

/// Returns the text of a list's last message of the user, and whether something follows it; or a text itself.
fn last_text(raw: &RawValue) -> Option<(String, bool)> {
    if raw.get().starts_with('"') {
        let text = serde_json::from_str(raw.get()).ok()?;
        return Some((text, false));
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
    items.iter().rev().enumerate().find_map(|(behind, item)| {
        let message: Message<'_> = serde_json::from_str(item.get()).ok()?;
        let is_user = message.role.is_some_and(|role| role == "user");
        let text = message.content.filter(|_| is_user).and_then(text_of)?;
        Some((text, behind > 0))
    })
}

/// Returns the text of a content, which is a text or a list of parts.
fn text_of(content: &RawValue) -> Option<String> {
    if content.get().starts_with('"') {
        return serde_json::from_str(content.get()).ok();
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).ok()?;
    let texts = parts.into_iter().filter_map(|part| part.text);
    Some(texts.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> (String, bool) {
        let question = Question::of(Endpoint::Chat, body.as_bytes());
        (question.text, question.has_tools)
    }

    #[test]
    fn a_question_before_the_result_of_a_tool_was_asked_before() {
        let user = r#"{"role":"user","content":"q"}"#;
        let tool = r#"{"role":"tool","tool_call_id":"1","content":"4"}"#;
        for (messages, is_repeated) in [
            (user.to_owned(), false),
            (format!("{user},{tool}"), true),
            (format!("{tool},{user}"), false),
        ] {
            let body = format!(r#"{{"messages":[{messages}]}}"#);
            let question = Question::of(Endpoint::Chat, body.as_bytes());
            let expected = ("q".to_owned(), is_repeated);
            assert_eq!(
                (question.text, question.is_repeated),
                expected,
                "{messages}"
            );
        }
    }

    #[test]
    fn the_last_message_of_the_user_is_the_question() {
        let system = r#"{"role":"system","content":"s"}"#;
        let parts = r#"{"role":"user","content":[{"type":"text","text":"a\u00f6"},{"type":"image_url","image_url":{}},{"type":"text","text":"b"}]}"#;
        let answer = r#"{"role":"assistant","content":"x"}"#;
        for (body, text, tools) in [
            (
                format!(r#"{{"messages":[{system},{parts},{answer}]}}"#),
                "aö\nb",
                false,
            ),
            (r#"{"input":"hi","tools":[{}]}"#.to_owned(), "hi", true),
            (
                format!(r#"{{"input":[{parts}],"tools":[]}}"#),
                "aö\nb",
                false,
            ),
            (r#"{"prompt":"hi","functions":[{}]}"#.to_owned(), "hi", true),
            (format!(r#"{{"messages":[{system}]}}"#), "", false),
            (r#"{"messages":7,"tools":null}"#.to_owned(), "", false),
            ("[]".to_owned(), "", false),
        ] {
            assert_eq!(of(&body), (text.to_owned(), tools), "{body}");
        }
        let none = Question::of(Endpoint::Embeddings, br#"{"input":"hi"}"#);
        assert_eq!(none, Question::default());
    }

    #[test]
    fn a_long_question_is_cut_between_characters() {
        let body = format!(r#"{{"prompt":"{}"}}"#, "€".repeat(5000));
        let (text, _) = of(&body);
        assert!(text.len() > QUESTION_MAX - 4 && text.len() <= QUESTION_MAX);
    }
}
