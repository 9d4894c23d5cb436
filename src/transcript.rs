//! The texts of kept turns, for models that summarize them and for the search in a session.

use kebne_context::store::Turn;
use serde::Deserialize;
use serde_json::Value;

/// A message of a turn, as far as it is read.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    function: Function,
}

#[derive(Default, Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// Returns the text of a turn: for each message with a text a line that begins with its author. At most `size_max` bytes are
/// returned; a longer text is cut in its middle, so that question and answer both stay. It is empty if the turn has no text.
pub fn of_turn(turn: &Turn, size_max: usize) -> String {
    let messages: Vec<Message> = serde_json::from_slice(&turn.content.messages).unwrap_or_default();
    let mut text = String::new();
    for message in &messages {
        let mut said = text_of(&message.content);
        for call in &message.tool_calls {
            let arguments = match &call.function.arguments {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            said = format!("{said}[calls {} with {arguments}]", call.function.name);
        }
        if said.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&message.role);
        text.push_str(": ");
        text.push_str(&said);
    }
    cut(text, size_max)
}

/// Returns the text of a message's content: of a list of parts, that of the parts with text.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Cuts a long text in its middle.
fn cut(text: String, size_max: usize) -> String {
    const MARK: &str = " … ";
    if text.len() <= size_max {
        return text;
    }
    let half = size_max.saturating_sub(MARK.len()) / 2;
    let head = &text[..text.floor_char_boundary(half)];
    let tail = &text[text.ceil_char_boundary(text.len() - half)..];
    [head, MARK, tail].concat()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kebne_context::store::TurnContent;
    use serde_json::json;

    use super::*;

    fn turn(messages: &Value) -> Turn {
        Turn {
            number: 1,
            content: TurnContent {
                tokens: 1,
                leads: true,
                messages: Bytes::from(messages.to_string()),
            },
        }
    }

    #[test]
    fn each_message_with_a_text_is_a_line() {
        let call = json!([{"id": "1", "function": {"name": "f", "arguments": "{\"a\":1}"}}]);
        let parts = json!([{"type": "text", "text": "b"}, {"type": "image_url"}]);
        let turn = turn(&json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "tool_calls": call},
            {"role": "tool", "content": parts},
            {"role": "assistant"},
        ]));
        let expected = "user: a\nassistant: [calls f with {\"a\":1}]\ntool: b";
        assert_eq!(of_turn(&turn, 1000), expected);
    }

    #[test]
    fn a_long_text_keeps_its_ends_within_the_bound() {
        let question = "å".repeat(1000);
        let turn = turn(
            &json!([{"role": "user", "content": question}, {"role": "assistant", "content": "end"}]),
        );
        let text = of_turn(&turn, 101);
        assert!(text.len() <= 101, "{}", text.len());
        assert!(
            text.starts_with("user: å") && text.ends_with("end"),
            "{text}"
        );
        let unreadable = Turn {
            number: 1,
            content: TurnContent {
                tokens: 1,
                leads: true,
                messages: Bytes::from_static(b"{}"),
            },
        };
        assert_eq!(of_turn(&unreadable, 10), "");
    }
}
