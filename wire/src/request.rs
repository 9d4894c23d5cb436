//! A request to a model, and the fields that admission reads in one pass over the caller's bytes, without copying.
//!
//! The body is kept unchanged. Only the top-level fields that determine where a call goes and what it may cost are
//! parsed; everything else is left for the backend to check.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use crate::endpoint::{Endpoint, PassThrough};
use crate::{
    about::About, adjust::Author, direct::Direct, inputs::Inputs, multipart::Form, native::Native,
};

/// Approximate bytes of prompt per token; used only to compare the cost of calls.
const BYTES_PER_TOKEN: usize = 4;
/// The largest number of choices that is tracked. A call that requests more is sent, but only this number of choices
/// is waited for.
const CHOICES_MAX: u32 = 4096;
/// Output tokens assumed for a call without a bound.
const OUTPUT_TOKENS: u32 = 256;

/// One call to a model, in the `OpenAI` dialect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The operation.
    pub endpoint: Endpoint,
    /// The JSON body as it is sent, except for the model's name.
    pub body: Bytes,
    /// The position of the value of the top-level `model` key in `body`, including the quotes. A backend that uses
    /// another name for the model replaces this part without parsing the body again.
    pub model_span: Range<usize>,
    /// `true` if the caller requested a stream.
    pub stream: bool,
    /// The number of choices of the answer, at least 1. A stream is complete when each of them has ended.
    pub choices: u32,
    /// The caller's `x-request-id`, or a new one. It is also sent to the backend.
    pub request_id: Arc<str>,
    /// Headers of the caller that are sent to the backend, such as `traceparent`.
    pub headers: Option<Arc<HeaderMap>>,
    /// The content type of a body that is not JSON but a form, in which the model's name has no quotes.
    pub form: Option<Arc<str>>,
    /// The inputs that are not text.
    pub inputs: Inputs,
    /// The call in the dialect of its caller, for backends that speak this dialect themselves.
    pub native: Option<Native>,
    /// The operation of a call without a model.
    pub direct: Option<Direct>,
    /// Who wrote the body.
    pub author: Author,
    /// What is known of the call besides; only for functions.
    pub about: Option<Arc<About>>,
    /// `true` if the gateway needs the usage of a stream, whether its caller asks for it or not.
    pub needs_usage: bool,
    /// For whom the call is made, for a backend that makes calls of its own; `None` for all others.
    pub on_behalf: Option<Arc<OnBehalf>>,
}

/// For whom a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBehalf {
    /// The id of the key; empty if no keys are set.
    pub key: String,
    /// The owner of what the call makes.
    pub owner: String,
    /// The id of the job whose call it is; `None` for a call that came by a connection.
    pub job: Option<String>,
    /// The headers that the calls have that are made because of it.
    pub origin: BTreeMap<String, String>,
}

impl ModelRequest {
    /// Creates a request for one whole answer.
    pub fn new(
        endpoint: Endpoint,
        body: Bytes,
        model_span: Range<usize>,
        request_id: Arc<str>,
    ) -> Self {
        Self {
            endpoint,
            body,
            model_span,
            stream: false,
            choices: 1,
            request_id,
            headers: None,
            form: None,
            inputs: Inputs::default(),
            native: None,
            direct: None,
            author: Author::Caller,
            about: None,
            needs_usage: false,
            on_behalf: None,
        }
    }
}

/// The reason why a request body cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// The invalid field; `None` if the body as a whole cannot be read.
    pub param: Option<String>,
    /// The reason, as a sentence for the caller.
    pub message: String,
}

/// The top-level fields that admission reads; all others are passed on without being read.
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
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    store: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
}

/// A request body that was read.
#[derive(Debug)]
pub struct Parsed {
    /// The model that the caller named.
    pub model: String,
    /// The request as it is sent to a backend.
    pub request: ModelRequest,
    /// The highest cost in tokens, of prompt and output.
    pub tokens: u32,
    /// The part of `tokens` that is only an upper bound of the output.
    pub output_tokens_max: u32,
    /// `true` if the call stores nothing at the backend, so that it can be sent twice.
    pub changes_nothing: bool,
}

