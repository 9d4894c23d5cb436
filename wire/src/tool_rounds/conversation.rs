//! The requests of the rounds of one call.

use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use crate::members::Members;

/// Members that the requests of the rounds set themselves.
const OWN: [&str; 5] = [
    "messages",
    "tools",
    "tool_choice",
    "stream",
    "stream_options",
];
/// Members that servers of chat refuse without tools.
const WITH_TOOLS: [&str; 1] = ["parallel_tool_calls"];

/// The conversation of a call, which grows with each round. What the caller has sent stays as it came.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// All members but [`OWN`], as JSON.
    others: Vec<(String, Box<RawValue>)>,
    messages: Vec<Box<RawValue>>,
    /// The caller's tools.
    tools: Vec<Value>,
    choice: Option<Value>,
    wants_usage: bool,
}

impl Conversation {
    /// Reads a chat request; `None` if it is not an object with messages.
    pub fn read(body: &[u8]) -> Option<Self> {
        let members: Members<'_> = serde_json::from_slice(body).ok()?;
        let value =
            |key: &str| -> Option<Value> { serde_json::from_str(members.get(key)?.get()).ok() };
        let messages = serde_json::from_str(members.get("messages")?.get()).ok()?;
        let tools = match value("tools") {
            Some(Value::Array(tools)) => tools,
            _ => Vec::new(),
        };
        let options = value("stream_options").unwrap_or_default();
        let choice = value("tool_choice").filter(|choice| !choice.is_null());
        let others = members.0.iter();
        let others = others.filter(|(key, _)| !OWN.contains(&key.as_ref()));
        Some(Self {
            others: others
                .map(|(key, value)| (key.to_string(), (*value).to_owned()))
                .collect(),
            messages,
            tools,
            choice,
            wants_usage: options["include_usage"] == true,
        })
    }

    /// Returns the names of the caller's own functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        let tools = self.tools.iter();
        tools.filter_map(|tool| tool["function"]["name"].as_str())
    }

    /// Returns `true` if the caller wants no tools to be called.
    pub fn refuses_tools(&self) -> bool {
        self.choice.as_ref().is_some_and(|choice| choice == "none")
    }

    /// Returns `true` if the end of a stream reports the usage.
    pub fn wants_usage(&self) -> bool {
        self.wants_usage
    }

    /// Returns the number of choices that the caller asks for, if it is not one.
    pub fn choices(&self) -> Option<u64> {
        let (_, choices) = self.others.iter().find(|(key, _)| key == "n")?;
        let choices: Option<u64> = serde_json::from_str(choices.get()).ok()?;
        choices.filter(|choices| *choices != 1)
    }

    /// Adds a message.
    pub fn push(&mut self, message: &Value) {
        if let Ok(message) = serde_json::value::to_raw_value(message) {
            self.messages.push(message);
        }
    }

    /// Lets the model decide from now on whether it calls tools: a choice that requires a call holds for the first answer alone.
    pub fn release_choice(&mut self) {
        let forces = |choice: &Value| choice == "required" || choice["type"] == "function";
        if self.choice.as_ref().is_some_and(forces) {
            self.choice = None;
        }
    }

    /// Returns the request of a round, with further tools. `is_last` asks for an answer without calls.
    pub fn request(&self, more: &[Value], is_streamed: bool, is_last: bool) -> Bytes {
        let mut body = String::from("{");
        let mut put = |key: &str, value: &str| {
            if body.len() > 1 {
                body.push(',');
            }
            let key = Value::from(key).to_string();
            body.extend([key.as_str(), ":", value]);
        };
        let has_tools = !self.tools.is_empty() || !more.is_empty();
        for (key, value) in &self.others {
            if has_tools || !WITH_TOOLS.contains(&key.as_str()) {
                put(key, value.get());
            }
        }
        let messages: Vec<&str> = self.messages.iter().map(|one| one.get()).collect();
        put("messages", &format!("[{}]", messages.join(",")));
        if has_tools {
            let tools: Vec<Value> = self.tools.iter().chain(more).cloned().collect();
            put("tools", &Value::from(tools).to_string());
            let none = Value::from("none");
            let choice = if is_last {
                Some(&none)
            } else {
                self.choice.as_ref()
            };
            if let Some(choice) = choice {
                put("tool_choice", &choice.to_string());
            }
        }
        if is_streamed {
            put("stream", "true");
            put("stream_options", r#"{"include_usage":true}"#);
        }
        body.push('}');
        body.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mcp::chat_tool;

    #[test]
    fn what_the_caller_sent_stays_and_what_the_rounds_need_is_set() {
        let body = r#"{"model":"m","x":1e2,"messages":[{"role":"user","content":"\u0061"}],"stream":true,"stream_options":{"include_usage":true},"tools":[{"type":"function","function":{"name":"own"}}],"tool_choice":"required"}"#;
        let mut conversation = Conversation::read(body.as_bytes()).unwrap();
        assert_eq!(conversation.functions().collect::<Vec<_>>(), ["own"]);
        assert!(conversation.wants_usage() && !conversation.refuses_tools());
        conversation.push(&json!({"role": "tool", "tool_call_id": "1", "content": "r"}));
        let more = [chat_tool("s__read", "", &json!({"type": "object"}))];
        let request = conversation.request(&more, true, false);
        let expected = r#"{"model":"m","x":1e2,"messages":[{"role":"user","content":"\u0061"},{"role":"tool","tool_call_id":"1","content":"r"}],"tools":[{"type":"function","function":{"name":"own"}},{"type":"function","function":{"name":"s__read","parameters":{"type":"object"}}}],"tool_choice":"required","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(request, expected);
        conversation.release_choice();
        let request: Value =
            serde_json::from_slice(&conversation.request(&more, false, false)).unwrap();
        assert!(request.get("tool_choice").is_none() && request.get("stream").is_none());
        let last: Value =
            serde_json::from_slice(&conversation.request(&more, false, true)).unwrap();
        assert_eq!(last["tool_choice"], "none");
    }

    #[test]
    fn without_tools_no_field_of_tools_is_sent() {
        let body =
            r#"{"model":"m","messages":[],"parallel_tool_calls":true,"tool_choice":"auto","n":2}"#;
        let conversation = Conversation::read(body.as_bytes()).unwrap();
        assert_eq!(conversation.choices(), Some(2));
        let request = conversation.request(&[], false, true);
        assert_eq!(request, r#"{"model":"m","n":2,"messages":[]}"#);
        assert!(Conversation::read(b"[]").is_none());
        assert!(Conversation::read(br#"{"model":"m"}"#).is_none());
    }
}
