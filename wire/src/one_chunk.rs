//! Converts a whole answer into the events of a stream: one chunk with everything, the end, `[DONE]`.
//!
//! Used if a server cannot stream. All tokens arrive at once; only the format is that of a stream.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{request::Endpoint, surrogates};

/// Converts a whole answer into the events of a stream. Returns `None` if it is not an answer of this endpoint.
pub fn of_answer(endpoint: Endpoint, request: &[u8], answer: &[u8]) -> Option<Bytes> {
    let mut answer: Map<String, Value> = surrogates::read(answer).ok()?;
    let usage = answer.remove("usage").unwrap_or(Value::Null);
    let choices = answer.get_mut("choices")?.as_array_mut()?;
    if endpoint == Endpoint::Chat {
        for choice in choices {
            let choice = choice.as_object_mut()?;
            let mut delta = choice.remove("message")?;
            let has_calls = number_tool_calls(&mut delta);
            // The answer is whole, also from a server that does not say why it stopped.
            let reason = choice.get("finish_reason").and_then(Value::as_str);
            if reason.is_none_or(str::is_empty) {
                let reason = if has_calls { "tool_calls" } else { "stop" };
                choice.insert("finish_reason".to_owned(), reason.into());
            }
            if let Some(delta) = delta.as_object_mut()
                && delta.get("role").is_none_or(Value::is_null)
            {
                delta.insert("role".to_owned(), "assistant".into());
            }
            choice.insert("delta".to_owned(), delta);
        }
        answer.insert("object".to_owned(), Value::from("chat.completion.chunk"));
    }
    let wants_usage = wants_usage(request);
    if wants_usage {
        answer.insert("usage".to_owned(), Value::Null);
    }
    let event = |chunk: &Map<String, Value>| format!("data: {}\n\n", json!(chunk));
    let mut events = event(&answer);
    if wants_usage {
        answer.insert("choices".to_owned(), json!([]));
        answer.insert("usage".to_owned(), usage);
        events += &event(&answer);
    }
    events += "data: [DONE]\n\n";
    Some(Bytes::from(events))
}

/// Returns `true` if the caller requested the usage of a stream.
fn wants_usage(request: &[u8]) -> bool {
    let request: Option<Value> = serde_json::from_slice(request).ok();
    request.is_some_and(|request| request["stream_options"]["include_usage"] == true)
}

/// Adds an `index` to each tool call, which chunks require and whole messages do not have. Returns `true` if there are
/// any.
fn number_tool_calls(delta: &mut Value) -> bool {
    let Some(calls) = delta.get_mut("tool_calls").and_then(Value::as_array_mut) else {
        return false;
    };
    for (index, call) in calls.iter_mut().enumerate() {
        if let Some(call) = call.as_object_mut() {
            call.insert("index".to_owned(), index.into());
        }
    }
    !calls.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_chat_becomes_chunks_with_delta_usage_and_done() {
        let answer = br#"{"id":"i","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi","tool_calls":[{"id":"t"}]},"finish_reason":"stop"}],"usage":{"completion_tokens":1},"own":7}"#;
        let request = br#"{"stream_options":{"include_usage":true}}"#;
        let events = of_answer(Endpoint::Chat, request, answer).unwrap();
        let text = std::str::from_utf8(&events).unwrap();
        let parts: Vec<&str> = text.split("\n\n").collect();
        assert_eq!((parts.len(), parts[2], parts[3]), (4, "data: [DONE]", ""));
        let chunk = |index: usize| serde_json::from_str::<Value>(&parts[index][6..]).unwrap();
        assert_eq!(chunk(0)["choices"][0]["delta"]["content"], "hi");
        assert_eq!(chunk(0)["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert_eq!(chunk(0)["object"], "chat.completion.chunk");
        assert_eq!(
            (&chunk(0)["usage"], &chunk(0)["own"]),
            (&Value::Null, &json!(7))
        );
        assert_eq!(chunk(1)["usage"]["completion_tokens"], 1);
        assert_eq!(chunk(1)["choices"], json!([]));
    }

    #[test]
    fn a_message_without_a_role_gets_that_of_the_assistant() {
        for role in ["", "\"role\":null,", "\"role\":\"assistant\","] {
            let answer = format!(r#"{{"choices":[{{"message":{{{role}"content":"hi"}}}}]}}"#);
            let events = of_answer(Endpoint::Chat, b"{}", answer.as_bytes()).unwrap();
            let text = std::str::from_utf8(&events).unwrap();
            assert!(text.contains(r#""role":"assistant""#), "{text}");
        }
    }

    #[test]
    fn a_whole_answer_without_a_reason_has_ended() {
        for (message, reason) in [
            (r#"{"content":"hi"}"#, "stop"),
            (r#"{"tool_calls":[{"id":"t"}]}"#, "tool_calls"),
        ] {
            for absent in ["", r#","finish_reason":null"#, r#","finish_reason":"""#] {
                let answer = format!(r#"{{"choices":[{{"message":{message}{absent}}}]}}"#);
                let events = of_answer(Endpoint::Chat, b"{}", answer.as_bytes()).unwrap();
                let text = std::str::from_utf8(&events).unwrap();
                assert!(
                    text.contains(&format!(r#""finish_reason":"{reason}""#)),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_an_answer_is_not_made_a_stream() {
        for answer in ["[]", "{}", "{\"choices\":[{}]}", "x"] {
            assert_eq!(
                of_answer(Endpoint::Chat, b"{}", answer.as_bytes()),
                None,
                "{answer}"
            );
        }
    }
}