/// Reads a request body.
///
/// # Errors
/// Returns an error if the body is not a JSON object, a field has the wrong type, or `model` is missing. The error
/// names the field.
pub fn parse(
    endpoint: Endpoint,
    body: Bytes,
    request_id: Arc<str>,
) -> Result<Parsed, RequestError> {
    // The parser would accept a list as the fields in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(RequestError {
            param: None,
            message: "the body is not a valid JSON object".to_owned(),
        });
    }
    let fields: Fields<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let raw_model = fields
        .model
        .ok_or_else(|| wrong("model", "`model` is missing".to_owned()))?;
    let model: String = value(raw_model, "model", "a string")?;
    let stream = match fields.stream {
        Some(raw) if endpoint.generates() => {
            value::<Option<bool>>(raw, "stream", "true or false")?.unwrap_or(false)
        }
        _ => false,
    };
    let bounds = [
        ("max_completion_tokens", fields.max_completion_tokens),
        ("max_tokens", fields.max_tokens),
        // The name in the Responses API.
        ("max_output_tokens", fields.max_output_tokens),
    ];
    let mut output_max = None;
    for (param, raw) in bounds {
        if output_max.is_none() {
            output_max = bound(raw, param)?;
        }
    }
    let choices = choices(endpoint, &fields);
    let output = if endpoint.generates() {
        output_max.unwrap_or(OUTPUT_TOKENS)
    } else {
        0
    };
    let inputs = match endpoint {
        Endpoint::Chat => Inputs::of_chat(&body),
        _ => Inputs::default(),
    };
    let prompt = tokens_of(body.len().saturating_sub(inputs.size)).saturating_add(inputs.tokens);
    let model_span = span(&body, raw_model.get());
    Ok(Parsed {
        model,
        tokens: prompt.saturating_add(output),
        output_tokens_max: output,
        changes_nothing: fields
            .store
            .is_none_or(|raw| matches!(raw.get(), "false" | "null")),
        request: ModelRequest {
            stream,
            choices,
            inputs,
            ..ModelRequest::new(endpoint, body, model_span, request_id)
        },
    })
}

/// Reads a form, of which only the model's name is used. Files do not count as tokens.
///
/// # Errors
/// Returns an error if the body is not a form, or if `model` is missing or occurs more than once.
pub fn parse_form(
    endpoint: Endpoint,
    content_type: &str,
    body: Bytes,
    request_id: Arc<str>,
) -> Result<Parsed, RequestError> {
    let form = Form::read(content_type, body.clone()).map_err(|error| RequestError {
        param: None,
        message: error.to_string(),
    })?;
    if form.is_ambiguous("model") {
        return Err(wrong("model", "`model` occurs more than once".to_owned()));
    }
    let (Some(model), Some(model_span)) = (form.text("model"), form.span("model")) else {
        return Err(wrong("model", "`model` is missing".to_owned()));
    };
    Ok(Parsed {
        model: model.to_owned(),
        tokens: tokens_of(form.text_size()),
        output_tokens_max: 0,
        changes_nothing: true,
        request: ModelRequest {
            form: Some(content_type.into()),
            ..ModelRequest::new(endpoint, body, model_span, request_id)
        },
    })
}

/// Reads a bound of the output. A number below zero, such as `-1`, means no bound, as it does for servers.
fn bound(raw: Option<&RawValue>, param: &str) -> Result<Option<u32>, RequestError> {
    let Some(raw) = raw else {
        return Ok(None);
    };
    let Some(number) = value::<Option<f64>>(raw, param, "a whole number")? else {
        return Ok(None);
    };
    if number.fract() != 0.0 {
        return Err(wrong(param, format!("`{param}` must be a whole number")));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a float saturates, and a number below zero means no bound"
    )]
    Ok((number >= 0.0).then_some(number as u32))
}

/// Returns the number of choices of the answer: `n` for each prompt. A value that is not a number is left for the
/// backend to refuse.
fn choices(endpoint: Endpoint, fields: &Fields<'_>) -> u32 {
    let n = fields
        .n
        .and_then(|raw| raw.get().parse::<u32>().ok())
        .map_or(1, |n| n.clamp(1, CHOICES_MAX));
    let prompts = match fields.prompt {
        Some(raw) if endpoint == Endpoint::Completions && raw.get().starts_with('[') => {
            let each: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
            // A list of numbers is one prompt, given as its tokens.
            let is_list = each
                .first()
                .is_some_and(|first| first.get().starts_with(['"', '[']));
            if is_list { each.len() } else { 1 }
        }
        _ => 1,
    };
    u32::try_from(prompts).map_or(n, |prompts| n.saturating_mul(prompts).min(CHOICES_MAX))
}

/// Returns the body with a `model` key added if it is an object without one.
pub fn naming_model(body: Bytes, model: &str) -> Bytes {
    #[derive(Deserialize)]
    struct Named {
        model: Option<serde::de::IgnoredAny>,
    }
    let Ok(Named { model: None }) = serde_json::from_slice(&body) else {
        return body;
    };
    let Some(start) = memchr::memchr(b'{', &body) else {
        return body;
    };
    let (head, rest) = body.split_at(start + 1);
    let is_empty = rest.trim_ascii_start().starts_with(b"}");
    let comma = if is_empty { "" } else { "," };
    let key = format!("\"model\":{}{comma}", serde_json::Value::from(model));
    Bytes::from([head, key.as_bytes(), rest].concat())
}

/// Estimates the number of tokens in a prompt of `bytes` bytes.
pub fn tokens_of(bytes: usize) -> u32 {
    u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX)
}

fn unreadable(error: &serde_json::Error) -> RequestError {
    let text = error.to_string();
    // The library writes "duplicate field `model`"; this is also the caller's name of the field.
    let param = text
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split('`').next());
    RequestError {
        param: param.map(str::to_owned),
        message: format!("the body is not a valid JSON object: {text}"),
    }
}

