//! Fields that this gateway puts into chat requests by itself and that some servers refuse.
//!
//! A translated request, or one with the history of a session, contains fields for which its caller did not ask:
//! `max_tokens`, which newer models of `OpenAI` have under another name, reasoning of earlier turns, which some servers
//! require and others refuse, and hints. The refusal names the field, so the request can be repeated without it.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::ErrorView;

/// Who wrote the body of a chat request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// The caller. The body is sent as it came.
    #[default]
    Caller,
    /// The caller, except for the messages of earlier turns.
    History,
    /// The gateway, by translation from another API.
    Translation,
}

/// Changes of a request that a server has required by its refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustments(u16);

/// A field that can be changed.
struct Field {
    name: &'static str,
    /// The least author whose request may be changed.
    author: Author,
    change: Change,
}

#[derive(Clone, Copy)]
enum Change {
    /// The top-level field gets another name.
    Rename(&'static str),
    /// The top-level field is left out.
    Omit,
    /// The top-level field is left out if it is `true`.
    OmitTrue,
    /// The field is left out of each assistant's message.
    OmitFromMessages,
    /// The field is left out of each tool call.
    OmitFromCalls,
}

const FIELDS: [Field; 13] = [
    Field::new(
        "max_tokens",
        Author::Translation,
        Change::Rename("max_completion_tokens"),
    ),
    Field::new(
        "reasoning_content",
        Author::History,
        Change::OmitFromMessages,
    ),
    Field::new("thinking_blocks", Author::History, Change::OmitFromMessages),
    Field::new("extra_content", Author::History, Change::OmitFromCalls),
    Field::new(
        "provider_specific_fields",
        Author::History,
        Change::OmitFromCalls,
    ),
    Field::new("thought_signature", Author::History, Change::OmitFromCalls),
    Field::new("reasoning_effort", Author::Translation, Change::Omit),
    Field::new("stream_options", Author::Translation, Change::Omit),
    Field::new("parallel_tool_calls", Author::Translation, Change::OmitTrue),
    Field::new("user", Author::Translation, Change::Omit),
    Field::new("service_tier", Author::Translation, Change::Omit),
    Field::new("safety_identifier", Author::Translation, Change::Omit),
    Field::new("prompt_cache_key", Author::Translation, Change::Omit),
];

/// The place of `thinking_blocks` in [`FIELDS`].
const THINKING_BLOCKS: u16 = 2;

/// Words by which servers refuse a field or its value as such, in lower case.
const REFUSALS: [&str; 12] = [
    "unsupported",
    "not supported",
    "not support",
    "unrecognized",
    "unknown",
    "extra inputs",
    "extra fields",
    "not permitted",
    "not allowed",
    "unexpected",
    "forbidden",
    "additional prop",
];
/// Words of a server that requires a field.
const DEMANDS: [&str; 2] = ["missing", "required"];

impl Field {
    const fn new(name: &'static str, author: Author, change: Change) -> Self {
        Self {
            name,
            author,
            change,
        }
    }

    /// Returns `true` if an error refuses this field.
    fn is_refused_by(&self, error: &ErrorView, words: &str) -> bool {
        let is_param = error.param.as_deref().is_some_and(|param| {
            let last = param.rsplit(['.', '/']).next();
            last == Some(self.name)
        });
        is_param || self.is_named_in(words)
    }

    /// Returns `true` if a sentence contains the name. A name that is a common word must be quoted.
    fn is_named_in(&self, words: &str) -> bool {
        let mut places = words.match_indices(self.name);
        places.any(|(start, name)| {
            let before = words[..start].chars().next_back();
            let after = words[start + name.len()..].chars().next();
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let is_quote = |letter: char| matches!(letter, '\'' | '"' | '`');
            !before.is_some_and(is_part)
                && !after.is_some_and(is_part)
                && (name.contains('_') || after.is_some_and(is_quote))
        })
    }

