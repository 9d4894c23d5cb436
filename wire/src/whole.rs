//! Checks that a whole answer is valid: a JSON object with the fields that its dialect requires, and not an error.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    chunk::{ChunkView, Finish},
    error::ErrorView,
    json, normal_form,
    request::Endpoint,
    stream::Problem,
    surrogates,
    usage::Usage,
};

/// A whole answer that can be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The body, unchanged or, unless it has vectors, with numbers that are not finite replaced.
    pub body: Bytes,
    /// The tokens that the server reports.
    pub usage: Usage,
}

/// The answer of an embeddings call.
#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    data: Option<Vec<Embedding<'a>>>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
}

/// Checks a whole answer. The ids of tool calls that have none, or that of another, are made of `id_seed`.
///
/// # Errors
/// Returns an error if it is an error, cannot be read, or contains no choice (no embedding).
pub fn check(endpoint: Endpoint, body: Bytes, id_seed: &str) -> Result<Whole, Problem> {
    // .NET servers write a byte order mark, which is not allowed in JSON.
    let body = match body.strip_prefix(b"\xEF\xBB\xBF") {
        Some(text) => body.slice_ref(text),
        None => body,
    };
    let body = json::as_utf8(body);
    // Of text, the strings are not checked one by one.
    let read = match std::str::from_utf8(&body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(&body),
    };
    let (body, chunk) = match read {
        Ok(chunk) => (body, chunk),
        Err(error) => repaired(endpoint, body, &error)?,
    };
    if chunk.is_suspect && ErrorView::read(&body).is_some() {
        return Err(Problem::Error(body));
    }
    let usage = chunk.usage.unwrap_or_default();
    if endpoint == Endpoint::Embeddings {
        let answer: Embeddings<'_> =
            serde_json::from_slice(&body).map_err(|_| Problem::Unreadable)?;
        let embeddings = answer.data.unwrap_or_default();
        let is_complete = embeddings.iter().all(|each| each.embedding.is_some());
        if embeddings.is_empty() || !is_complete {
            return Err(Problem::Empty);
        }
        return Ok(Whole { body, usage });
    }
    let choices = chunk.choices.unwrap_or_default();
    if choices.is_empty() || !choices.iter().all(|choice| choice.has_message) {
        return Err(Problem::Empty);
    }
    if choices.iter().any(|choice| choice.finish == Finish::Failed) {
        return Err(Problem::Failed);
    }
    let has_calls = choices.iter().any(|choice| choice.has_calls);
    let normal = if has_calls {
        normal_form::of_whole(&body, id_seed)
    } else {
        None
    };
    let body = normal.unwrap_or(body);
    Ok(Whole { body, usage })
}

/// Reads a body that the JSON parser refuses, or that is not an object.
fn repaired(
    endpoint: Endpoint,
    body: Bytes,
    error: &serde_json::Error,
) -> Result<(Bytes, ChunkView), Problem> {
    if ErrorView::read(&body).is_some() {
        return Err(Problem::Error(body));
    }
    // A vector with another number in the place of one that is not finite points elsewhere, and nobody sees it. Elsewhere such numbers are
    // logarithms of probabilities, beside a text that is whole without them, and no parser of a caller would read the answer.
    let body = match endpoint {
        Endpoint::Embeddings => body,
        _ => json::with_finite_numbers(&body).unwrap_or(body),
    };
    // Callers read half characters, so they are passed on.
    match surrogates::read(&body) {
        Ok(chunk) => Ok((body, chunk)),
        Err(_) if json::is_valid(&body) && is_empty(&body) => Err(Problem::Empty),
        Err(_) if error.is_eof() => Err(Problem::Cut),
        Err(_) => Err(Problem::Unreadable),
    }
}

