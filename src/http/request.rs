//! What admission needs of a request, read in one borrowed pass over the caller's bytes.

use std::{ops::Range, sync::Arc, time::Duration};

use actix_web::{HttpRequest, http::header::HeaderMap};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    http::error::ApiError,
    llm::{Endpoint, ModelRequest},
    settings::ServerSettings,
};

/// Bytes of prompt per token, about; only used to weigh calls against each other.
const BYTES_PER_TOKEN: usize = 4;
/// Output tokens assumed of a call that sets no bound.
const OUTPUT_TOKENS: u32 = 256;
/// The longest request id that is taken over from a caller.
const REQUEST_ID_MAX: usize = 128;

/// The top-level fields that admission reads; all others are passed on unread.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
}

/// A request that was understood.
#[derive(Debug)]
pub struct Parsed {
    /// The model that the caller named.
    pub model: String,
    /// What goes to a backend.
    pub request: ModelRequest,
    /// Highest cost in tokens, prompt and output.
    pub tokens: u32,
    /// The part of them that only bounds the output.
    pub output_tokens_max: u32,
    /// It leaves nothing behind at the backend, so that it may be sent twice.
    pub changes_nothing: bool,
}

/// Reads a body.
///
/// # Errors
/// A 400 that names the field.
pub fn parse(endpoint: Endpoint, body: Bytes, request_id: Arc<str>) -> Result<Parsed, ApiError> {
    let fields: Fields<'_> = serde_json::from_slice(&body).map_err(|error| {
        let text = error.to_string();
        // The library says "duplicate field `model`": the field is known to the caller by that name.
        let param = text
            .strip_prefix("duplicate field `")
            .and_then(|rest| rest.split('`').next());
        ApiError::bad_request(param, format!("the body is no valid JSON object: {text}"))
    })?;
    let raw_model = fields
        .model
        .ok_or_else(|| ApiError::bad_request(Some("model"), "`model` is missing"))?;
    let model: String = value(raw_model, "model", "a string")?;
    let stream = match fields.stream {
        Some(raw) if endpoint != Endpoint::Embeddings => {
            value::<Option<bool>>(raw, "stream", "true or false")?.unwrap_or(false)
        }
        _ => false,
    };
    let bound = match (fields.max_completion_tokens, fields.max_tokens) {
        (Some(raw), _) => value(raw, "max_completion_tokens", "a whole number")?,
        (None, Some(raw)) => value(raw, "max_tokens", "a whole number")?,
        (None, None) => None,
    };
    let output = match endpoint {
        Endpoint::Embeddings => 0,
        _ => bound.unwrap_or(OUTPUT_TOKENS),
    };
    let prompt = tokens_of(body.len());
    let model_span = span(&body, raw_model.get());
    Ok(Parsed {
        model,
        tokens: prompt.saturating_add(output),
        output_tokens_max: output,
        changes_nothing: fields
            .store
            .is_none_or(|raw| matches!(raw.get(), "false" | "null")),
        request: ModelRequest {
            endpoint,
            body,
            model_span,
            stream,
            request_id,
        },
    })
}

/// Returns about how many tokens so many bytes of a prompt are.
pub fn tokens_of(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX)
}

fn value<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    param: &str,
    wanted: &str,
) -> Result<T, ApiError> {
    serde_json::from_str(raw.get())
        .map_err(|_| ApiError::bad_request(Some(param), format!("`{param}` must be {wanted}")))
}

/// Returns where a part borrowed from `body` lies in it.
fn span(body: &Bytes, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

/// Returns the caller's request id, or a new one when there is none that is short and printable.
pub fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let usable = |id: &&str| {
        !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.bytes().all(|b| b.is_ascii_graphic())
    };
    match given.filter(usable) {
        Some(id) => id.into(),
        None => format!("req_{:032x}", fastrand::u128(..)).into(),
    }
}

/// Returns the time the caller gives the call: its own header, the client library's, or the default.
///
/// # Errors
/// A 400 when our own header is no positive number.
pub fn deadline(request: &HttpRequest, settings: &ServerSettings) -> Result<Duration, ApiError> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let max = settings.deadline_max.0;
    if let Some(text) = header("x-kebne-deadline-ms") {
        let millis = text.trim().parse::<u64>().ok().filter(|millis| *millis > 0);
        let millis = millis.ok_or_else(|| {
            let message = "`x-kebne-deadline-ms` must be a whole number above 0";
            ApiError::bad_request(Some("x-kebne-deadline-ms"), message)
        })?;
        return Ok(Duration::from_millis(millis).min(max));
    }
    let seconds =
        header("x-stainless-read-timeout").and_then(|text| text.trim().parse::<f64>().ok());
    let read_timeout = seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(read_timeout.unwrap_or(settings.deadline_default.0).min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<Parsed, ApiError> {
        parse(
            Endpoint::Chat,
            Bytes::from_static(body.as_bytes()),
            "id".into(),
        )
    }

    #[test]
    fn the_models_span_is_found_wherever_it_stands() {
        let parsed =
            read(r#"{"messages":[{"model":"no"}], "model" : "a\u0062", "stream":true}"#).unwrap();
        assert_eq!(parsed.model, "ab");
        assert!(parsed.request.stream);
        let span = parsed.request.model_span.clone();
        assert_eq!(&parsed.request.body[span], br#""a\u0062""#);
    }

    #[test]
    fn bad_input_names_the_field() {
        let cases = [
            (r#"{"messages":[]}"#, Some("model")),
            (r#"{"model":1}"#, Some("model")),
            (r#"{"model":"a","model":"b"}"#, Some("model")),
            (r#"{"model":"a","stream":"yes"}"#, Some("stream")),
            (r#"{"model":"a","max_tokens":-1}"#, Some("max_tokens")),
            (r#"{"model":"a""#, None),
            ("[1]", None),
            ("", None),
        ];
        for (body, param) in cases {
            let error = read(body).unwrap_err();
            assert_eq!(error.status().as_u16(), 400, "{body}");
            assert_eq!(error.body()["error"]["param"].as_str(), param, "{body}");
        }
    }
}
