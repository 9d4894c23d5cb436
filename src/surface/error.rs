//! The errors that callers receive, and the only place where status codes are chosen.
//!
//! 429: there is capacity, but not for this call now. 503: there is no capacity (cold, broken, draining).
//! 504: admitted, and the backend did not answer in time. Retry hints lie in (0, 60] seconds, because the
//! client libraries give up or storm beyond that; the true time is in the body.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use kebne_context::{ContextError, prompts::PromptError, store::StoreError};
use kebne_control::Outcome;
use kebne_lane::{CallError, Ending, Failure, PrewarmError, RefusalReason};
use kebne_wire::{
    error::ErrorView,
    request::RequestError,
    translate::{BadAnswer, InvalidField},
    turn::TurnError,
};
use serde_json::{Value, json};

use crate::{
    backend::reason, conversations::ConversationError, gateway::GatewayError, surface::Surface,
};

/// The longest hint that client libraries follow.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// The shortest hint: a client that comes back at once learns nothing new.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);
/// The hint when nothing better is known.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// Share by which hints are spread, so that callers do not come back in one wave.
const RETRY_SPREAD: f64 = 0.25;

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Retry {
    /// The caller's own rules apply.
    Unsaid,
    /// Not at all: it would be useless, or has been done.
    Never,
    /// After this time.
    After(Duration),
}

