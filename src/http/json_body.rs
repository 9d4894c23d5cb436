//! Reads the JSON bodies of requests that the gateway answers itself. An error names the field.

use serde::{Deserialize, de::Deserializer};
use serde_path_to_error::Segment;

use crate::surface::error::ApiError;

/// How the reader names a field in an error that is not about its value.
const NAMED: [&str; 3] = ["unknown field `", "missing field `", "duplicate field `"];

/// Reads the JSON object in a body; an empty body is an empty object.
///
/// # Errors
/// Returns a 400 that names the field.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    // The parser would accept a list as the fields in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::bad_request(None, "the body is not a JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = fields(&mut reader)?;
    let end = reader.end();
    end.map_err(|error| ApiError::bad_request(None, format!("the body is not valid: {error}")))?;
    Ok(value)
}

/// Reads the fields of a value that was read before.
///
/// # Errors
/// Returns a 400 that names the field.
pub(super) fn fields<'a, T, D>(reader: D) -> Result<T, ApiError>
where
    T: Deserialize<'a>,
    D: Deserializer<'a, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(reader).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let mut path = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => {
                path.push('[');
                path.push_str(&index.to_string());
                path.push(']');
            }
            Segment::Map { key } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let text = error.inner().to_string();
    let named = NAMED.iter().find_map(|start| text.strip_prefix(start));
    let named = named.and_then(|rest| rest.split('`').next());
    if let Some(named) = named
        && path != named
        && !path.ends_with(&format!(".{named}"))
    {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(named);
    }
    if path.is_empty() {
        return ApiError::bad_request(None, format!("the body is not valid: {text}"));
    }
    ApiError::bad_request(Some(&path), format!("`{path}` is not valid: {text}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its type counts")]
        count: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the types count")]
    struct Body {
        text: String,
        parts: Option<Vec<Inner>>,
        by_name: Option<BTreeMap<String, Inner>>,
    }

    #[test]
    fn an_error_names_the_field() {
        for (body, field) in [
            (r#"{"text": 5}"#, "text"),
            (r#"{"text": null}"#, "text"),
            (r#"{"text": "a", "text": "b"}"#, "text"),
            ("", "text"),
            (r#"{"text": "a", "more": 1}"#, "more"),
            (
                r#"{"text": "a", "parts": [{"count": 1}, {"count": -1}]}"#,
                "parts[1].count",
            ),
            (r#"{"text": "a", "parts": [{}]}"#, "parts[0].count"),
            (
                r#"{"text": "a", "by_name": {"x": {"count": "1"}}}"#,
                "by_name.x.count",
            ),
        ] {
            let error = object::<Body>(body.as_bytes()).unwrap_err();
            let begins = format!("`{field}` is not valid: ");
            assert!(error.message().starts_with(&begins), "{error:?}");
        }
        for body in ["[]", "5", "{", r#"{"text": "a"} b"#] {
            let error = object::<Body>(body.as_bytes()).unwrap_err();
            assert!(error.message().starts_with("the body "), "{error:?}");
        }
        assert_eq!(object::<Body>(br#"{"text": "a"}"#).unwrap().text, "a");
    }
}
