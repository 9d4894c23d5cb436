//! The errors of calls: refusals of lanes, and answers of backends.

use std::time::Duration;

use actix_web::http::StatusCode;
use bytes::Bytes;
use kebne_control::Outcome;
use kebne_lane::{CallError, Ending, Failure, PrewarmError, RefusalReason};
use kebne_servers::{Failing, FailureKind};
use kebne_wire::{
    error::{ErrorView, in_openai_shape},
    redact,
};
use serde_json::Value;

use crate::{
    backend::{failure::headers_of, reason},
    gateway::GatewayError,
    surface::error::{
        ApiError, NAME_SIZE_MAX, reasons,
        retry::{RETRY_AFTER_DEFAULT, RETRY_AFTER_MAX},
        shortened,
    },
};

impl ApiError {
    /// Returns the error for the result of a call through the gateway.
    pub fn from_gateway(error: &GatewayError) -> Self {
        match error {
            GatewayError::UnknownModel(name) => Self::unknown_model(name),
            GatewayError::UnsupportedInput { .. } => {
                Self::bad_request(Some("messages"), error.to_string()).code("unsupported_input")
            }
            GatewayError::NoReplica(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                "no replica of this model is known now",
            )
            .code("no_replicas")
            .ending_in(Ending::Shed)
            .after(None),
            GatewayError::NoServer(_) => {
                Self::bad_request(None, error.to_string()).code("no_server")
            }
            GatewayError::UnknownBackend(name) => {
                let name = shortened(name, NAME_SIZE_MAX);
                let mut error = Self::not_found(format!("the backend `{name}` does not exist"));
                error.code = Some("backend_not_found");
                error
            }
            GatewayError::Prewarm { error, .. } => match error {
                PrewarmError::Refused {
                    reason,
                    retry_after,
                } => Self::refused(*reason, *retry_after, None),
                PrewarmError::Closed => Self::lane_closed(),
                PrewarmError::Unset => Self::internal(error.to_string()).code("not_woken"),
                PrewarmError::NoAnswer => Self::no_answer(error.to_string()),
            },
            GatewayError::NoAnswer(_) => Self::no_answer(error.to_string()),
            GatewayError::ServerFails { failing, .. } => Self::server_fails(failing),
            GatewayError::Call {
                error,
                cause: Some(reason::UNREACHABLE),
                ..
            } => Self::from_call(error).unreachable(),
            GatewayError::Call {
                cause: Some(reason::OUT_OF_SERVICE),
                ..
            } => Self::lane_closed(),
            GatewayError::Call { error, .. } => Self::from_call(error),
        }
    }

