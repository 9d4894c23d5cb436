//! What the answer of a function means.
//!
//! The bytes decide, not their label: JSON is read as JSON whatever the content type says, and a text only counts if it is labelled as plain
//! text. An answer that is a `CloudEvents` event is opened, in both modes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Variables that an answer sets, each with its value; `None` removes one.
pub type Variables = BTreeMap<String, Option<String>>;

/// The most variables of an answer and of a session, and the longest name and value of one in characters, as for the metadata of sessions.
pub const VARIABLES_MAX: (usize, usize, usize) = (16, 64, 512);

/// The role of the message of an answer.
const ASSISTANT: &str = "assistant";

/// The member of an answer that sets variables.
const VARIABLES: &str = "variables";

/// The reason why an answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableAnswer {
    /// It is neither JSON nor labelled as plain text.
    #[error("the function's answer is not JSON")]
    NotJson,
    /// It is a `CloudEvents` event whose data is not JSON.
    #[error("the function's answer is an event without JSON as its data")]
    Binary,
    /// It is JSON of another form than that of the answer of a chat.
    #[error("the function's answer has none of `content`, `message` and `choices`")]
    NotChat,
    /// A member has the wrong form.
    #[error("the function's answer has a wrong member: `{member}` must be {wanted}")]
    Member {
        /// The member.
        member: String,
        /// What it must be.
        wanted: &'static str,
    },
}

/// The answer of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The data.
    pub data: Value,
    /// `true` if the data is not the whole body as it came.
    pub is_unwrapped: bool,
}

/// The answer of a function to a chat.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatAnswer {
    form: Form,
    variables: Variables,
    misfit: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// A whole answer in `OpenAI`'s dialect.
    Whole(Map<String, Value>),
    /// A message of the assistant.
    Message {
        message: Map<String, Value>,
        /// Why it ends there; `stop` unless the function says otherwise.
        finish_reason: String,
        /// The tokens, if the function counts them.
        usage: Option<Value>,
    },
}

/// The status of a refusal that the function itself has made, and not a server in front of it: its caller's fault, in the function's own words.
///
/// 401, 403 and 407 concern what the gateway shows the function, 408, 425 and 429 the moment. A 404 or 405 without JSON comes from a server that
/// has no function at the path.
pub fn is_own_refusal(status: u16, body: &[u8]) -> bool {
    match status {
        401 | 403 | 407 | 408 | 425 | 429 => false,
        404 | 405 => serde_json::from_slice::<Map<String, Value>>(body).is_ok(),
        400..=499 => true,
        _ => false,
    }
}

impl Answer {
    /// Reads an answer. An empty body is `null`.
    ///
    /// # Errors
    /// Returns an error if it is not JSON.
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, UnusableAnswer> {
        if body.trim_ascii().is_empty() {
            return Ok(Self {
                data: Value::Null,
                is_unwrapped: true,
            });
        }
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return Self::text(content_type, body);
        };
        match value {
            Value::Object(event) if is_event(&event) => Self::of_event(event),
            data => Ok(Self {
                data,
                is_unwrapped: false,
            }),
        }
    }

    fn text(content_type: Option<&str>, body: &[u8]) -> Result<Self, UnusableAnswer> {
        let is_text = content_type.is_some_and(|name| {
            let name = name.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("text/plain")
        });
        let text = str::from_utf8(body).ok().filter(|_| is_text);
        let text = text.ok_or(UnusableAnswer::NotJson)?;
        Ok(Self {
            data: Value::from(text),
            is_unwrapped: true,
        })
    }

    fn of_event(mut event: Map<String, Value>) -> Result<Self, UnusableAnswer> {
        if event.contains_key("data_base64") {
            return Err(UnusableAnswer::Binary);
        }
        let data = event.remove("data").unwrap_or_default();
        Ok(Self {
            data,
            is_unwrapped: true,
        })
    }

    /// Returns the answer to a chat: a text, an object with `content` or `message`, or a whole answer in `OpenAI`'s dialect.
    ///
    /// # Errors
    /// Returns an error if it is none of them, or a member has the wrong form.
    pub fn into_chat(self) -> Result<ChatAnswer, UnusableAnswer> {
        let mut answer = match self.data {
            Value::Object(answer) => answer,
            Value::String(text) => return Ok(ChatAnswer::of_text(&text)),
            Value::Number(number) => return Ok(ChatAnswer::of_text(&number.to_string())),
            Value::Bool(value) => return Ok(ChatAnswer::of_text(&value.to_string())),
            Value::Null | Value::Array(_) => return Err(UnusableAnswer::NotChat),
        };
        let (variables, misfit) = match variables(answer.remove(VARIABLES))? {
            Ok(variables) => (variables, None),
            Err(misfit) => (Variables::new(), Some(misfit)),
        };
        let of = |form| ChatAnswer {
            form,
            variables,
            misfit,
        };
        check_usage(answer.get("usage"))?;
        if let Some(Value::Array(choices)) = answer.get_mut("choices") {
            complete(choices);
            return Ok(of(Form::Whole(answer)));
        }
        let message = match (answer.remove("message"), answer.remove("content")) {
            (Some(Value::Object(mut message)), _) => {
                let role = message.entry("role").or_insert_with(|| ASSISTANT.into());
                if role != ASSISTANT {
                    return Err(wrong("message.role", "`assistant`"));
                }
                message.entry("content").or_insert(Value::Null);
                message
            }
            (Some(Value::String(text)), _) | (None, Some(Value::String(text))) => message(&text),
            (Some(_), _) => return Err(wrong("message", "a text or a message of the assistant")),
            (None, Some(_)) => return Err(wrong("content", "a text")),
            (None, None) => return Err(UnusableAnswer::NotChat),
        };
        let has_calls = message
            .get("tool_calls")
            .and_then(Value::as_array)
            .is_some_and(|calls| !calls.is_empty());
        let finish_reason = match answer.remove("finish_reason") {
            None | Some(Value::Null) if has_calls => "tool_calls".to_owned(),
            None | Some(Value::Null) => "stop".to_owned(),
            Some(Value::String(reason)) => reason,
            Some(_) => return Err(wrong("finish_reason", "a text")),
        };
        let usage = answer.remove("usage").filter(|usage| !usage.is_null());
        Ok(of(Form::Message {
            message,
            finish_reason,
            usage,
        }))
    }
}