    /// Changes a request. Returns `true` if something in it has changed.
    fn adjust(&self, request: &mut Map<String, Value>) -> bool {
        match self.change {
            Change::Rename(newer) => match request.shift_remove(self.name) {
                None => false,
                Some(value) => {
                    request.entry(newer).or_insert(value);
                    true
                }
            },
            Change::Omit => request.shift_remove(self.name).is_some(),
            Change::OmitTrue => {
                let is_true = request.get(self.name) == Some(&Value::Bool(true));
                is_true && request.shift_remove(self.name).is_some()
            }
            Change::OmitFromMessages => {
                let mut is_changed = false;
                for message in messages(request) {
                    is_changed |= message.shift_remove(self.name).is_some();
                }
                is_changed
            }
            Change::OmitFromCalls => {
                let mut is_changed = false;
                for message in messages(request) {
                    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
                    let calls = calls.into_iter().flatten();
                    for call in calls.filter_map(Value::as_object_mut) {
                        is_changed |= call.shift_remove(self.name).is_some();
                    }
                }
                is_changed
            }
        }
    }
}

impl Adjustments {
    /// Returns the changes that a request needs for every server of the chat API: signed thinking, which only servers of
    /// the Messages API know, is left out.
    pub fn always(body: &[u8]) -> Self {
        match memchr::memmem::find(body, b"\"thinking_blocks\"") {
            Some(_) => Self(1 << THINKING_BLOCKS),
            None => Self::default(),
        }
    }

    /// Adds the field that a refusal names; `error` is its body. Returns `None` if it names no field that may be
    /// changed, or only one that has been changed already.
    #[must_use]
    pub fn with_refusal(self, error: &[u8], author: Author) -> Option<Self> {
        let error = ErrorView::read(error)?;
        let words = error.message.to_lowercase();
        let code = error.code.as_deref().unwrap_or_default();
        let says = |list: &[&str]| list.iter().any(|word| words.contains(word));
        let is_refusal = says(&REFUSALS) || code.contains("unsupported");
        if !is_refusal || says(&DEMANDS) {
            return None;
        }
        let mut fields = (0..).zip(&FIELDS);
        let (bit, _) = fields.find(|(bit, field)| {
            self.0 & (1 << bit) == 0
                && field.author <= author
                && field.is_refused_by(&error, &words)
        })?;
        Some(Self(self.0 | 1 << bit))
    }

    /// Adds the changes of another value.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns `true` if nothing is changed.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns a request with all changes that its author allows; `None` if nothing in it changes.
    pub fn apply(self, body: &[u8], author: Author) -> Option<Bytes> {
        if self.is_empty() || author == Author::Caller {
            return None;
        }
        let mut request: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let mut is_changed = false;
        for (bit, field) in (0..).zip(&FIELDS) {
            if self.0 & (1 << bit) != 0 && field.author <= author {
                is_changed |= field.adjust(&mut request);
            }
        }
        is_changed.then(|| Value::Object(request).to_string().into())
    }
}

/// Returns the assistant's messages of a request.
fn messages(request: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let messages = request.get_mut("messages").and_then(Value::as_array_mut);
    let messages = messages.into_iter().flatten();
    let messages = messages.filter_map(Value::as_object_mut);
    messages.filter(|message| message.get("role").is_some_and(|role| role == "assistant"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"reasoning_content":"hm","thinking_blocks":[],"tool_calls":[{"id":"i","extra_content":{}}]}],"max_tokens":9,"reasoning_effort":"low","stream_options":{},"parallel_tool_calls":true,"user":"u"}"#;

    fn adjusted(error: &str, author: Author) -> Option<Value> {
        let adjustments = Adjustments::default().with_refusal(error.as_bytes(), author)?;
        let body = adjustments.apply(REQUEST.as_bytes(), author)?;
        Some(serde_json::from_slice(&body).unwrap())
    }

    /// Returns the request without one field.
    fn without(path: &str) -> Value {
        let mut request: Value = serde_json::from_str(REQUEST).unwrap();
        let (holder, name) = path.rsplit_once('/').unwrap();
        let holder = request.pointer_mut(holder).unwrap();
        holder.as_object_mut().unwrap().shift_remove(name).unwrap();
        request
    }

