//! Classifies the refusals of model servers, with one table for all servers that use these dialects.
//!
//! The class determines everything that follows, so a loading model must not be classified as overloaded, nor an
//! overloaded one as broken. Servers use different words for the same condition; all the words are in this file.
//! Sources: the servers' own code and pages, named beside each word list.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use kebne_control::Outcome;
use serde::Deserialize;
use serde_json::Value;

use crate::{error::ErrorView, quota};

/// A reset later than this means a used-up quota, not a rate limit, because no caller waits that long.
const QUOTA_HORIZON: Duration = Duration::from_mins(5);

/// Longer estimates are reduced to this. The longest one observed is 42 minutes.
const ESTIMATE_MAX: Duration = Duration::from_hours(2);

/// Bytes of a body that is not JSON in which words are searched.
const TEXT_MAX: usize = 4096;

/// The parts of an unsuccessful answer on which its class depends.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, or the beginning of a long one.
    pub body: &'a [u8],
    /// `true` if the server has answered with success since the last time it can have fallen asleep, and this is not a
    /// wake call.
    pub proven: bool,
    /// Further statuses by which this server reports that it is asleep.
    pub cold_statuses: &'a [u16],
    /// The wall clock, for headers that name a date.
    pub now: SystemTime,
}

/// Loading: Hugging Face "is currently loading", llama.cpp "Loading model", `OpenAI` "is still being loaded" (429),
/// Bedrock `ModelNotReadyException`, vLLM production stack and proxies that scale from zero.
const LOADING: [&str; 11] = [
    "currently loading",
    "loading model",
    "model is loading",
    "still being loaded",
    "still loading",
    "modelnotready",
    "model not ready",
    "model_loading",
    "is starting",
    "starting up",
    "warming up",
];

/// Overload: TGI `overloaded`, Ollama "server busy" and "maximum pending requests exceeded", vLLM's queue bound,
/// Hugging Face "Model too busy", `OpenAI` `server_is_overloaded`, Anthropic and Azure `overloaded`.
const OVERLOADED: [&str; 9] = [
    "overloaded",
    "server busy",
    "too busy",
    "pending requests",
    "queue is full",
    "queue full",
    "max_num_queued",
    "concurrency limit",
    "no slot available",
];

/// Cold, reported with the status of a bad request: Featherless. A message may quote the caller, so these words are
/// used only while the server has not been proven to work.
const COLD_AS_CLIENT: [&str; 2] = ["model is cold", "not ready for inference"];

/// A used-up quota, reported with the status of a bad request: Anthropic. The message begins with these words, so they
/// cannot be a quotation of the caller.
const NO_CREDIT: &str = "your credit balance is too low";

/// Used-up quotas: `OpenAI` `insufficient_quota` and billing limits, Anthropic spend limits, daily quotas.
const QUOTA: [&str; 8] = [
    "insufficient_quota",
    "exceeded your current quota",
    "billing",
    "spend_limit",
    "spend limit",
    "credit balance",
    "per day",
    "daily",
];

/// A proxy without a server behind it: Envoy, nginx, Kubernetes ingress.
const NO_SERVER: [&str; 5] = [
    "no healthy upstream",
    "upstream connect error",
    "service temporarily unavailable",
    "unhealthy",
    "no available server",
];

/// Requests that the model or its server does not support, refused with 500: llama.cpp "image input is not supported"
/// (a model without projector), "tools param requires --jinja flag" (older versions), and chat templates that raise
/// "Conversation roles must alternate user/assistant/…".
const NOT_TAKEN: [&str; 4] = [
    "input is not supported",
    "param requires --jinja",
    "roles must alternate",
    "unsupported content[].type",
];

/// Answers that the server itself could not parse, reported with 500: llama.cpp "The model produced output that does
/// not match the expected peg-native format".
const NOT_READ: [&str; 1] = ["model produced output that does not match"];

/// Returns the class of an unsuccessful answer.
pub fn classify(response: &ErrorResponse<'_>) -> Outcome {
    let error = ErrorText::read(response.body);
    let clock = quota::retry_after(response.headers, response.now).or_else(|| error.clock());
    let status = response.status.as_u16();
    if response.cold_statuses.contains(&status) {
        return Outcome::Cold {
            estimated: error.estimated.or(clock),
        };
    }
    match status {
        401 | 403 | 407 => Outcome::Misconfigured, // The key is the gateway's, not the caller's.
        402 => Outcome::Quota { reset: clock },
        408 => Outcome::Timeout,
        429 => too_many(&error, clock),
        503 | 529 => unavailable(response, &error, clock),
        404 | 405 if !error.has_cause => Outcome::Misconfigured, // No such path: `base_url` is wrong.
        501 => Outcome::Client, // llama.cpp: the operation is not known; asking again does not teach it.
        500.. => broken(response, &error),
        424 => failed_behind(response),
        498 => clocked(clock), // Groq: the flex tier is full.
        400 if !response.proven && error.has(&COLD_AS_CLIENT) => Outcome::Cold { estimated: clock },
        400 if error.text.trim_start().starts_with(NO_CREDIT) => Outcome::Quota { reset: clock },
        400..=499 => Outcome::Client,
        300..=399 => Outcome::Unusable, // Moved, and every attempt would be.
        _ => Outcome::Fault,
    }
}