impl ChatAnswer {
    fn of_text(text: &str) -> Self {
        Self {
            form: Form::Message {
                message: message(text),
                finish_reason: "stop".to_owned(),
                usage: None,
            },
            variables: Variables::new(),
            misfit: None,
        }
    }

    /// Returns the variables that the answer sets; none if one of them does not fit.
    pub fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Returns the reason why the answer's variables are not set, if one of them does not fit.
    pub fn misfit(&self) -> Option<&str> {
        self.misfit.as_deref()
    }

    /// Returns the answer in `OpenAI`'s dialect, as the answer to a call with this id, time (seconds of Unix time) and model.
    pub fn into_completion(self, id: &str, created: u64, model: &str) -> Value {
        match self.form {
            Form::Whole(mut answer) => {
                let known = [
                    ("id", json!(format!("chatcmpl-{id}"))),
                    ("object", json!("chat.completion")),
                    ("created", json!(created)),
                    ("model", json!(model)),
                ];
                for (name, value) in known {
                    answer.entry(name).or_insert(value);
                }
                Value::Object(answer)
            }
            Form::Message {
                message,
                finish_reason,
                usage,
            } => {
                let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish_reason});
                let mut answer = json!({"id": format!("chatcmpl-{id}"), "object": "chat.completion", "created": created,
                    "model": model, "choices": [choice]});
                if let Some(usage) = usage {
                    answer["usage"] = usage;
                }
                answer
            }
        }
    }
}

/// Checks the counts of tokens, which clients add up.
fn check_usage(usage: Option<&Value>) -> Result<(), UnusableAnswer> {
    let usage = match usage {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(usage)) => usage,
        Some(_) => return Err(wrong("usage", "an object")),
    };
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        let count = usage.get(name).filter(|count| !count.is_null());
        if count.is_some_and(|count| !count.is_u64()) {
            return Err(wrong(&format!("usage.{name}"), "a whole number, 0 or more"));
        }
    }
    Ok(())
}

/// Adds to choices what clients expect in each.
fn complete(choices: &mut [Value]) {
    for (index, choice) in choices.iter_mut().enumerate() {
        let Value::Object(choice) = choice else {
            continue;
        };
        choice.entry("index").or_insert_with(|| index.into());
        choice
            .entry("finish_reason")
            .or_insert_with(|| "stop".into());
        if let Some(Value::Object(message)) = choice.get_mut("message") {
            message.entry("role").or_insert_with(|| ASSISTANT.into());
        }
    }
}

/// Returns a message of the assistant.
fn message(text: &str) -> Map<String, Value> {
    let mut message = Map::new();
    message.insert("role".to_owned(), ASSISTANT.into());
    message.insert("content".to_owned(), text.into());
    message
}

/// Returns `true` if an object is a `CloudEvents` event: it has all attributes that one must have.
fn is_event(object: &Map<String, Value>) -> bool {
    let is_text = |name: &str| object.get(name).is_some_and(Value::is_string);
    ["specversion", "id", "source", "type"]
        .into_iter()
        .all(is_text)
}

