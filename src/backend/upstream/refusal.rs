//! Classifies an answer that is not a success.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{
    classify::{ErrorResponse, classify},
    error::ErrorView,
    passed_headers, quota, redact,
};

use super::{Incoming, Upstream, redirect, response::Response};
use crate::backend::{
    failure,
    reason::{LOOP, REDIRECTED, UNREACHABLE},
};

/// The bytes of an error's body that are read. Validation errors of `FastAPI` contain the input, so they can be as large as
/// a prompt.
const ERROR_SIZE_MAX: usize = 1 << 20;

/// The time for the body of an error. After it the body is not read, because the status is sufficient.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

impl Upstream {
    /// Classifies an answer that is not a success.
    pub(super) async fn refused(&self, response: Response, proven: bool) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        let location = redirect::location(&response);
        let body = Incoming::of(response, ERROR_SIZE_MAX, self.answers.share());
        let read = tokio::time::timeout(ERROR_BODY_TIMEOUT, body.read_some(ERROR_SIZE_MAX)).await;
        let mut body = read.unwrap_or_default();
        // A key that is only partly masked would no longer be found.
        self.secrets.hide(&mut body);
        let now = SystemTime::now();
        let outcome = classify(&ErrorResponse {
            status,
            headers: &headers,
            body: &body,
            proven,
            cold_statuses: &self.cold_statuses,
            now,
        });
        let is_own = self.is_function
            && !matches!(outcome, Outcome::Cold { .. })
            && kebne_functions::is_own_refusal(status.as_u16(), &body);
        let outcome = if is_own { Outcome::Client } else { outcome };
        let id = passed_headers::upstream_id(&headers);
        let message = describe(status, &body, location.as_deref(), id);
        let mut failure = Failure::new(outcome, message).with_status(status.as_u16());
        let is_no_server = status == StatusCode::BAD_GATEWAY && ErrorView::read(&body).is_none();
        failure.reason = match outcome {
            _ if status.is_redirection() => Some(REDIRECTED),
            _ if status == StatusCode::LOOP_DETECTED => Some(LOOP),
            // A proxy reports that there is no server behind it.
            Outcome::Absent { .. } | Outcome::Fault if is_no_server => Some(UNREACHABLE),
            _ => None,
        };
        failure.quota = quota::hints(&headers, now);
        failure.body = Some(body).filter(|_| outcome == Outcome::Client);
        failure::with_headers(failure, self.passed(&headers))
    }
}

/// Describes a refusal for the log: the status, the backend's text, and the backend's own id of the call.
fn describe(status: StatusCode, body: &[u8], location: Option<&str>, id: Option<&str>) -> String {
    let mut message = format!("the backend answered with status {status}");
    let text = failure::error_text(body);
    if !text.is_empty() {
        message = format!("{message}: {text}");
    }
    if let Some(location) = location {
        message = format!("{message} (to `{location}`)");
    }
    match id {
        Some(id) => format!(
            "{message} (the backend's request id: `{}`)",
            redact::text(id)
        ),
        None => message,
    }
}