/// Status 424. `SageMaker` uses it for a failure of the container behind it; in TGI the generation itself failed.
fn failed_behind(response: &ErrorResponse<'_>) -> Outcome {
    #[derive(Deserialize)]
    struct Behind {
        #[serde(rename = "OriginalStatusCode")]
        status: u16,
        #[serde(rename = "OriginalMessage", default)]
        message: String,
    }
    let behind = serde_json::from_slice::<Behind>(response.body);
    let status = behind.as_ref().ok().and_then(|behind| {
        let status = StatusCode::from_u16(behind.status).ok()?;
        (status.as_u16() != 424 && !status.is_success()).then_some(status)
    });
    match (behind, status) {
        (Ok(behind), Some(status)) => classify(&ErrorResponse {
            status,
            body: behind.message.as_bytes(),
            ..*response
        }),
        _ => Outcome::Fault,
    }
}

/// An error in the place of an answer: with status 200, or within a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InBand {
    /// The class if no part of an answer came before it.
    pub outcome: Outcome,
    /// The status that the error would have had as an answer, if it is known.
    pub status: Option<u16>,
}

/// The words that identify a status in errors that contain none, in lower case: `type` and `code` of `OpenAI`,
/// Anthropic, Google and vLLM.
const STATUS_OF_TYPE: [(u16, &[&str]); 9] = [
    (
        401,
        &[
            "authentication_error",
            "authenticationerror",
            "invalid_api_key",
            "unauthenticated",
        ],
    ),
    (
        403,
        &[
            "permission_error",
            "permissiondeniederror",
            "permission_denied",
        ],
    ),
    (
        404,
        &["not_found_error", "notfounderror", "model_not_found"],
    ),
    (413, &["request_too_large"]),
    (422, &["unprocessableentityerror"]),
    (
        429,
        &[
            "rate_limit",
            "ratelimiterror",
            "too_many_requests",
            "resource_exhausted",
        ],
    ),
    (529, &["overloaded_error", "server_is_overloaded"]),
    (504, &["timeout_error", "deadline_exceeded"]),
    (
        400,
        &[
            "invalid_request_error",
            "badrequesterror",
            "bad_request",
            "invalid_argument",
            "context_length_exceeded",
            "content_filter",
            "invalid_prompt",
        ],
    ),
];

/// Returns the class of an error in the place of an answer.
pub fn classify_event(body: &[u8]) -> InBand {
    let error = ErrorText::read(body);
    let named = error.status.or_else(|| error.status_of_type());
    let status = named.and_then(|status| StatusCode::from_u16(status).ok());
    let outcome = if error.has(&LOADING) {
        Outcome::Cold {
            estimated: error.estimated,
        }
    } else if error.has(&QUOTA) && named.is_none_or(|status| status == 429) {
        Outcome::Quota { reset: None }
    } else if let Some(status) = status {
        classify(&ErrorResponse {
            status,
            headers: &HeaderMap::new(),
            body,
            proven: true,
            cold_statuses: &[],
            now: SystemTime::UNIX_EPOCH,
        })
    } else if error.has(&OVERLOADED) {
        Outcome::Limit
    } else {
        Outcome::Fault
    };
    InBand {
        outcome,
        status: named,
    }
}

fn too_many(error: &ErrorText, clock: Option<Duration>) -> Outcome {
    if error.has(&LOADING) || error.estimated.is_some() {
        return Outcome::Cold {
            estimated: error.estimated.or(clock),
        };
    }
    if error.has(&["slow_down"]) {
        return Outcome::Rate {
            retry_after: clock,
            slow_down: true,
        };
    }
    if error.has(&QUOTA) && clock.is_none_or(|clock| clock > QUOTA_HORIZON) {
        return Outcome::Quota { reset: clock };
    }
    clocked(clock)
}

