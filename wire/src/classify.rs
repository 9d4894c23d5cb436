//! Classifies the refusals of model servers, with one table for all servers that use these dialects.
//!
//! The class determines everything that follows, so a loading model must not be classified as overloaded, nor an
//! overloaded one as broken. Servers use different words for the same condition; all the words are in `words`.
//! Sources: the servers' own code and pages, named beside each word list.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};
use kebne_control::Outcome;
use serde::Deserialize;

use crate::quota;

mod error_text;
mod refusal;
mod words;

pub use refusal::{RefusedFor, refused_for};

use error_text::ErrorText;
use words::{
    ASLEEP_AT_END, COLD_AS_CLIENT, LOADING, NO_CREDIT, NO_CREDIT_CODES, NO_MODEL, NO_MODEL_CODES,
    NO_SERVER, NOT_READ, NOT_SERVED, NOT_TAKEN, OVERLOADED, QUOTA, WRONG_KEY_CODES,
};

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

/// Returns the class of an unsuccessful answer.
pub fn classify(response: &ErrorResponse<'_>) -> Outcome {
    let error = ErrorText::read(response.body);
    let clock =
        quota::retry_after(response.headers, response.now).or_else(|| error.clock(response.now));
    let status = response.status.as_u16();
    if response.cold_statuses.contains(&status) {
        return Outcome::Cold {
            estimated: error.estimated.or(clock),
        };
    }
    match status {
        403 if error.is_flagged() => Outcome::Client,
        403 if error.has_code(&NO_CREDIT_CODES) => Outcome::Quota { reset: clock },
        401 | 403 | 407 => Outcome::Misconfigured, // The key is the gateway's, not the caller's.
        // Another request, with less output, can be paid.
        402 if error.is_beyond_account() => Outcome::Client,
        402 => Outcome::Quota { reset: clock },
        408 => Outcome::Timeout,
        429 => too_many(&error, clock),
        503 | 529 => unavailable(response, &error, clock),
        404 | 405 if !error.has_cause => Outcome::Misconfigured, // No such path: `base_url` is wrong.
        501 => Outcome::Client, // llama.cpp: the operation is not known; asking again does not teach it.
        508 => Outcome::Unusable, // This call goes in a circle, and each attempt would; others need not.
        500.. => broken(response, &error),
        424 => failed_behind(response),
        498 => clocked(clock), // Groq: the flex tier is full.
        400..=499 => refused(response, &error, clock),
        300..=399 => Outcome::Unusable, // Moved, and every attempt would be.
        _ => Outcome::Fault,
    }
}

/// Classifies the other statuses of the caller's own faults, which some servers also use for faults that are not the
/// caller's.
fn refused(response: &ErrorResponse<'_>, error: &ErrorText, clock: Option<Duration>) -> Outcome {
    let is_cold = response.status.as_u16() == 400 && error.has(&COLD_AS_CLIENT);
    if (is_cold && !response.proven) || error.has_line("model ", ASLEEP_AT_END) {
        return Outcome::Cold { estimated: clock };
    }
    if error.begins_with(&NO_CREDIT) || error.has_code(&NO_CREDIT_CODES) {
        return Outcome::Quota { reset: clock };
    }
    if error.begins_with(&NOT_SERVED) || error.has_code(&WRONG_KEY_CODES) {
        return Outcome::Misconfigured;
    }
    // The name that is sent is a setting: a model that no backend has is refused before.
    let is_model = error.begins_with(&NO_MODEL) || error.has_code(&NO_MODEL_CODES);
    if response.status == StatusCode::NOT_FOUND && is_model {
        return Outcome::Misconfigured;
    }
    Outcome::Client
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
            "api_key_invalid",
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
    } else if let Some(status) = status {
        classify(&ErrorResponse {
            status,
            headers: &HeaderMap::new(),
            body,
            proven: true,
            cold_statuses: &[],
            now: SystemTime::UNIX_EPOCH,
        })
    } else if error.has(&QUOTA) {
        Outcome::Quota { reset: None }
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
    if error.is_beyond_account() {
        return Outcome::Client;
    }
    let clock = clock.filter(|clock| !error.is_daily || *clock > QUOTA_HORIZON);
    if (error.is_daily || error.has(&QUOTA)) && clock.is_none_or(|clock| clock > QUOTA_HORIZON) {
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
        return Outcome::Absent {
            answered: true,
            retry_after: clock,
        };
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
        502 if !response.proven => Outcome::Absent {
            answered: error.has_cause,
            retry_after: None,
        },
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

#[cfg(test)]
mod tests;