fn wrong(param: &str, message: String) -> RequestError {
    RequestError {
        param: Some(param.to_owned()),
        message,
    }
}

fn value<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    param: &str,
    wanted: &str,
) -> Result<T, RequestError> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(param, format!("`{param}` must be {wanted}")))
}

/// Returns the position of a part that is borrowed from `body`.
fn span(body: &Bytes, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - body.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &'static str) -> Result<Parsed, RequestError> {
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
    fn a_model_is_named_only_where_none_is() {
        for (body, named) in [
            ("{}", r#"{"model":"m"}"#),
            (r#" {"a":1}"#, r#" {"model":"m","a":1}"#),
            (r#"{"model":"x"}"#, r#"{"model":"x"}"#),
            ("[1]", "[1]"),
            ("{", "{"),
        ] {
            assert_eq!(
                naming_model(Bytes::from_static(body.as_bytes()), "m"),
                named
            );
        }
    }

    #[test]
    fn the_bound_of_the_output_is_read_as_servers_read_it() {
        for (fields, bound) in [
            ("\"max_tokens\":7", 7),
            ("\"max_tokens\":7.0", 7),
            ("\"max_tokens\":-1", OUTPUT_TOKENS),
            ("\"max_tokens\":null", OUTPUT_TOKENS),
            ("\"max_tokens\":1e20", u32::MAX),
            ("\"max_completion_tokens\":null,\"max_tokens\":7", 7),
            ("\"max_completion_tokens\":3,\"max_tokens\":7", 3),
        ] {
            let body = format!("{{\"model\":\"a\",{fields}}}");
            let parsed = parse(Endpoint::Chat, Bytes::from(body), "id".into()).unwrap();
            assert_eq!(parsed.output_tokens_max, bound, "{fields}");
        }
    }

    #[test]
    fn the_choices_are_those_of_each_prompt() {
        for (endpoint, fields, choices) in [
            (Endpoint::Chat, "\"x\":1", 1),
            (Endpoint::Chat, "\"n\":3", 3),
            (Endpoint::Chat, "\"n\":null", 1),
            (Endpoint::Chat, "\"n\":0", 1),
            (Endpoint::Completions, "\"prompt\":\"a\",\"n\":2", 2),
            (Endpoint::Completions, "\"prompt\":[\"a\",\"b\"],\"n\":2", 4),
            (Endpoint::Completions, "\"prompt\":[1,2,3]", 1),
            (Endpoint::Completions, "\"prompt\":[[1,2],[3]]", 2),
            (Endpoint::Chat, "\"n\":4000000000", CHOICES_MAX),
        ] {
            let body = format!("{{\"model\":\"a\",{fields}}}");
            let parsed = parse(endpoint, Bytes::from(body), "id".into()).unwrap();
            assert_eq!(parsed.request.choices, choices, "{fields}");
        }
    }

    #[test]
    fn a_form_is_read_for_its_model() {
        let field = |name: &str, value: &str| {
            format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        let sound = "x".repeat(1 << 20);
        let body = format!("{file}{sound}\r\n{}--b--", field("model", "whisper"));
        let read = |body: String| {
            let endpoint = Endpoint::PassThrough(PassThrough::Transcriptions);
            let content_type = "multipart/form-data; boundary=b";
            parse_form(endpoint, content_type, body.into(), "id".into())
        };
        let parsed = read(body).unwrap();
        assert_eq!(parsed.model, "whisper");
        assert!(parsed.tokens < 10, "{}", parsed.tokens);
        let span = parsed.request.model_span.clone();
        assert_eq!(&parsed.request.body[span], b"whisper");
        let renamed = crate::splice::with_model(&parsed.request, "tiny \"x\"");
        assert_eq!(crate::splice::model_of(&renamed), "tiny \"x\"");
        for body in [
            String::new(),
            field("x", "y") + "--b--",
            field("model", "a").repeat(2) + "--b--",
        ] {
            assert!(read(body).is_err());
        }
    }

    #[test]
    fn bad_input_names_the_field() {
        let cases = [
            (r#"{"messages":[]}"#, Some("model")),
            (r#"{"model":1}"#, Some("model")),
            (r#"{"model":"a","model":"b"}"#, Some("model")),
            (r#"{"model":"a","stream":"yes"}"#, Some("stream")),
            (r#"{"model":"a","max_tokens":1.5}"#, Some("max_tokens")),
            (r#"{"model":"a","max_tokens":"1"}"#, Some("max_tokens")),
            (
                r#"{"model":"a","max_completion_tokens":[]}"#,
                Some("max_completion_tokens"),
            ),
            (r#"{"model":"a""#, None),
            ("[1]", None),
            (r#" ["a"]"#, None),
            ("", None),
        ];
        for (body, param) in cases {
            let error = read(body).unwrap_err();
            assert_eq!(error.param.as_deref(), param, "{body}");
        }
    }
}