/// Returns `true` for values without content, such as `[]` and `null`.
fn is_empty(body: &[u8]) -> bool {
    matches!(body.trim_ascii(), b"[]" | b"null" | b"\"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(endpoint: Endpoint, body: &str) -> Result<Whole, Problem> {
        check(endpoint, Bytes::copy_from_slice(body.as_bytes()), "")
    }

    #[test]
    fn an_answer_passes_as_it_came() {
        for (endpoint, body) in [
            (
                Endpoint::Chat,
                r#"{"choices":[{"message":{"content":""}}],"usage":{"completion_tokens":3}}"#,
            ),
            (
                Endpoint::Completions,
                r#"{"choices":[{"text":""}],"error":null,"usage":{"completion_tokens":3}}"#,
            ),
            (
                Endpoint::Embeddings,
                r#"{"data":[{"embedding":[1]}],"usage":{"completion_tokens":3}}"#,
            ),
        ] {
            let body = Bytes::from_static(body.as_bytes());
            let whole = check(endpoint, body.clone(), "").unwrap();
            assert_eq!(
                (whole.body.as_ptr(), whole.usage.output_tokens()),
                (body.as_ptr(), Some(3))
            );
        }
    }

    #[test]
    fn required_fields_are_required() {
        for body in [
            "{}",
            "[]",
            "null",
            r#"{"choices":[]}"#,
            r#"{"choices":null}"#,
            r#"{"choices":[{}]}"#,
            r#"{"choices":[{"message":null}]}"#,
            r#"{"id":"x"}"#,
        ] {
            assert_eq!(checked(Endpoint::Chat, body), Err(Problem::Empty), "{body}");
        }
        for body in [
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":[{}]}"#,
            r#"{"data":[{"embedding":[1]},{}]}"#,
            r#"{"data":[{"embedding":null}]}"#,
        ] {
            assert_eq!(
                checked(Endpoint::Embeddings, body),
                Err(Problem::Empty),
                "{body}"
            );
        }
    }

    #[test]
    fn a_vector_of_numbers_that_are_not_finite_is_no_answer() {
        for number in ["NaN", "Infinity", "-Infinity", "-NaN"] {
            let body = format!(r#"{{"data":[{{"embedding":[0.5,{number}]}}]}}"#);
            let checked = checked(Endpoint::Embeddings, &body);
            assert_eq!(checked, Err(Problem::Unreadable), "{number}");
        }
    }

    #[test]
    fn an_error_is_never_an_answer() {
        for body in [
            r#"{"detail":"no"}"#,
            r#"{"object":"error","message":"no"}"#,
            r#"{"error":{"message":"no"},"choices":[{"message":{}}]}"#,
            r#"[{"error":{"message":"no"}}]"#,
            r#"{"error":"no"}"#,
        ] {
            let error = Problem::Error(Bytes::copy_from_slice(body.as_bytes()));
            assert_eq!(checked(Endpoint::Chat, body), Err(error.clone()), "{body}");
            assert_eq!(checked(Endpoint::Embeddings, body), Err(error), "{body}");
        }
        let failed = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}"#;
        assert_eq!(checked(Endpoint::Chat, failed), Err(Problem::Failed));
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_what_can_be_repaired_is_repaired() {
        for (problem, body) in [
            (Problem::Unreadable, "<html>"),
            (Problem::Unreadable, "7"),
            (Problem::Unreadable, r#"{"choices":{}}"#),
            (Problem::Cut, ""),
            (Problem::Cut, r#"{"choices":["#),
            (Problem::Cut, r#"{"choices":[{"message":{"content":"a"#),
        ] {
            assert_eq!(checked(Endpoint::Chat, body), Err(problem), "{body}");
        }
        let halves = r#"{"choices":[{"message":{"content":"x\ud83d y"}}]}"#;
        assert_eq!(checked(Endpoint::Chat, halves).unwrap().body, halves);
        let bytes = Bytes::from_static(b"{\"choices\":[{\"message\":{\"content\":\"x \xF0\"}}]}");
        let whole = check(Endpoint::Chat, bytes, "").unwrap();
        assert_eq!(
            whole.body,
            "{\"choices\":[{\"message\":{\"content\":\"x \u{fffd}\"}}]}"
        );
        let whole = checked(
            Endpoint::Chat,
            r#"{"choices":[{"message":{},"logprobs":-Infinity}]}"#,
        )
        .unwrap();
        assert_eq!(
            whole.body,
            r#"{"choices":[{"message":{},"logprobs":-9999.0}]}"#
        );
    }
}