fn unavailable(
    response: &ErrorResponse<'_>,
    error: &ErrorText,
    clock: Option<Duration>,
) -> Outcome {
    if error.estimated.is_some() || error.has(&LOADING) {
        return Outcome::Cold {
            estimated: error.estimated.or(clock),
        };
    }
    if error.has(&["slow_down"]) {
        return Outcome::Rate {
            retry_after: clock,
            slow_down: true,
        };
    }
    if error.has(&OVERLOADED) || response.status.as_u16() == 529 {
        return clocked(clock);
    }
    if !response.proven {
        return Outcome::Cold { estimated: clock };
    }
    if error.has(&NO_SERVER) {
        return Outcome::Fault;
    }
    clocked(clock)
}

/// Classifies a status of 500 or above that is neither 503 nor 529.
fn broken(response: &ErrorResponse<'_>, error: &ErrorText) -> Outcome {
    if error.has(&LOADING) {
        return Outcome::Cold {
            estimated: error.estimated,
        };
    }
    if error.has(&["overloaded_error", "server_is_overloaded"]) {
        return Outcome::Limit;
    }
    if error.has(&NOT_TAKEN) {
        return Outcome::Client;
    }
    if error.has(&NOT_READ) {
        return Outcome::Unusable;
    }
    match response.status.as_u16() {
        502 if !response.proven => Outcome::Cold { estimated: None },
        _ => Outcome::Fault,
    }
}

/// With a retry time, the rate is limited; without one, the number of requests in flight is.
fn clocked(clock: Option<Duration>) -> Outcome {
    match clock {
        Some(clock) if clock > QUOTA_HORIZON => Outcome::Quota { reset: Some(clock) },
        Some(_) => Outcome::Rate {
            retry_after: clock,
            slow_down: false,
        },
        None => Outcome::Limit,
    }
}

/// The parts of an error body that decide its class.
#[derive(Debug, Default)]
struct ErrorText {
    /// The message, type and code in lower case.
    text: String,
    /// The value of `estimated_time`.
    estimated: Option<Duration>,
    /// The type and the code only, in lower case.
    kind: String,
    /// A status that the body contains.
    status: Option<u16>,
    /// `true` if the body names a cause beyond a path that does not exist.
    has_cause: bool,
}

impl ErrorText {
    fn read(body: &[u8]) -> Self {
        let Ok(whole) = serde_json::from_slice::<Value>(body) else {
            let start = &body[..body.len().min(TEXT_MAX)];
            return Self {
                text: String::from_utf8_lossy(start).to_lowercase(),
                ..Self::default()
            };
        };
        // Gemini's OpenAI surface wraps the object in a list.
        let whole = &whole;
        let value = whole.get(0).unwrap_or(whole);
        let error = value.get("error").unwrap_or(value);
        let mut text = error.as_str().unwrap_or_default().to_lowercase();
        for holder in [error, value] {
            for key in [
                "message",
                "type",
                "code",
                "status",
                "error_type",
                "error_code",
                "detail",
                "__type",
            ] {
                if let Some(word) = holder.get(key).and_then(Value::as_str) {
                    text.push('\n');
                    text.push_str(&word.to_lowercase());
                }
            }
        }
        if let Some(code) = error.pointer("/details/error_code").and_then(Value::as_str) {
            text.push('\n');
            text.push_str(&code.to_lowercase());
        }
        let estimate = value
            .get("estimated_time")
            .or_else(|| error.get("estimated_time"));
        let estimated = estimate
            .and_then(Value::as_f64)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let view = ErrorView::of(whole).unwrap_or_default();
        let kind = [view.kind.as_deref(), view.code.as_deref()].map(Option::unwrap_or_default);
        let kind = kind.join("\n").to_lowercase();
        let nothing = matches!(
            view.message.as_str(),
            "" | "Not Found" | "Method Not Allowed"
        );
        Self {
            text,
            estimated: estimated.map(|estimated| estimated.min(ESTIMATE_MAX)),
            has_cause: !nothing || kind.trim() != "",
            kind,
            status: view.status,
        }
    }

    /// Returns the status that corresponds to the type or the code.
    fn status_of_type(&self) -> Option<u16> {
        let named = |words: &&[&str]| words.iter().any(|word| self.kind.contains(word));
        let found = STATUS_OF_TYPE.iter().find(|(_, words)| named(words));
        found.map(|(status, _)| *status)
    }

    fn has(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    /// Returns the retry time in texts such as "try again in 1.2s" and "retry in 10h17m".
    fn clock(&self) -> Option<Duration> {
        let (_, rest) = self
            .text
            .split_once("again in ")
            .or_else(|| self.text.split_once("retry in "))?;
        let word = rest.split_whitespace().next()?;
        quota::parse_span(word.trim_end_matches(['.', ',', ';']))
    }
}

#[cfg(test)]
mod tests;
