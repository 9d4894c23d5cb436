//! The time that a caller allows for its call.

use std::time::Duration;

use actix_web::http::header::HeaderMap;

use crate::{settings::ServerSettings, surface::error::ApiError};

/// Returns the time for the call: `x-kebne-deadline-ms`, the client library's header, or the default.
///
/// # Errors
/// Returns a 400 if `x-kebne-deadline-ms` is not a positive number.
pub(super) fn of(headers: &HeaderMap, settings: &ServerSettings) -> Result<Duration, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
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
