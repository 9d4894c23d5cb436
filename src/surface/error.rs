//! The errors that callers receive, and the only place where status codes are chosen.
//!
//! 429: there is capacity, but not for this call now. 503: there is no capacity (cold, broken, draining). 504: the
//! call was admitted, and the backend did not answer in time. Retry hints are in (0, 60] seconds, because client
//! libraries give up or retry at once if they are longer; the body contains the true time.

mod cache;
mod from;
mod guards;
mod limits;
pub mod reasons;
mod response;
mod retry;
mod upstream;

use std::{borrow::Cow, time::Duration};

use actix_web::http::StatusCode;
use kebne_context::{
    ContextError,
    prompts::{PromptError, PromptStoreError},
    store::StoreError,
};
use kebne_lane::Ending;
use serde_json::{Value, json};

use retry::{RETRY_AFTER_DEFAULT, Retry};

/// The largest number of bytes of a message. Some messages quote data of the caller, which may be long.
const MESSAGE_SIZE_MAX: usize = 1 << 10;
/// The largest number of bytes of a name that a message quotes.
const NAME_SIZE_MAX: usize = 64;

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
    /// The ending of a call with this answer.
    ending: Ending,
    /// Details for the log, which are not sent to callers because they may contain names and paths of this machine.
    detail: Option<String>,
    /// The backend's own error object, passed on because the fault is the caller's.
    verbatim: Option<bytes::Bytes>,
    /// Headers of the backend's answer that are passed on.
    headers: Option<Box<http::HeaderMap>>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            code: None,
            param: None,
            message: shortened(&message.into(), MESSAGE_SIZE_MAX).into_owned(),
            retry: Retry::Unsaid,
            ready_in: None,
            ending: if status.is_client_error() {
                Ending::Rejected
            } else {
                Ending::Error
            },
            detail: None,
            verbatim: None,
            headers: None,
        }
    }

    /// Sets the machine-readable reason; each is listed in [`reasons`].
    fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    fn ending_in(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    pub(crate) fn detail_of(mut self, error: &impl std::fmt::Display) -> Self {
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

    /// The key does not permit the request; `param` names the header or field.
    pub fn not_allowed(param: &str, message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message);
        error.param = Some(param.to_owned());
        error.code("not_allowed")
    }

    /// The key lacks the required scope.
    pub fn insufficient_scope(needed: &str) -> Self {
        let message = format!("this key lacks the scope `{needed}`");
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
            .code("insufficient_scope")
    }

    /// The key does not permit this model.
    pub fn model_not_allowed(model: &str) -> Self {
        let message = format!("this key may not call the model `{model}`");
        Self::not_allowed("model", message).code("model_not_allowed")
    }

    /// The key permits neither a route nor the model that the route has chosen.
    pub fn route_not_allowed(route: &str, model: &str) -> Self {
        let message = format!(
            "the route `{route}` leads to the model `{model}`, and this key may call neither of them"
        );
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

    /// The requested resource does not exist, or belongs to another tenant.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message).code("not_found")
    }

    /// The model does not exist.
    pub fn unknown_model(name: &str) -> Self {
        let name = shortened(name, NAME_SIZE_MAX);
        let mut error = Self::not_found(format!("the model `{name}` does not exist"));
        error.code = Some("model_not_found");
        error.param = Some("model".to_owned());
        error
    }

    /// The function does not exist.
    pub fn unknown_function(name: &str) -> Self {
        let name = shortened(name, NAME_SIZE_MAX);
        Self::not_found(format!("the function `{name}` does not exist"))
    }

    /// The tool of an MCP server was not approved.
    #[cfg(feature = "mcp")]
    pub fn tool_held(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "invalid_request_error", message).code("tool_held")
    }

    /// The request cannot be served because of something that is still going on.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "invalid_request_error", message).code("conflict")
    }

    /// The path exists, but the method does not.
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            "this path does not have this method",
        )
    }

    /// The body is larger than the bound.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the request body is larger than {limit} bytes"),
        )
        .code("request_too_large")
    }

    /// A file is larger than the bound of files.
    pub fn file_too_large(name: &str, limit: usize) -> Self {
        let name = shortened(name, NAME_SIZE_MAX);
        let mut error = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            format!("the file `{name}` is larger than {limit} bytes (`collections.file_size_max`)"),
        );
        error.param = Some("file".to_owned());
        error.code("request_too_large")
    }

    /// The bodies of other requests use all the memory for bodies.
    pub fn no_memory() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "the memory of this gateway for request bodies is used up",
        )
        .code("bodies_full")
        .ending_in(Ending::Shed)
        .after(None)
    }

    /// The body has a content encoding that is not decoded.
    pub fn unsupported_encoding(message: String) -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, "invalid_request_error", message).code("unsupported_encoding")
    }

    /// The body did not arrive in time.
    pub fn slow_request() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid_request_error",
            "the request body did not arrive in time",
        )
    }

    /// The prompt could not be rendered.
    pub fn prompt(error: &PromptError) -> Self {
        let message = error.to_string();
        match error {
            PromptError::Unknown(_) | PromptError::NotLive(_) => {
                let mut error = Self::not_found(message).code("prompt_not_found");
                error.param = Some("prompt".to_owned());
                error
            }
            PromptError::Unread(name) => PromptStoreError::Failed(name.clone()).into(),
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

    /// The model answered, but its turn could not be kept because of this error. A quota that calls at the same time
    /// have used up, or that the answer exceeds, and a rewind of the session keep their own status and code.
    pub fn not_kept_because(error: ContextError) -> Self {
        let has_own = matches!(
            error,
            ContextError::Store(
                StoreError::BytesFull { .. } | StoreError::TurnsFull | StoreError::Changed
            )
        );
        let error = Self::from(error);
        let mut not_kept = Self::not_kept(&error.message);
        if has_own {
            return Self {
                message: not_kept.message,
                retry: not_kept.retry,
                ..error
            };
        }
        not_kept.detail = error.detail;
        not_kept
    }

    /// A part of the gateway failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// A part of the gateway panicked on this request.
    pub fn panicked() -> Self {
        Self::internal("the service failed on this request").ending_in(Ending::Panic)
    }

    /// Returns the message for the caller. It contains the backend's text only if the fault is the caller's own.
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

    /// Returns the details for the log, which are not sent to callers.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Returns the ending of a call with this answer.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Returns the backend's own error object, if it is to be passed on.
    pub fn verbatim(&self) -> Option<&bytes::Bytes> {
        self.verbatim.as_ref()
    }
}

/// Returns a text of at most `size_max` bytes and an ellipsis.
fn shortened(text: &str, size_max: usize) -> Cow<'_, str> {
    if text.len() <= size_max {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(size_max)]).into()
}