fn wrong(member: &str, wanted: &'static str) -> UnusableAnswer {
    UnusableAnswer::Member {
        member: member.to_owned(),
        wanted,
    }
}

/// Reads the variables of an answer, or says which of them does not fit. Numbers and booleans become their texts.
fn variables(given: Option<Value>) -> Result<Result<Variables, String>, UnusableAnswer> {
    let given = match given {
        None | Some(Value::Null) => return Ok(Ok(Variables::new())),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(wrong(VARIABLES, "an object of texts")),
    };
    let (entries_max, name_max, value_max) = VARIABLES_MAX;
    if given.len() > entries_max {
        return Ok(Err(format!("there are more than {entries_max}")));
    }
    let mut read = Variables::new();
    for (name, value) in given {
        let member = format!("{VARIABLES}.{name}");
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Array(_) | Value::Object(_) => return Err(wrong(&member, "a text")),
        };
        let length = value.as_ref().map_or(0, |value| value.chars().count());
        if name.is_empty() || name.chars().count() > name_max || length > value_max {
            let name: String = name.chars().take(name_max).collect();
            return Ok(Err(format!(
                "`{name}` is not a text of at most {value_max} characters with a name of 1 to {name_max}"
            )));
        }
        read.insert(name, value);
    }
    Ok(Ok(read))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(content_type: Option<&str>, body: &str) -> Result<Value, UnusableAnswer> {
        Answer::read(content_type, body.as_bytes()).map(|answer| answer.data)
    }

    fn chat(body: &str) -> Result<Value, UnusableAnswer> {
        let answer = Answer::read(None, body.as_bytes())?.into_chat()?;
        Ok(answer.into_completion("r", 5, "m"))
    }

    #[test]
    fn the_bytes_decide_and_not_the_label() {
        for label in [
            None,
            Some("application/json"),
            Some("text/html"),
            Some("image/png"),
        ] {
            assert_eq!(
                read(label, " {\"a\": 1} "),
                Ok(json!({"a": 1})),
                "{label:?}"
            );
            assert_eq!(
                read(label, "<html>"),
                Err(UnusableAnswer::NotJson),
                "{label:?}"
            );
            assert_eq!(
                read(label, "{\"a\": 1"),
                Err(UnusableAnswer::NotJson),
                "{label:?}"
            );
        }
        assert_eq!(
            read(Some("Text/Plain; charset=utf-8"), "hello"),
            Ok(json!("hello"))
        );
        assert_eq!(read(Some("text/plain"), "7"), Ok(json!(7)));
        assert_eq!(read(Some("application/json"), " \n"), Ok(Value::Null));
        assert_eq!(
            Answer::read(Some("text/plain"), b"\xff").unwrap_err(),
            UnusableAnswer::NotJson
        );
    }

    #[test]
    fn an_event_is_opened() {
        let event =
            r#"{"specversion":"1.0","id":"1","source":"/f","type":"t","data":{"content":"hi"}}"#;
        let answer = Answer::read(None, event.as_bytes()).unwrap();
        assert!(answer.is_unwrapped);
        assert_eq!(answer.data, json!({"content": "hi"}));
        assert_eq!(
            read(
                None,
                r#"{"specversion":"1.0","id":"1","source":"/f","type":"t"}"#
            ),
            Ok(Value::Null)
        );
        let binary =
            r#"{"specversion":"1.0","id":"1","source":"/f","type":"t","data_base64":"aGk="}"#;
        assert_eq!(read(None, binary), Err(UnusableAnswer::Binary));
        // An object with some of the names is data.
        let data = r#"{"specversion":"1.0","data":1}"#;
        assert_eq!(
            read(None, data),
            Ok(json!({"specversion": "1.0", "data": 1}))
        );
    }

    #[test]
    fn each_form_of_an_answer_becomes_a_chat() {
        for (body, content) in [
            (r#""hi""#, "hi"),
            ("42", "42"),
            ("true", "true"),
            (r#"{"content":"hi"}"#, "hi"),
            (r#"{"message":"hi"}"#, "hi"),
            (r#"{"message":{"content":"hi"}}"#, "hi"),
            (
                r#"{"choices":[{"message":{"role":"assistant","content":"hi"}}]}"#,
                "hi",
            ),
        ] {
            let answer = chat(body).unwrap();
            assert_eq!(
                answer["choices"][0]["message"]["content"], content,
                "{body}"
            );
            assert_eq!(
                (&answer["id"], &answer["model"]),
                (&json!("chatcmpl-r"), &json!("m")),
                "{body}"
            );
        }
        let calls =
            chat(r#"{"message":{"tool_calls":[{"id":"1"}]},"usage":{"completion_tokens":3}}"#)
                .unwrap();
        assert_eq!(calls["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(calls["usage"], json!({"completion_tokens": 3}));
        for (body, expected) in [
            (
                "null",
                "the function's answer has none of `content`, `message` and `choices`",
            ),
            (
                "{}",
                "the function's answer has none of `content`, `message` and `choices`",
            ),
            (
                r#"{"content":1}"#,
                "the function's answer has a wrong member: `content` must be a text",
            ),
            (
                r#"{"content":"a","usage":1}"#,
                "the function's answer has a wrong member: `usage` must be an object",
            ),
            (
                r#"{"content":"a","usage":{"prompt_tokens":-3}}"#,
                "the function's answer has a wrong member: `usage.prompt_tokens` must be a whole number, 0 or more",
            ),
            (
                r#"{"choices":[],"usage":{"total_tokens":1.5}}"#,
                "the function's answer has a wrong member: `usage.total_tokens` must be a whole number, 0 or more",
            ),
            (
                r#"{"content":"a","variables":[]}"#,
                "the function's answer has a wrong member: `variables` must be an object of texts",
            ),
            (
                r#"{"content":"a","variables":{"x":{}}}"#,
                "the function's answer has a wrong member: `variables.x` must be a text",
            ),
        ] {
            assert_eq!(chat(body).unwrap_err().to_string(), expected, "{body}");
        }
    }

    #[test]
    fn variables_are_texts_and_null_removes_one() {
        let body = r#"{"choices":[],"variables":{"a":"x","b":2,"c":true,"d":null}}"#;
        let answer = Answer::read(None, body.as_bytes())
            .unwrap()
            .into_chat()
            .unwrap();
        let expected = [
            ("a", Some("x")),
            ("b", Some("2")),
            ("c", Some("true")),
            ("d", None),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(answer.variables(), &Variables::from(expected));
        assert!(
            answer
                .into_completion("r", 0, "m")
                .get("variables")
                .is_none()
        );
        let long = format!(
            r#"{{"content":"a","variables":{{"x":"{}"}}}}"#,
            "y".repeat(513)
        );
        let many: Map<String, Value> = (0..17).map(|at| (format!("v{at}"), json!("x"))).collect();
        let many = json!({"content": "a", "variables": many}).to_string();
        for (body, reason) in [(long, "`x` is not a text"), (many, "more than 16")] {
            let answer = Answer::read(None, body.as_bytes()).unwrap();
            let answer = answer.into_chat().unwrap();
            assert!(answer.misfit().unwrap().contains(reason), "{body}");
            assert!(answer.variables().is_empty());
            let answer = answer.into_completion("r", 0, "m");
            assert_eq!(answer["choices"][0]["message"]["content"], "a");
        }
    }

    #[test]
    fn a_message_is_one_of_the_assistant_and_a_choice_is_complete() {
        for role in ["system", "user", "tool"] {
            let body = json!({"message": {"role": role, "content": "hi"}}).to_string();
            let error = chat(&body).unwrap_err().to_string();
            assert!(
                error.contains("`message.role` must be `assistant`"),
                "{error}"
            );
        }
        let body = r#"{"choices":[{"message":{"content":"a"}},{"message":{"content":"b"}}]}"#;
        let answer = chat(body).unwrap();
        let expected = json!({"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "b"}});
        assert_eq!(answer["choices"][1], expected);
    }

    #[test]
    fn a_refusal_of_the_function_is_told_from_one_of_a_server_before_it() {
        for (status, body, expected) in [
            (400, "no", true),
            (402, "{}", true),
            (404, r#"{"message":"no such order"}"#, true),
            (404, r#"{"detail":"no such order"}"#, true),
            (404, "<html>", false),
            (404, "", false),
            (405, "{}", true),
            (422, "", true),
            (401, "{}", false),
            (403, "{}", false),
            (408, "{}", false),
            (429, "{}", false),
            (500, "{}", false),
            (302, "{}", false),
        ] {
            let found = is_own_refusal(status, body.as_bytes());
            assert_eq!(found, expected, "{status} {body}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_read_as_something_else_than_they_are(body in prop::collection::vec(any::<u8>(), 0..64)) {
            match serde_json::from_slice::<Value>(&body) {
                Ok(value) => prop_assert_eq!(Answer::read(None, &body).unwrap().data, value),
                Err(_) if body.trim_ascii().is_empty() => prop_assert_eq!(Answer::read(None, &body).unwrap().data, Value::Null),
                Err(_) => prop_assert_eq!(Answer::read(None, &body), Err(UnusableAnswer::NotJson)),
            }
        }
    }
}