/// An error answer.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    retry: Retry,
    ready_in: Option<Duration>,
    /// How a call ends that gets this answer.
    ending: Ending,
    /// What operators read in the log and callers do not: it may hold names and paths of this machine.
    detail: Option<String>,
    /// The backend's own error object, passed on because the fault is the caller's.
    verbatim: Option<bytes::Bytes>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry: Retry::Unsaid,
            ready_in: None,
            ending: if status.is_client_error() {
                Ending::Rejected
            } else {
                Ending::Error
            },
            detail: None,
            verbatim: None,
        }
    }

    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn ending_in(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    fn detail_of(mut self, error: &impl std::fmt::Display) -> Self {
        self.detail = Some(error.to_string());
        self
    }

    fn never(mut self) -> Self {
        self.retry = Retry::Never;
        self
    }

    fn after(mut self, after: Option<Duration>) -> Self {
        self.retry = Retry::After(after.unwrap_or(RETRY_AFTER_DEFAULT));
        self
    }

    /// The request is wrong; `param` names the field.
    pub fn bad_request(param: Option<&str>, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message);
        error.param = param.map(str::to_owned);
        error
    }

    /// The key is missing or unknown.
    pub fn unauthorized() -> Self {
        let message = "a valid API key is needed: `Authorization: Bearer <key>`";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message)
            .code("invalid_api_key")
    }

    /// The key may not do that; `param` names what it asked for.
    pub fn not_allowed(param: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message);
        error.param = Some(param.to_owned());
        error.code("not_allowed")
    }

    /// The key may do other things only.
    pub fn insufficient_scope(needed: &str) -> Self {
        let message = format!("this key lacks the scope `{needed}`");
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
            .code("insufficient_scope")
    }

    /// The key may call other models only.
    pub fn model_not_allowed(model: &str) -> Self {
        let message = format!("this key may not call the model `{model}`");
        Self::not_allowed("model", message).code("model_not_allowed")
    }

    /// The request names a host that is not this machine.
    pub fn foreign_host() -> Self {
        let message =
            "without API keys, the host must be a loopback address or one of `server.hosts`";
        Self::not_allowed("host", message).code("host_not_allowed")
    }

    /// A web page of another origin sent the request.
    pub fn foreign_origin() -> Self {
        let message = "without API keys, web pages of other origins are refused unless `server.cors_origins` names them";
        Self::not_allowed("origin", message).code("origin_not_allowed")
    }

    /// The body is not JSON.
    pub fn not_json() -> Self {
        let message = "the content type must be `application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "invalid_request_error", message).code("unsupported_content_type")
    }

    /// The thing asked for does not exist, or is another's.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
    }

    /// The model does not exist.
    pub fn unknown_model(name: &str) -> Self {
        let mut error = Self::not_found(format!("the model `{name}` does not exist"));
        error.code = Some("model_not_found");
        error.param = Some("model".to_owned());
        error
    }

    /// The path exists, the method does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "this path does not know this method",
        )
    }

    /// The body is larger than is read.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the request body is larger than {limit} bytes"),
        )
        .code("request_too_large")
    }

    /// The bodies of other requests take all the memory that bodies may take.
    pub fn no_memory() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "this gateway holds as many bytes of requests as it may",
        )
        .code("bodies_full")
        .ending_in(Ending::Shed)
        .after(None)
    }

    /// The answers of other calls take all the memory that answers may take.
    fn answers_full() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "this gateway holds as many bytes of answers as it may",
        )
        .code(reason::NO_MEMORY)
        .ending_in(Ending::Shed)
        .after(None)
    }

    /// The body has a content encoding that is not decoded.
    pub fn unsupported_encoding(message: String) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "invalid_request_error", message).code("unsupported_encoding")
    }

    /// The body did not come in time.
    pub fn slow_request() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            "the request body did not arrive in time",
        )
    }

    /// A prompt made no text.
    pub fn prompt(error: &PromptError) -> Self {
        let message = error.to_string();
        match error {
            PromptError::Unknown(_) => Self::not_found(message).code("prompt_not_found"),
            PromptError::Undefined { .. } | PromptError::Failed { .. } => {
                Self::bad_request(Some("prompt"), message).code("prompt_failed")
            }
        }
    }

    /// The model answered, and its turn could not be kept.
    pub fn not_kept(why: &str) -> Self {
        let message = format!("the model answered, but the turn was not kept: {why}");
        Self::internal(message).code("turn_not_kept").never()
    }

    /// The model answered, and its turn could not be kept because of this error.
    pub fn not_kept_because(error: ContextError) -> Self {
        let error = Self::from(error);
        let mut not_kept = Self::not_kept(&error.message);
        not_kept.detail = error.detail;
        not_kept
    }

    /// Something of ours failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// A part of ours panicked on this request.
    pub fn panicked() -> Self {
        Self::internal("the service failed on this request").ending_in(Ending::Panic)
    }

    /// What a call through the gateway ended in.
    pub fn from_gateway(error: &GatewayError) -> Self {
        match error {
            GatewayError::UnknownModel(name) => Self::unknown_model(name),
            GatewayError::UnsupportedInput { .. } => {
                Self::bad_request(Some("messages"), error.to_string()).code("unsupported_input")
            }
            GatewayError::UnknownBackend(name) => {
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
                PrewarmError::Unset | PrewarmError::NoAnswer => {
                    Self::internal(error.to_string()).code("not_woken")
                }
            },
            GatewayError::NoAnswer(_) => Self::internal(error.to_string()).code("no_answer"),
            GatewayError::Call {
                error,
                cause: Some(reason::UNREACHABLE),
                ..
            } => Self::from_call(error).unreachable(),
            GatewayError::Call { error, .. } => Self::from_call(error),
        }
    }

    fn from_call(error: &CallError) -> Self {
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
            .ending_in(Ending::Timeout)
            .never(),
            CallError::Panicked { .. } => Self::internal("the call was lost inside the gateway")
                .code("attempt_lost")
                .ending_in(Ending::Panic),
            CallError::Closed { .. } => Self::lane_closed().ending_in(error.ending()),
            CallError::Drained | CallError::Stopped => {
                Self::refused(RefusalReason::Draining, None, None).ending_in(Ending::Drained)
            }
        }
    }

    /// The backend's lane is closed until an operator opens it.
    fn lane_closed() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "this backend is out of service",
        )
        .code("lane_closed")
        .ending_in(Ending::Shed)
        .after(Some(RETRY_AFTER_MAX))
    }

    fn refused(
        reason: RefusalReason,
        retry_after: Option<Duration>,
        ready_in: Option<Duration>,
    ) -> Self {
        let (busy, none) = (
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        );
        let (limit, away) = ("requests", "service_unavailable_error");
        let (status, kind, code, message) = match reason {
            RefusalReason::QueueFull => (busy, limit, "queue_full", "too many calls wait already"),
            RefusalReason::QueueBytes => (
                busy,
                limit,
                "queue_full",
                "the waiting calls hold too many bytes",
            ),
            RefusalReason::WaitTooLong => (
                busy,
                limit,
                "wait_too_long",
                "the wait would outlast the deadline",
            ),
            RefusalReason::QueueTimeout => (
                none,
                away,
                "queue_timeout",
                "the deadline passed while the call waited",
            ),
            RefusalReason::Cold => (none, away, "model_loading", "the model is loading"),
            RefusalReason::Broken => (none, away, "backend_broken", "the backend fails"),
            RefusalReason::Backoff => (
                none,
                away,
                "server_is_overloaded",
                "the backend asked for a pause",
            ),
            RefusalReason::Draining => (none, away, "draining", "this gateway is stopping"),
            RefusalReason::Quota => {
                let message = "the backend's quota is used up";
                return Self::new(busy, "insufficient_quota", message)
                    .code("insufficient_quota")
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

    /// Says of a refusal that the backend cannot be reached.
    fn unreachable(mut self) -> Self {
        "the backend cannot be reached".clone_into(&mut self.message);
        self.code(reason::UNREACHABLE)
    }

    /// The backend failed, and the lane has tried as often as is sensible. What the backend said reaches the caller only
    /// when the fault is the caller's own; in all other cases it may hold keys, names or another caller's words.
    pub fn failed(failure: &Failure) -> Self {
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
            Outcome::Unusable if failure.reason == Some(reason::REDIRECTED) => {
                Self::upstream("the backend redirects to another address")
            }
            Outcome::Unusable => Self::upstream("the backend's answer cannot be read"),
            _ if failure.reason == Some(reason::CUT) => {
                Self::upstream("the backend's answer broke off")
            }
            _ if failure.reason == Some(reason::UNREACHABLE) => {
                Self::upstream("the backend cannot be reached")
            }
            _ => Self::upstream("the backend failed"),
        }
    }

    /// The backend refused the request itself, and said why.
    fn refused_by_backend(failure: &Failure) -> Self {
        let status = failure
            .status
            .and_then(|status| StatusCode::from_u16(status).ok())
            .filter(|status| status.is_client_error() || *status == StatusCode::NOT_IMPLEMENTED);
        let body = failure.body.as_deref().unwrap_or_default();
        let view = ErrorView::read(body).filter(|view| !view.message.is_empty());
        let is_own_shape = serde_json::from_slice::<Value>(body)
            .is_ok_and(|body| body["error"]["message"].is_string());
        let view = view.unwrap_or_else(|| ErrorView {
            message: "the backend refused the request".to_owned(),
            ..ErrorView::default()
        });
        let mut error = Self::bad_request(view.param.as_deref(), view.message);
        error.status = status.unwrap_or(StatusCode::BAD_REQUEST);
        if error.status == StatusCode::PAYLOAD_TOO_LARGE {
            error = error.code("request_too_large");
        }
        error.verbatim = failure.body.clone().filter(|_| is_own_shape);
        error
    }

    /// The backend failed in a way that a fixed sentence describes.
    pub fn upstream(message: &str) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "server_error", message)
            .code("upstream_error")
            .never()
    }

    /// Returns what is said to the caller: the backend's words only when the fault is the caller's own.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the machine-readable reason.
    pub fn reason(&self) -> &'static str {
        self.code.unwrap_or(self.kind)
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the error object with its four keys, and the true time until the backend is ready if known.
    pub fn body(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        });
        if let (Some(ready_in), Some(object)) = (self.ready_in, error.as_object_mut()) {
            object.insert("estimated_time".to_owned(), json!(ready_in.as_secs_f64()));
        }
        json!({ "error": error })
    }

    /// Returns what is written to the log and kept from callers.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Returns how a call ends that gets this answer.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Returns the backend's own error object, if it is to be passed on.
    pub fn verbatim(&self) -> Option<&bytes::Bytes> {
        self.verbatim.as_ref()
    }

    /// Returns the response in the dialect of `surface`; `chance`, in `[0, 1)`, spreads the hint.
    pub fn response(&self, surface: &dyn Surface, request_id: &str, chance: f64) -> HttpResponse {
        let mut response = HttpResponse::build(surface.status(self));
        response.insert_header(("x-kebne-reason", self.reason()));
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                response.insert_header(("x-should-retry", "false"));
            }
            Retry::After(after) => {
                let (seconds, millis) = hint(after, chance);
                response.insert_header((header::RETRY_AFTER, seconds));
                response.insert_header(("retry-after-ms", millis));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if self.leaves_body_unread() {
            response.force_close();
        }
        response
            .content_type(header::ContentType::json())
            .body(surface.error_body(self, request_id))
    }

    /// Returns `true` if the rest of the request's body may never come or is not wanted: the connection is closed then.
    fn leaves_body_unread(&self) -> bool {
        let unread = [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE];
        unread.contains(&self.status) || self.code == Some("bodies_full")
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::bad_request(error.param.as_deref(), error.message)
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        Self::bad_request(Some(error.param), error.message)
    }
}

