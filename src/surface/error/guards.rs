//! The errors of calls that a guard does not let pass.

use actix_web::http::StatusCode;
use kebne_guard::Side;

use super::ApiError;

impl ApiError {
    /// A rule or a check of a guard refuses what was asked, or what was answered.
    pub fn filtered(guard: &str, rule: &str, side: Side) -> Self {
        let what = match side {
            Side::Input => "the request",
            Side::Output => "the answer",
        };
        let message = format!("{what} is refused by the rule `{rule}` of the guard `{guard}`");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
            .code("content_filter")
            .never()
    }

    /// A call has a form or a size that a guard does not allow.
    pub fn guard_refused(guard: &str, why: &str) -> Self {
        let message = format!("the guard `{guard}` refuses the request: {why}");
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
            .code("guard_refused")
            .never()
    }

    /// An answer cannot be read by a guard.
    pub fn unguarded(why: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", why)
            .code("answer_not_checked")
            .never()
    }

    /// The service that checks texts gave no answer, and nothing passes without it.
    pub fn guard_unavailable(guard: &str, error: &impl std::fmt::Display) -> Self {
        let message = format!("the check of the guard `{guard}` is unavailable");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable_error", message)
            .code("guard_unavailable")
            .after(None)
            .detail_of(error)
    }

    /// A key names a guard that the settings no longer have.
    pub fn guard_missing(guard: &str) -> Self {
        let message = format!("the guard `{guard}` of this key does not exist");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable_error", message)
            .code("guard_unavailable")
            .never()
    }
}