#[cfg(test)]
mod tests {
    use kebne_lane::RefusalReason;

    use super::*;

    #[test]
    fn what_a_caller_has_sent_is_quoted_in_part() {
        let name = "ö".repeat(5000);
        for error in [
            ApiError::unknown_model(&name),
            ApiError::bad_request(None, name.clone()),
            ApiError::from(crate::conversations::ConversationError::NotFound(
                name.clone(),
            )),
        ] {
            assert!(error.message().len() < 1100, "{}", error.message().len());
        }
        assert!(ApiError::unknown_model(&name).message().len() < 120);
    }

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
    fn a_quota_that_is_used_up_when_the_turn_is_kept_has_its_own_error() {
        for (error, status, code) in [
            (
                StoreError::BytesFull { bytes_max: 1 },
                429,
                "session_bytes_full",
            ),
            (StoreError::TurnsFull, 409, "session_full"),
            (StoreError::Changed, 409, "session_changed"),
            (StoreError::Busy, 500, "turn_not_kept"),
        ] {
            let error = ApiError::not_kept_because(ContextError::Store(error));
            assert_eq!((error.status().as_u16(), error.reason()), (status, code));
            let message = error.message();
            assert!(message.starts_with("the model answered"), "{message}");
            let response = error.response(&crate::surface::openai::CHAT, "id", 0.3);
            assert_eq!(response.headers().get("x-should-retry").unwrap(), "false");
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
