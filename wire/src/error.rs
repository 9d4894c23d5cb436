//! Reads the errors of model servers in all known shapes.
//!
//! An error may arrive with any status, including 200, and in the middle of a stream. The shapes are: OpenAI's
//! `{"error": {"message", "type", "param", "code"}}`, the same in a list (Gemini), a string under `error` (TGI,
//! Ollama), `{"object": "error", "message", …}` (vLLM, FastChat, Mistral), `{"detail": …}` (FastAPI), Anthropic's
//! `{"type": "error", "error": {…}}`, `{"message", "code"}` (gateways), and an error within a choice (OpenRouter). If the
//! status says that the answer is an error, `{"message": …}` (`SageMaker`, Cohere) and plain text (axum) are errors too.

mod words;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{json, sse::events, surrogates};

use words::{message_of, plain_text};

/// The contents of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorView {
    /// The sentence for a person; empty if there is none.
    pub message: String,
    /// The error's type, for example `invalid_request_error`.
    pub kind: Option<String>,
    /// The machine-readable reason.
    pub code: Option<String>,
    /// The field of the request that is wrong.
    pub param: Option<String>,
    /// The status in the error, from 400 to 599.
    pub status: Option<u16>,
}

/// Returns `true` if a JSON value is an error and not an answer of a model.
pub fn is_error(value: &Value) -> bool {
    match value {
        Value::Array(items) => items
            .first()
            .is_some_and(|first| first.is_object() && is_error(first)),
        Value::Object(fields) => {
            let set = |key: &str| fields.get(key).is_some_and(is_set);
            if set("error") {
                return true;
            }
            let says = |key: &str| fields.get(key).and_then(Value::as_str) == Some("error");
            if says("object") || says("type") || says("status") {
                return true;
            }
            if error_of_choice(value).is_some() {
                return true;
            }
            let answers = ["choices", "data", "usage", "generated_text"];
            let is_answer = |key: &&str| fields.get(*key).is_some_and(|value| !value.is_null());
            if answers.iter().any(is_answer) {
                return false;
            }
            if status_of_base(value).is_some() {
                return true;
            }
            let reasoned = [
                "code",
                "status",
                "status_code",
                "error_code",
                "errorType",
                "__type",
            ];
            set("detail")
                || set("errors")
                || (set("msg") && status(value).is_some())
                || (set("message") && reasoned.iter().any(|key| set(key)))
        }
        _ => false,
    }
}

/// Reads the JSON of an error's body, which may begin with a byte order mark, contain bytes that are not UTF-8, or be the data
/// of an event (`DashScope`).
pub(crate) fn value_of(body: &[u8]) -> Option<Value> {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let text = String::from_utf8_lossy(text);
    let value = surrogates::read(text.as_bytes()).ok();
    value.or_else(|| {
        let event = events(text.as_bytes()).find_map(|event| event.data)?;
        surrogates::read(&event).ok()
    })
}

/// Returns the object or the text of an error: the value of `error`, that of a choice, or the whole value.
pub(crate) fn error_in(value: &Value) -> &Value {
    let own = value.get("error").filter(|error| is_set(error));
    own.or_else(|| error_of_choice(value)).unwrap_or(value)
}