    #[test]
    fn a_refusal_changes_the_field_that_it_names() {
        let mut renamed = without("/max_tokens");
        renamed["max_completion_tokens"] = json!(9);
        for (error, expected) in [
            // OpenAI and Azure.
            (
                r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","type":"invalid_request_error","param":"max_tokens","code":"unsupported_parameter"}}"#,
                renamed,
            ),
            (
                r#"{"error":{"message":"Unrecognized request argument supplied: reasoning_effort","type":"invalid_request_error","param":null,"code":null}}"#,
                without("/reasoning_effort"),
            ),
            (
                r#"{"error":{"message":"Unsupported value: 'reasoning_effort' does not support 'low' with this model.","param":"reasoning_effort","code":"unsupported_value"}}"#,
                without("/reasoning_effort"),
            ),
            // Groq.
            (
                r#"{"error":{"message":"'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property 'reasoning_content' is unsupported)]","type":"invalid_request_error"}}"#,
                without("/messages/1/reasoning_content"),
            ),
            // Mistral and FastAPI.
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","messages",1,"assistant","reasoning_content"],"msg":"Extra inputs are not permitted","input":"hm"}]}"#,
                without("/messages/1/reasoning_content"),
            ),
            (
                r#"{"detail":[{"type":"extra_forbidden","loc":["body","user"],"msg":"Extra inputs are not permitted","input":"u"}]}"#,
                without("/user"),
            ),
            (
                r#"{"object":"error","message":"[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs are not permitted'}]","type":"BadRequestError","code":400}"#,
                without("/stream_options"),
            ),
            // Gemini.
            (
                r#"[{"error":{"code":400,"message":"Invalid JSON payload received. Unknown name \"extra_content\" at 'messages[1].tool_calls[0]': Cannot find field.","status":"INVALID_ARGUMENT"}}]"#,
                without("/messages/1/tool_calls/0/extra_content"),
            ),
            (
                r#"{"error":{"message":"messages[1].thinking_blocks: unexpected field"}}"#,
                without("/messages/1/thinking_blocks"),
            ),
            (
                r#"{"error":"parallel_tool_calls is not supported"}"#,
                without("/parallel_tool_calls"),
            ),
        ] {
            assert_eq!(
                adjusted(error, Author::Translation),
                Some(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn other_refusals_and_the_fields_of_a_caller_change_nothing() {
        for error in [
            r#"{"error":{"message":"max_tokens is too large: 99999. This model supports at most 16384 completion tokens.","param":"max_tokens"}}"#,
            r#"{"error":{"message":"Missing `reasoning_content` field in the assistant message: unsupported"}}"#,
            r#"{"error":{"message":"Unsupported parameter: 'temperature'","param":"temperature"}}"#,
            r#"{"error":{"message":"Unsupported parameter: 'max_completion_tokens'"}}"#,
            r#"{"error":{"message":"the roles user and assistant must alternate; system is not supported"}}"#,
            r#"{"choices":[]}"#,
            "not JSON",
        ] {
            assert_eq!(adjusted(error, Author::Translation), None, "{error}");
        }
        let names = |field: &str| format!(r#"{{"error":"unsupported parameter '{field}'"}}"#);
        for field in &FIELDS {
            let error = names(field.name);
            assert_eq!(adjusted(&error, Author::Caller), None, "{error}");
            let of_history = Adjustments::default().with_refusal(error.as_bytes(), Author::History);
            assert_eq!(
                of_history.is_some(),
                field.author == Author::History,
                "{error}"
            );
        }
    }

    #[test]
    fn signed_thinking_is_for_no_server_of_chat() {
        let always = Adjustments::always(REQUEST.as_bytes());
        let body = always.apply(REQUEST.as_bytes(), Author::History).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body, without("/messages/1/thinking_blocks"));
        let quoted = br#"{"messages":[{"role":"user","content":"a \"thinking_blocks\" b"}]}"#;
        assert!(Adjustments::always(quoted).is_empty());
    }

    #[test]
    fn each_field_is_changed_once() {
        let error = br#"{"error":"unsupported: max_tokens, reasoning_effort"}"#;
        let author = Author::Translation;
        let one = Adjustments::default().with_refusal(error, author).unwrap();
        let two = one.with_refusal(error, author).unwrap();
        assert_eq!(two.with_refusal(error, author), None);
        // What was learned from translated calls is not applied to the caller's own.
        assert_eq!(two.apply(REQUEST.as_bytes(), Author::History), None);
        assert_eq!(two.apply(REQUEST.as_bytes(), Author::Caller), None);
    }
}