impl From<InvalidField> for ApiError {
    fn from(error: InvalidField) -> Self {
        Self::bad_request(Some(&error.field), error.to_string())
    }
}

impl From<BadAnswer> for ApiError {
    fn from(error: BadAnswer) -> Self {
        // What the backend said is in the log; it may hold keys or names.
        match error {
            BadAnswer::Incomplete => Self::upstream("the backend's answer broke off"),
            BadAnswer::TooLarge(_) => {
                Self::upstream("the backend's answer is larger than this gateway accepts")
            }
            BadAnswer::NotJson(_) | BadAnswer::Lacks(_) | BadAnswer::Contradicts(_) => {
                Self::upstream("the backend's answer cannot be read")
            }
            BadAnswer::Reported(_) => Self::upstream("the backend failed"),
        }
    }
}

impl From<ConversationError> for ApiError {
    fn from(error: ConversationError) -> Self {
        let message = error.to_string();
        let param = "previous_response_id";
        match error {
            ConversationError::NotFound(_) => {
                let mut error = Self::not_found(message).code("response_not_found");
                error.param = Some(param.to_owned());
                error
            }
            ConversationError::TooLong => {
                Self::bad_request(Some(param), message).code("context_length_exceeded")
            }
            ConversationError::NotKept(why) => Self::not_kept(why),
            ConversationError::Context(error) => error.into(),
        }
    }
}