/// Returns the first error of a choice: OpenRouter's `{"choices": [{"error": {…}, "finish_reason": "error"}]}`.
fn error_of_choice(value: &Value) -> Option<&Value> {
    let choices = value.get("choices")?.as_array()?;
    let mut errors = choices.iter().filter_map(|choice| choice.get("error"));
    errors.find(|error| is_set(error))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

impl ErrorView {
    /// Reads an error. Returns `None` if the value is not an error.
    pub fn of(value: &Value) -> Option<Self> {
        is_error(value).then(|| Self::in_value(value))
    }

    /// Reads an error from the bytes of a body or of an event.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::of(&surrogates::read(bytes).ok()?)
    }

    /// Reads the body of an answer whose status says that it is an error. Returns `None` if it has no words for a person:
    /// it is empty, a page of HTML, or not text.
    pub fn of_refusal(body: &[u8]) -> Option<Self> {
        let view = match value_of(body) {
            Some(value) => Self::in_value(&value),
            None => Self {
                message: plain_text(body)?,
                ..Self::default()
            },
        };
        Some(view).filter(|view| !view.message.is_empty())
    }

    fn in_value(value: &Value) -> Self {
        let outer = value.get(0).unwrap_or(value);
        let error = error_in(outer);
        let inner = if error.is_object() { error } else { outer };
        let text = |key: &str| {
            let found = [inner, outer]
                .iter()
                .find_map(|holder| holder.get(key)?.as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        Self {
            message: message_of(error, inner, outer),
            kind: text("type").filter(|kind| kind != "error"),
            code: text("code").or_else(|| text("error_code")),
            param: text("param"),
            status: status(inner)
                .or_else(|| status(outer))
                .or_else(|| status_of_base(outer)),
        }
    }
}

/// Returns an error with an object under `error` as `OpenAI` writes it: `message`, `type`, `param` and `code` are present, and
/// `code` is a string or null. Other members of the object are kept. Returns `None` if the body is not such an error, and
/// the same bytes if it has this form already.
pub fn in_openai_shape(body: &Bytes) -> Option<Bytes> {
    let value = value_of(body)?;
    let error = value.get("error")?.as_object()?;
    let message = error.get("message")?.as_str()?;
    let is_text = |key: &str| error.get(key).is_some_and(Value::is_string);
    let is_text_or_null = |key: &str| is_text(key) || error.get(key).is_some_and(Value::is_null);
    let has_all = is_text("type") && is_text_or_null("param") && is_text_or_null("code");
    let is_plain_json = std::str::from_utf8(body).is_ok() && json::is_valid(body);
    if has_all && is_plain_json && value.get("type").is_none() {
        return Some(body.clone());
    }
    let text = |key: &str| match error.get(key) {
        Some(Value::String(text)) => Value::from(text.as_str()),
        Some(Value::Number(number)) => Value::from(number.to_string()),
        _ => Value::Null,
    };
    let mut shaped = Map::new();
    shaped.insert("message".to_owned(), message.into());
    let kind = Some(text("type")).filter(Value::is_string);
    let kind = kind.unwrap_or_else(|| "invalid_request_error".into());
    shaped.insert("type".to_owned(), kind);
    shaped.insert("param".to_owned(), text("param"));
    shaped.insert("code".to_owned(), text("code"));
    for (key, value) in error {
        shaped.entry(key).or_insert_with(|| value.clone());
    }
    let shaped = Map::from_iter([("error".to_owned(), Value::Object(shaped))]);
    Some(Value::Object(shaped).to_string().into())
}

/// Returns the status of an error in `MiniMax`'s form: `{"base_resp": {"status_code": 1002, "status_msg": …}}`, in which 0
/// is a success.
fn status_of_base(value: &Value) -> Option<u16> {
    let code = value.pointer("/base_resp/status_code")?.as_u64()?;
    match code {
        0 => None,
        1002 | 1041 => Some(429),
        1004 | 2049 => Some(401),
        1008 => Some(402),
        1026 | 1027 | 1039 | 1042 | 2013 => Some(400),
        _ => Some(500),
    }
}

/// Returns the status of an error, given as a number or as digits.
fn status(holder: &Value) -> Option<u16> {
    let keys = ["code", "status", "status_code", "http_status"];
    keys.iter().find_map(|key| {
        let value = holder.get(*key)?;
        let number = value
            .as_u64()
            .or_else(|| value.as_str()?.trim().parse().ok())?;
        u16::try_from(number)
            .ok()
            .filter(|status| (400..600).contains(status))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_error_is_read() {
        let cases = [
            (
                r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#,
                "m",
                Some("t"),
                Some("c"),
                None,
            ),
            (
                r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#,
                "m",
                None,
                None,
                Some(429),
            ),
            (
                r#"{"error":"m","error_type":"overloaded"}"#,
                "m",
                None,
                None,
                None,
            ),
            (
                r#"{"object":"error","message":"m","type":"BadRequestError","param":null,"code":400}"#,
                "m",
                Some("BadRequestError"),
                None,
                Some(400),
            ),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                "m",
                Some("overloaded_error"),
                None,
                None,
            ),
            (r#"{"detail":"m"}"#, "m", None, None, None),
            (
                r#"{"detail":[{"loc":["body","messages"],"msg":"field required"}]}"#,
                "`body.messages`: field required",
                None,
                None,
                None,
            ),
            (
                r#"{"message":"m","code":"503"}"#,
                "m",
                None,
                Some("503"),
                Some(503),
            ),
        ];
        for (body, message, kind, code, status) in cases {
            let view = ErrorView::read(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            let read = (
                view.message.as_str(),
                view.kind.as_deref(),
                view.code.as_deref(),
                view.status,
            );
            assert_eq!(read, (message, kind, code, status), "{body}");
        }
    }

    #[test]
    fn an_error_in_the_form_of_a_status_is_read() {
        for (body, status) in [
            (
                r#"{"choices":null,"base_resp":{"status_code":1002,"status_msg":"m"}}"#,
                429,
            ),
            (r#"{"code":401,"msg":"m","success":false}"#, 401),
        ] {
            let view = ErrorView::read(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            assert_eq!((view.message.as_str(), view.status), ("m", Some(status)));
        }
    }

    #[test]
    fn an_error_by_its_status_has_the_words_of_its_body() {
        for (body, message) in [
            (r#"{"message":"m","request_id":"x"}"#, "m"),
            (r#"{"Message":"m"}"#, "m"),
            (r#"{"error":["a","b"]}"#, "a; b"),
            (r#"{"errors":[{"message":"m"}]}"#, "m"),
            (r#"{"type":"about:blank","title":"Bad","detail":"m"}"#, "m"),
            (r#"{"error":"Bad Request","message":["a","b"]}"#, "a; b"),
            (
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"Extra"}]}}"#,
                "`body.x`: Extra",
            ),
            (
                r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"too long\"}}"}}}"#,
                "Provider returned error: too long",
            ),
            (
                r#"{"OriginalMessage":"{\"error\":\"m\"}","OriginalStatusCode":400,"Message":"Received client error"}"#,
                "Received client error: m",
            ),
            (r#""too long""#, "too long"),
            ("\u{feff}{\"message\":\"m\"}", "m"),
            (
                "event:error\ndata:{\"code\":\"InvalidParameter\",\"message\":\"m\"}\n\n",
                "m",
            ),
            (
                "Failed to deserialize\n  the JSON body",
                "Failed to deserialize the JSON body",
            ),
        ] {
            let view = ErrorView::of_refusal(body.as_bytes()).unwrap_or_else(|| panic!("{body}"));
            assert_eq!(view.message, message, "{body}");
        }
        let latin = ErrorView::of_refusal(b"{\"message\":\"no \xE9\"}").unwrap();
        assert_eq!(latin.message, "no \u{fffd}");
        let binary: &[u8] = b"\x00\x01";
        for body in [
            &b""[..],
            b" ",
            b"<html>x</html>",
            b"{}",
            b"{\"a\":",
            binary,
            b"\xFF",
        ] {
            assert_eq!(ErrorView::of_refusal(body), None, "{body:?}");
        }
    }

    #[test]
    fn an_error_within_a_choice_is_one() {
        let body = r#"{"choices":[{"message":{"content":""},"finish_reason":"error","error":{"code":429,"message":"slow"}}],"usage":{}}"#;
        let view = ErrorView::read(body.as_bytes()).unwrap();
        assert_eq!((view.message.as_str(), view.status), ("slow", Some(429)));
    }

    #[test]
    fn an_error_object_gets_the_four_members_that_clients_read() {
        let shaped = |body: &str| in_openai_shape(&Bytes::copy_from_slice(body.as_bytes()));
        let whole =
            r#"{"error": {"message":"m","type":"t","param":null,"code":"c","x":1}, "id":1}"#;
        assert_eq!(shaped(whole).unwrap(), whole);
        for (body, expected) in [
            (
                r#"{"type":"error","error":{"type":"not_found_error","message":"m"},"request_id":"r"}"#,
                r#"{"error":{"message":"m","type":"not_found_error","param":null,"code":null}}"#,
            ),
            (
                r#"{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}"#,
                r#"{"error":{"message":"m","type":"invalid_request_error","param":null,"code":"400","status":"INVALID_ARGUMENT"}}"#,
            ),
            (
                r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
                r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":"400"}}"#,
            ),
        ] {
            let shaped: Value = serde_json::from_slice(&shaped(body).unwrap()).unwrap();
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert_eq!(shaped, expected, "{body}");
        }
        let marked = format!("\u{feff}{whole}");
        let shaped_again = shaped(&marked).unwrap();
        assert!(
            shaped_again.starts_with(b"{\"error\":{"),
            "{shaped_again:?}"
        );
        for body in [
            r#"{"error":"m"}"#,
            r#"{"detail":"m"}"#,
            "m",
            r#"{"error":{}}"#,
        ] {
            assert_eq!(shaped(body), None, "{body}");
        }
    }

    #[test]
    fn answers_are_not_errors() {
        for body in [
            r#"{"choices":[],"error":null}"#,
            r#"{"choices":[{"message":{"content":"error"}}],"code":200,"message":"ok"}"#,
            r#"{"error":{},"choices":[]}"#,
            r#"{"error":"","choices":[]}"#,
            r#"{"choices":[{"error":null},{"error":{}}]}"#,
            r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#,
            r#"{"choices":null,"code":200,"msg":"ok"}"#,
            r#"{"generated_text":"x"}"#,
            r#"{"id":"1"}"#,
            "[]",
            "{}",
            "1",
        ] {
            assert_eq!(ErrorView::read(body.as_bytes()), None, "{body}");
        }
    }
}
