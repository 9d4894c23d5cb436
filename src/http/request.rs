//! Reads what the service needs from a request's headers: its id and its deadline.

use std::{sync::Arc, time::Duration};

use actix_web::{HttpRequest, http::header::HeaderMap};

use crate::{http::error::ApiError, settings::ServerSettings};

/// The longest request id that is taken over from a caller.
const REQUEST_ID_MAX: usize = 128;

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

/// Returns the time that the caller allows for the call: `x-kebne-deadline-ms`, the client library's header, or the default.
///
/// # Errors
/// A 400 when `x-kebne-deadline-ms` is not a positive number.
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