impl From<ContextError> for ApiError {
    fn from(error: ContextError) -> Self {
        let message = error.to_string();
        let conflict = |status, code| {
            let error = Self::new(status, "invalid_request_error", message.clone());
            error.code(code).never()
        };
        match error {
            ContextError::Store(StoreError::NoSuchSession) => {
                let mut error = Self::not_found(message).code("session_not_found");
                error.param = Some("x-kebne-session".to_owned());
                error
            }
            ContextError::Store(StoreError::Full) => {
                conflict(StatusCode::TOO_MANY_REQUESTS, "too_many_sessions")
            }
            ContextError::Store(StoreError::BytesFull { .. }) => {
                conflict(StatusCode::TOO_MANY_REQUESTS, "session_bytes_full")
            }
            ContextError::Store(StoreError::TurnsFull) => {
                conflict(StatusCode::CONFLICT, "session_full")
            }
            ContextError::Store(StoreError::Damaged(_)) => {
                Self::internal("what the session store holds cannot be read")
                    .code("session_store_damaged")
                    .detail_of(&message)
                    .never()
            }
            ContextError::Store(StoreError::Failed(_) | StoreError::Lost)
            | ContextError::NoAnswer(_) => {
                let away = StatusCode::SERVICE_UNAVAILABLE;
                let sentence = "the session store does not answer";
                Self::new(away, "service_unavailable_error", sentence)
                    .code("session_store_unavailable")
                    .detail_of(&message)
                    .after(None)
            }
        }
    }
}