    /// A lane whose actors are being replaced does not answer an operator; it will soon.
    fn no_answer(message: String) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let error = Self::new(status, "service_unavailable_error", message);
        error.code("no_answer").after(None)
    }

    /// The call counts in the ending that its lane counts.
    fn from_call(error: &CallError) -> Self {
        if let CallError::Failed { failure, .. } = error
            && let Some(error) = Self::of_agent(failure)
        {
            return error;
        }
        Self::answer_to(error).ending_in(error.ending())
    }

    fn answer_to(error: &CallError) -> Self {
        match error {
            CallError::Refused {
                reason,
                retry_after,
                ready_in,
            } => Self::refused(*reason, *retry_after, *ready_in),
            CallError::Failed { failure, .. } => Self::failed(failure),
            CallError::Timeout { what, .. } => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                format!("the backend did not answer in time (`{what}` timeout)"),
            )
            .code("upstream_timeout")
            .never(),
            CallError::Panicked { .. } => Self::attempt_lost(),
            CallError::Closed { .. } => Self::lane_closed(),
            // A call that was withdrawn is made at another replica, or fails there.
            CallError::Drained | CallError::Stopped | CallError::Withdrawn => Self::drained(),
        }
    }

    /// The deadline that the caller named passed before the stream ended.
    pub fn deadline_passed() -> Self {
        let message = "the deadline of the call (`x-kebne-deadline-ms`) passed before the answer was complete";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout_error", message)
            .code("deadline_exceeded")
            .ending_in(Ending::Timeout)
            .never()
    }

    /// The attempt panicked.
    pub fn attempt_lost() -> Self {
        Self::internal("the call was lost inside the gateway").code("attempt_lost")
    }

    /// The gateway stops.
    pub fn drained() -> Self {
        Self::refused(RefusalReason::Draining, None, None)
    }

    /// The backend's lane is closed until an operator opens it.
    fn lane_closed() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "this backend is out of service",
        )
        .code(reason::OUT_OF_SERVICE)
        .ending_in(Ending::Shed)
        .after(Some(RETRY_AFTER_MAX))
    }

    pub(super) fn refused(
        refusal: RefusalReason,
        retry_after: Option<Duration>,
        ready_in: Option<Duration>,
    ) -> Self {
        let (busy, none) = (
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        let (limit, away) = ("requests", "service_unavailable_error");
        let code = reason::of_refusal(refusal);
        let (status, kind, message) = match refusal {
            RefusalReason::QueueFull => (busy, limit, "too many calls are waiting"),
            RefusalReason::QueueBytes => (busy, limit, "the waiting calls take too many bytes"),
            RefusalReason::WaitTooLong => {
                (busy, limit, "the wait would be longer than the deadline")
            }
            RefusalReason::QueueTimeout => {
                (none, away, "the deadline passed while the call waited")
            }
            RefusalReason::Cold => (none, away, "the model is loading"),
            RefusalReason::Broken => (none, away, "the backend fails"),
            RefusalReason::Backoff => (none, away, "the backend requested a pause"),
            RefusalReason::Draining => (none, away, "this gateway is stopping"),
            RefusalReason::Quota => {
                return Self::new(busy, code, "the backend's quota is used up")
                    .code(code)
                    .ending_in(Ending::Shed)
                    .never();
            }
        };
        let mut error = Self::new(status, kind, message)
            .code(code)
            .ending_in(Ending::Shed)
            .after(retry_after);
        error.ready_in = ready_in;
        error
    }

    /// The server that the gateway starts fails. What it has written is in the log, because it may contain keys or names.
    fn server_fails(failing: &Failing) -> Self {
        let why = failing.kind.map_or("it fails", FailureKind::words);
        let again = match failing.again_in {
            None => "it is being started again".to_owned(),
            Some(wait) => format!("it is started again in {:.0} s", wait.as_secs_f64().ceil()),
        };
        let times = match failing.times {
            0 | 1 => String::new(),
            times => format!(" ({times} times in a row)"),
        };
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            format!("the model server does not start{times}: {why}; {again}"),
        )
        .code(reason::SERVER_FAILS)
        .ending_in(Ending::Shed)
        .after(failing.again_in.map(|wait| wait.max(RETRY_AFTER_DEFAULT)))
    }

    /// Changes the message of a refusal because the backend cannot be reached.
    fn unreachable(mut self) -> Self {
        "the backend cannot be reached".clone_into(&mut self.message);
        self.code(reason::UNREACHABLE)
    }

    /// The backend failed, and the lane has retried as often as is useful. The backend's text is sent to the caller
    /// only if the fault is the caller's own; otherwise it may contain keys, names or the text of another caller.
    pub fn failed(failure: &Failure) -> Self {
        let mut error = Self::of_outcome(failure);
        error.headers = headers_of(failure).cloned().map(Box::new);
        error
    }

    fn of_outcome(failure: &Failure) -> Self {
        match failure.outcome {
            Outcome::Client => Self::refused_by_backend(failure),
            Outcome::Quota { .. } => Self::refused(RefusalReason::Quota, None, None),
            Outcome::Misconfigured => {
                let message = "the backend does not accept this gateway's configuration";
                Self::upstream(message).code("backend_misconfigured")
            }
            Outcome::Timeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "timeout_error",
                "the backend did not answer in time",
            )
            .code("upstream_timeout")
            .ending_in(Ending::Timeout)
            .never(),
            Outcome::Unusable if failure.reason == Some(reason::NO_MEMORY) => Self::answers_full(),
            Outcome::Unusable if failure.reason == Some(reason::TOO_LARGE) => {
                Self::upstream("the backend's answer is larger than this gateway accepts")
            }
            Outcome::Unusable if failure.reason == Some(reason::LOOP) => Self::loop_detected(),
            Outcome::Unusable if failure.reason == Some(reason::REDIRECTED) => {
                Self::upstream("the backend redirects to another address")
            }
            Outcome::Unusable => Self::upstream("the backend's answer cannot be read"),
            _ if failure.reason == Some(reason::CUT) => {
                Self::upstream("the backend's answer is incomplete")
            }
            _ if failure.reason == Some(reason::UNREACHABLE) => {
                Self::upstream("the backend cannot be reached")
            }
            _ => Self::of_reason(failure.reason),
        }
    }

    /// The backend failed, and may have reported why in the middle of its answer.
    fn of_reason(reason: Option<&str>) -> Self {
        let (status, kind, code, message) = match reason {
            Some(reason::OVERLOADED) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                reason::OVERLOADED,
                "the backend was overloaded and ended its answer",
            ),
            Some(reason::LOADING) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                reason::LOADING,
                "the backend began to load its model and ended its answer",
            ),
            Some(reason::RATE_LIMITED) => (
                StatusCode::TOO_MANY_REQUESTS,
                "requests",
                reason::RATE_LIMITED,
                "the backend reached a rate limit and ended its answer",
            ),
            Some(reason::QUOTA) => (
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                reason::QUOTA,
                "the backend's quota is used up, and it ended its answer",
            ),
            _ => return Self::upstream("the backend failed"),
        };
        let error = Self::new(status, kind, message).code(code);
        error.ending_in(Ending::Error).never()
    }

    /// The answers of other calls use all the memory for answers.
    pub fn answers_full() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "the memory of this gateway for answers is used up",
        )
        .code(reason::NO_MEMORY)
        .ending_in(Ending::Shed)
        .after(None)
    }

    /// The backend refused the request itself, with a reason.
    fn refused_by_backend(failure: &Failure) -> Self {
        let status = failure
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .filter(|status| status.is_client_error() || *status == StatusCode::NOT_IMPLEMENTED);
        let body = failure.body.as_deref().unwrap_or_default();
        let view = ErrorView::of_refusal(body).unwrap_or_else(|| ErrorView {
            message: "the backend refused the request".to_owned(),
            ..ErrorView::default()
        });
        let mut error = Self::bad_request(view.param.as_deref(), "");
        error.message = redact::secrets(&view.message);
        error.status = status.unwrap_or(StatusCode::BAD_REQUEST);
        if error.status == StatusCode::PAYLOAD_TOO_LARGE {
            error = error.code("request_too_large");
        }
        // The header says what the body says, if it is one of the codes for faults of requests.
        let named = view.code.as_deref().and_then(reasons::of_request);
        error.code = named.or(error.code);
        let own = failure.body.as_ref().and_then(in_openai_shape);
        error.verbatim = own.as_ref().and_then(masked);
        error
    }

    /// The error of an agent of this gateway, whose words are its own: nothing of them is masked. `None` for other failures.
    fn of_agent(failure: &Failure) -> Option<Self> {
        let mut error = match failure.reason? {
            reason::AGENTS_FULL => Self::agents_full(&*failure.message),
            reason::AGENTS_UNAVAILABLE => Self::agents_unavailable(&failure.message),
            reason::AGENTS_DAMAGED => Self::agents_damaged(&failure.message),
            code @ (reason::AGENT_REFUSED | reason::AGENT_WITHOUT_ANSWER | reason::NOT_ALLOWED) => {
                Self::bad_request(None, &*failure.message).code(code)
            }
            code @ reason::QUOTA if failure.outcome == Outcome::Client => {
                Self::bad_request(None, &*failure.message)
                    .code(code)
                    .never()
            }
            _ => return None,
        };
        if let Some(body) = &failure.body {
            let view = ErrorView::of_refusal(body).unwrap_or_default();
            error.param = view.param;
            error.verbatim = Some(body.clone());
        }
        let status = failure
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        error.status = status.unwrap_or(error.status);
        error.headers = headers_of(failure).cloned().map(Box::new);
        Some(error)
    }

    /// The call was cut off when its backend may have begun to act: who makes it again may have it done twice.
    #[must_use]
    pub fn after_effects(mut self) -> Self {
        "this gateway stopped while the call was carried out; it may have had effects"
            .clone_into(&mut self.message);
        self.never()
    }

    /// The call has failed after a tool was called for it: who makes it again may have it called twice.
    #[cfg(feature = "mcp")]
    #[must_use]
    pub fn after_acts(self) -> Self {
        self.never()
    }

    /// The call has come back to a gateway that it had come through.
    pub fn loop_detected() -> Self {
        let message = "the call goes in a circle: a backend, a route's service or a guard leads back to a gateway that has sent the call";
        Self::new(StatusCode::LOOP_DETECTED, "server_error", message)
            .code(reason::LOOP)
            .never()
    }

    /// The backend failed; `message` is a fixed sentence.
    pub fn upstream(message: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", message)
            .code("upstream_error")
            .never()
    }
}

