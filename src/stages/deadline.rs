//! The time that a caller allows for its call.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::{settings::ServerSettings, stages::header::text, surface::error::ApiError};

/// The header with the time of a call in milliseconds.
const DEADLINE: &str = "x-kebne-deadline-ms";
/// The header in which OpenAI's and Anthropic's clients name their read timeout, in seconds.
const READ_TIMEOUT: &str = "x-stainless-read-timeout";

/// The time for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    /// The time until the answer, or the first token of a stream.
    pub(super) time: Duration,
    /// `true` if the caller named it with `x-kebne-deadline-ms`, so that a stream must end by then too. The timeouts of
    /// client libraries bound only the time between two parts of an answer.
    pub(super) bounds_stream: bool,
}

/// Returns the time for the call: `x-kebne-deadline-ms`, the client library's header, or the default.
///
/// # Errors
/// Returns a 400 if `x-kebne-deadline-ms` is not a positive number.
pub(super) fn of(headers: &HeaderMap, settings: &ServerSettings) -> Result<Deadline, ApiError> {
    let max = settings.deadline_max.0;
    if let Some(text) = text(headers, DEADLINE)? {
        let millis = millis(text.trim()).ok_or_else(|| {
            let message = format!("`{DEADLINE}` must be a whole number above 0");
            ApiError::bad_request(Some(DEADLINE), message)
        })?;
        return Ok(Deadline {
            time: Duration::from_millis(millis).min(max),
            bounds_stream: true,
        });
    }
    let seconds = headers.get(HeaderName::from_static(READ_TIMEOUT));
    let seconds = seconds.and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let read_timeout = seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = read_timeout.unwrap_or(settings.deadline_default.0);
    Ok(Deadline {
        time: time.min(max),
        bounds_stream: false,
    })
}

/// Returns a whole number above 0. One beyond 64 bits is as good as the largest, because the deadline is bounded anyway.
fn millis(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let millis = is_number.then(|| text.parse().unwrap_or(u64::MAX))?;
    (millis > 0).then_some(millis)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn only_a_deadline_that_the_caller_names_bounds_a_stream() {
        let settings = ServerSettings::default();
        let of_header = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("3"));
            of(&headers, &settings).unwrap()
        };
        let read_timeout = of_header("x-stainless-read-timeout");
        assert_eq!(
            read_timeout,
            Deadline {
                time: Duration::from_secs(3),
                bounds_stream: false
            }
        );
        assert_eq!(
            of_header(DEADLINE),
            Deadline {
                time: Duration::from_millis(3),
                bounds_stream: true
            }
        );
        let default = of(&HeaderMap::new(), &settings).unwrap();
        assert!(!default.bounds_stream);
    }

    #[test]
    fn a_deadline_is_a_whole_number_however_large() {
        for (text, expected) in [
            ("1", Some(1)),
            ("99999999999999999999", Some(u64::MAX)),
            ("0", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("99999999999999999999x", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
