//! Reads the errors of model servers in all known shapes.
//!
//! An error may arrive with any status, including 200, and in the middle of a stream. The shapes are: OpenAI's
//! `{"error": {"message", "type", "param", "code"}}`, the same in a list (Gemini), a string under `error` (TGI,
//! Ollama), `{"object": "error", "message", …}` (vLLM, FastChat), `{"detail": …}` (FastAPI), Anthropic's `{"type":
//! "error", "error": {…}}`, and `{"message", "code"}` (gateways).

use serde_json::Value;

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
            let answers = ["choices", "data", "usage", "generated_text"];
            if answers.iter().any(|key| fields.contains_key(*key)) {
                return false;
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
                || (set("message") && reasoned.iter().any(|key| set(key)))
        }
        _ => false,
    }
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
        if !is_error(value) {
            return None;
        }
        let outer = value.get(0).unwrap_or(value);
        let inner = outer
            .get("error")
            .filter(|error| error.is_object())
            .unwrap_or(outer);
        let text = |key: &str| {
            let found = [inner, outer]
                .iter()
                .find_map(|holder| holder.get(key)?.as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let message = text("message")
            .or_else(|| outer.get("error")?.as_str().map(str::to_owned))
            .or_else(|| text("msg"))
            .or_else(|| detail(outer.get("detail")?))
            .unwrap_or_default();
        Some(Self {
            message,
            kind: text("type").filter(|kind| kind != "error"),
            code: text("code").or_else(|| text("error_code")),
            param: text("param"),
            status: status(inner).or_else(|| status(outer)),
        })
    }

    /// Reads an error from the bytes of a body or of an event.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        Self::of(&serde_json::from_slice(bytes).ok()?)
    }
}

/// Reads FastAPI's `detail`, which is a string, or a list with an entry for each invalid field.
fn detail(detail: &Value) -> Option<String> {
    match detail {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let each = items.iter().filter_map(|item| {
                let place = item.get("loc").and_then(Value::as_array);
                let place = place.into_iter().flatten().filter_map(Value::as_str);
                let place = place.collect::<Vec<_>>().join(".");
                Some(format!("`{place}`: {}", item.get("msg")?.as_str()?))
            });
            Some(each.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
        }
        Value::Object(fields) => Some(fields.get("message")?.as_str()?.to_owned()),
        _ => None,
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
    fn answers_are_not_errors() {
        for body in [
            r#"{"choices":[],"error":null}"#,
            r#"{"choices":[{"message":{"content":"error"}}],"code":200,"message":"ok"}"#,
            r#"{"error":{},"choices":[]}"#,
            r#"{"error":"","choices":[]}"#,
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
