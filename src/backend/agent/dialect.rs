//! Calls and answers of agents in the `OpenAI` dialect.

use bytes::Bytes;
use kebne_agents::{Message, ToolCall};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::llm::Usage;

/// What a call asks an agent.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) messages: Vec<Message>,
    /// `true` if the end of a stream reports the usage.
    pub(super) wants_usage: bool,
}

#[derive(Deserialize)]
struct Body {
    messages: Vec<OneMessage>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    n: Option<u64>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct OneMessage {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Option<Vec<OneCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct OneCall {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

/// Why a call cannot be read: the field, and the reason.
type Bad = (&'static str, String);

/// Reads a chat call.
pub(super) fn read(body: &[u8]) -> Result<Asked, Bad> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| ("messages", format!("the call cannot be read: {error}")))?;
    if body.tools.is_some_and(|tools| !tools.is_empty()) {
        let why = "an agent has tools of its own and takes none of the caller";
        return Err(("tools", why.to_owned()));
    }
    if body.n.is_some_and(|choices| choices != 1) {
        return Err(("n", "an agent gives one answer".to_owned()));
    }
    let messages = body.messages.into_iter().map(message);
    let messages = messages.collect::<Result<Vec<Message>, Bad>>()?;
    if messages.is_empty() {
        return Err(("messages", "there is no message".to_owned()));
    }
    let options = body.stream_options;
    Ok(Asked {
        messages,
        wants_usage: options.and_then(|options| options.include_usage) == Some(true),
    })
}

fn message(one: OneMessage) -> Result<Message, Bad> {
    let text = text(&one.content)?;
    let calls = one.tool_calls.unwrap_or_default().into_iter();
    match one.role.as_str() {
        "system" | "developer" => Ok(Message::System { text }),
        "user" => Ok(Message::User { text }),
        "assistant" => Ok(Message::Assistant {
            text,
            calls: calls
                .map(|call| ToolCall {
                    id: call.id,
                    name: call.function.name,
                    arguments: call.function.arguments,
                })
                .collect(),
        }),
        "tool" => Ok(Message::Tool {
            call: one.tool_call_id.unwrap_or_default(),
            text,
        }),
        other => Err(("messages", format!("there is no role `{other}`"))),
    }
}

/// Returns the text of a message, whose parts are joined.
fn text(content: &Value) -> Result<String, Bad> {
    match content {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().map(|part| {
                let text = part.get("text").and_then(Value::as_str);
                text.ok_or_else(|| ("messages", "an agent takes only text".to_owned()))
            });
            Ok(texts.collect::<Result<Vec<&str>, Bad>>()?.join("\n"))
        }
        _ => Err(("messages", "`content` must be a text or parts".to_owned())),
    }
}

/// Returns a whole answer.
pub(super) fn whole(model: &str, run: &str, text: &str, usage: Usage) -> Bytes {
    let answer = json!({
        "id": format!("chatcmpl-{run}"), "object": "chat.completion", "created": super::created(), "model": model,
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": text, "refusal": null}, "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": shown(usage),
    });
    Bytes::from(answer.to_string())
}

/// Returns the events of a streamed answer, which has one piece.
pub(super) fn events((model, run): (&str, &str), text: &str, usage: Option<Usage>) -> Bytes {
    let (id, created) = (format!("chatcmpl-{run}"), super::created());
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model, "choices": choices,
        });
        if !usage.is_null() {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = json!({"role": "assistant", "content": text});
    let piece = json!([{"index": 0, "delta": delta, "finish_reason": null}]);
    let end = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
    let mut events = chunk(piece, Value::Null);
    events += &chunk(end, Value::Null);
    if let Some(usage) = usage {
        events += &chunk(json!([]), shown(usage));
    }
    events += "data: [DONE]\n\n";
    Bytes::from(events)
}

fn shown(usage: Usage) -> Value {
    let (input, output) = (usage.input.unwrap_or(0), usage.output.unwrap_or(0));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &Value) -> Result<Asked, Bad> {
        read(body.to_string().as_bytes())
    }

    #[test]
    fn a_call_becomes_messages_and_what_an_agent_does_not_take_is_named() {
        let asked = of(&json!({"model": "a", "stream_options": {"include_usage": true}, "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "x"},
        ]}))
        .unwrap();
        assert!(asked.wants_usage);
        assert_eq!(asked.messages[1], Message::user("a\nb"));
        assert_eq!(asked.messages.len(), 4);
        let user = json!([{"role": "user", "content": "a"}]);
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
        for (body, param) in [
            (
                json!({"messages": user, "tools": [{"type": "function"}]}),
                "tools",
            ),
            (json!({"messages": user, "n": 2}), "n"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": image}), "messages"),
            (
                json!({"messages": [{"role": "cat", "content": "a"}]}),
                "messages",
            ),
            (json!({}), "messages"),
        ] {
            assert_eq!(of(&body).unwrap_err().0, param, "{body}");
        }
    }

    #[test]
    fn a_stream_has_one_piece_and_says_its_usage_if_it_was_asked() {
        let usage = Usage {
            input: Some(3),
            output: Some(4),
            ..Usage::default()
        };
        let events = events(("a", "run_1"), "Hello.", Some(usage));
        let text = String::from_utf8(events.to_vec()).unwrap();
        assert_eq!(text.matches("data: ").count(), 4);
        assert!(text.contains("\"content\":\"Hello.\"") && text.contains("\"total_tokens\":7"));
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
}