/// Returns the backend's error object with everything that looks like a secret masked. If nothing does, its bytes are
/// unchanged.
fn masked(body: &Bytes) -> Option<Bytes> {
    let mut value: Value = serde_json::from_slice(body).ok()?;
    if !mask(&mut value) {
        return Some(body.clone());
    }
    Some(value.to_string().into())
}

/// Masks every text in a value; returns `true` if one has changed.
fn mask(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let masked = redact::secrets(text);
            let has_changed = masked != *text;
            *text = masked;
            has_changed
        }
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |changed, item| mask(item) | changed),
        Value::Object(members) => members
            .values_mut()
            .fold(false, |changed, member| mask(member) | changed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::surface::{Surface as _, error::retry::Retry, messages::MESSAGES};

    #[test]
    fn a_backends_words_reach_the_caller_without_keys() {
        let say = |status: u16, body: &str| {
            let mut failure = Failure::new(Outcome::Client, "refused").with_status(status);
            failure.body = Some(Bytes::copy_from_slice(body.as_bytes()));
            ApiError::failed(&failure)
        };
        let own = json!({"error": {"message": "no model for sk-abcdefgh", "type": "t", "param": "model", "code": null, "inner": ["Bearer abc", 1]}});
        let error = say(404, &own.to_string());
        assert_eq!(error.status().as_u16(), 404);
        assert_eq!(error.message(), "no model for ***");
        let shown: Value = serde_json::from_slice(error.verbatim().unwrap()).unwrap();
        let expected = json!({"error": {"message": "no model for ***", "type": "t", "param": "model", "code": null, "inner": ["Bearer ***", 1]}});
        assert_eq!(shown, expected);
        let detail = r#"{"detail":[{"loc":["body","n"],"msg":"bad key hf_abcdefgh"}]}"#;
        let error = say(422, detail);
        assert!(!error.message().contains("abcdefgh"), "{}", error.message());
        // A caller's own texts and ids stay unchanged, byte by byte.
        let long = json!({"error": {"message": "too long", "type": "t", "param": null, "code": "context_length_exceeded"}});
        assert_eq!(
            say(400, &long.to_string()).reason(),
            "context_length_exceeded"
        );
        let filter = r#"{"error":{"message":"m","code":"content_filter"}}"#;
        assert_eq!(say(400, filter).reason(), "content_filter");
        assert_eq!(
            say(400, r#"{"error":{"message":"m","code":"queue_full"}}"#).reason(),
            "invalid_request_error"
        );
        let plain = r#"{"error": {"message":"no output for 'call_0123456789abcdef01234567', the call that this very long sentence is about","type":"t","param":null,"code":null}}"#;
        assert_eq!(say(400, plain).verbatim().unwrap(), plain);
        let anthropic = r#"{"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"r"}"#;
        let shown: Value = serde_json::from_slice(say(404, anthropic).verbatim().unwrap()).unwrap();
        let expected = json!({"error": {"message": "no", "type": "not_found_error", "param": null, "code": null}});
        assert_eq!(shown, expected);
        assert_eq!(say(422, "Failed to parse").message(), "Failed to parse");
        assert_eq!(say(400, r#"{"message":"m"}"#).message(), "m");
    }

    #[test]
    fn a_server_that_fails_is_said_with_the_time_of_its_next_start() {
        let failing = Failing {
            kind: Some(FailureKind::NotStarted),
            times: 3,
            again_in: Some(Duration::from_millis(3200)),
        };
        let error = ApiError::server_fails(&failing);
        assert_eq!(
            (error.status().as_u16(), error.reason()),
            (503, "server_fails")
        );
        let expected = "the model server does not start (3 times in a row): its program cannot be started; it is started again in 4 s";
        assert_eq!(error.message(), expected);
        assert_eq!(error.retry, Retry::After(Duration::from_millis(3200)));
    }

    #[test]
    fn a_refusal_in_the_middle_of_an_answer_keeps_its_kind() {
        for (reason, status, kind) in [
            (reason::OVERLOADED, 503, "overloaded_error"),
            (reason::LOADING, 503, "overloaded_error"),
            (reason::RATE_LIMITED, 429, "rate_limit_error"),
            (reason::QUOTA, 429, "rate_limit_error"),
        ] {
            let failure = Failure::new(Outcome::Fault, "x").because(reason);
            let error = ApiError::failed(&failure);
            assert_eq!(
                (error.status().as_u16(), error.reason(), error.ending()),
                (status, reason, Ending::Error)
            );
            let event = MESSAGES.error_event(&error, "r");
            let event = std::str::from_utf8(&event).unwrap();
            assert!(event.contains(kind), "{event}");
        }
    }
}