/// Returns whole seconds and milliseconds of a hint, both in (0, 60] s, spread upwards.
fn hint(after: Duration, chance: f64) -> (u64, u64) {
    let spread = after.mul_f64(1.0 + RETRY_SPREAD * chance);
    let bounded = if spread < RETRY_AFTER_MAX {
        spread.max(RETRY_AFTER_MIN)
    } else {
        // At the bound the spread goes downwards, or all would come back in the same second.
        RETRY_AFTER_MAX.mul_f64(1.0 - RETRY_SPREAD * chance)
    };
    let millis = u64::try_from(bounded.as_millis()).unwrap_or(60_000);
    (millis.div_ceil(1000), millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_says_is_for_the_log_only() {
        let text = "disk I/O error: /var/lib/kebne/sessions.sqlite";
        for make in [StoreError::Failed, StoreError::Damaged] {
            let error = ContextError::Store(make(text.to_owned()));
            for error in [
                ApiError::from(error.clone()),
                ApiError::not_kept_because(error),
            ] {
                assert!(!error.body().to_string().contains("sqlite"), "{error:?}");
                assert!(error.detail().unwrap().contains(text), "{error:?}");
            }
        }
    }

    #[test]
    fn hints_lie_above_zero_and_at_most_at_sixty_seconds() {
        for millis in [0, 1, 999, 1000, 59_999, 60_000, 3_600_000] {
            for chance in [0.0, 0.5, 0.999] {
                let (seconds, ms) = hint(Duration::from_millis(millis), chance);
                assert!((1..=60).contains(&seconds), "{millis} {seconds}");
                assert!((1..=60_000).contains(&ms), "{millis} {ms}");
                assert!(ms <= seconds * 1000);
            }
        }
    }

    #[test]
    fn every_refusal_has_its_status_reason_and_hint() {
        let table = [
            (RefusalReason::QueueFull, 429, "queue_full", true),
            (RefusalReason::QueueBytes, 429, "queue_full", true),
            (RefusalReason::WaitTooLong, 429, "wait_too_long", true),
            (RefusalReason::QueueTimeout, 503, "queue_timeout", true),
            (RefusalReason::Cold, 503, "model_loading", true),
            (RefusalReason::Broken, 503, "backend_broken", true),
            (RefusalReason::Backoff, 503, "server_is_overloaded", true),
            (RefusalReason::Draining, 503, "draining", true),
            (RefusalReason::Quota, 429, "insufficient_quota", false),
        ];
        for (reason, status, code, hinted) in table {
            let error = ApiError::refused(reason, Some(Duration::from_secs(90)), None);
            let response = error.response(&crate::surface::openai::CHAT, "id", 0.3);
            assert_eq!(response.status().as_u16(), status, "{reason:?}");
            assert_eq!(error.reason(), code);
            let headers = response.headers();
            assert_eq!(headers.contains_key("retry-after"), hinted, "{reason:?}");
            assert_eq!(
                headers.contains_key("x-should-retry"),
                !hinted,
                "{reason:?}"
            );
            let body = error.body();
            for key in ["message", "type", "param", "code"] {
                assert!(body["error"].get(key).is_some(), "{reason:?} lacks {key}");
            }
        }
    }
}
