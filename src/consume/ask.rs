//! How a call is made: a request to this gateway, like that of any client.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Response, header::RETRY_AFTER};
use serde_json::Value;

use crate::{
    backend::upstream::client,
    consume::call::Call,
    settings::{ConsumeSettings, Environment, secret_file},
};

/// The time to connect to this gateway.
const CONNECT: Duration = Duration::from_secs(5);
/// The time beyond the deadline of a call in which the gateway must have answered.
const SLACK: Duration = Duration::from_secs(15);
/// The shortest and the longest wait before a call that was refused is made again.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(1));
/// The wait after a refusal that an operator must end.
const OPERATOR_WAIT: Duration = Duration::from_secs(30);

/// Makes calls.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    url: String,
    key: Option<String>,
    deadline: Duration,
}

/// The reason why no calls can be made.
#[derive(Debug, thiserror::Error)]
pub enum AskerError {
    /// The key cannot be read.
    #[error("`consume.{key}`: {reason}")]
    Key {
        /// The setting.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// The client cannot be made.
    #[error("the HTTP client of `kebne consume` cannot be made: {0}")]
    Client(#[from] reqwest::Error),
}

/// How a try has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// There is an answer.
    Answered {
        /// The body.
        body: Bytes,
        /// The id of the request.
        request: Option<String>,
    },
    /// It would fail again, because of the call itself.
    Refused {
        /// The status.
        status: u16,
        /// The reason code.
        reason: String,
        /// The message to the caller.
        message: String,
    },
    /// It failed, and may succeed the next time.
    Failed {
        /// The status; 0 without an answer.
        status: u16,
        /// The reason code.
        reason: String,
        /// The message to the caller.
        message: String,
    },
    /// It was not admitted; it may be made again after this time.
    PutOff(Duration),
}

impl Asker {
    /// Creates what makes calls to the gateway that listens at `address`, without TLS.
    ///
    /// # Errors
    /// See [`AskerError`].
    pub fn new(
        settings: &ConsumeSettings,
        environment: &dyn Environment,
        address: SocketAddr,
    ) -> Result<Self, AskerError> {
        let mut address = address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => [127, 0, 0, 1].into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self {
            client: client(CONNECT, false)?,
            url: format!("http://{address}{}", settings.path),
            key: key(settings, environment)?,
            deadline: settings.deadline.0,
        })
    }

    /// Makes a call.
    pub(super) async fn ask(&self, call: &Call) -> Asked {
        let mut request = self
            .client
            .post(&self.url)
            .timeout(self.deadline + SLACK)
            .header("content-type", "application/json")
            .header("x-kebne-deadline-ms", self.deadline.as_millis().to_string())
            .body(call.body.clone());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(session) = &call.session {
            request = request.header("x-kebne-session", session);
        }
        if let Some(tenant) = &call.tenant {
            request = request.header("x-kebne-tenant", tenant);
        }
        match request.send().await {
            Ok(response) => read(response).await,
            Err(error) if error.is_builder() => Asked::Refused {
                status: 0,
                reason: "invalid_event".to_owned(),
                message: "an attribute of the event cannot be a header".to_owned(),
            },
            Err(error) if error.is_connect() => Asked::PutOff(Duration::from_secs(1)),
            Err(error) => broken(&error),
        }
    }
}

/// Without the key.
impl fmt::Debug for Asker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Asker");
        shown.field("url", &self.url).finish_non_exhaustive()
    }
}

fn key(
    settings: &ConsumeSettings,
    environment: &dyn Environment,
) -> Result<Option<String>, AskerError> {
    if let Some(path) = &settings.key_file {
        let read = secret_file::read(path).map(Some);
        return read.map_err(|error| AskerError::Key {
            key: "key_file",
            reason: error.to_string(),
        });
    }
    let Some(variable) = &settings.key_env else {
        return Ok(None);
    };
    let wrong = |reason| AskerError::Key {
        key: "key_env",
        reason,
    };
    let key = environment.get(variable);
    let key = key.map_err(|error| wrong(error.to_string()))?;
    let missing = || wrong(format!("the variable `{variable}` is not set"));
    key.ok_or_else(missing).map(Some)
}

fn broken(error: &reqwest::Error) -> Asked {
    Asked::Failed {
        status: 0,
        reason: "no_answer".to_owned(),
        message: error.to_string(),
    }
}

async fn read(response: Response) -> Asked {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (request, reason) = (header("x-request-id"), header("x-kebne-reason"));
    let reason = reason.unwrap_or_default();
    let wait = header(RETRY_AFTER.as_str()).and_then(|wait| wait.parse().ok());
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return broken(&error),
    };
    match Verdict::of(status, &reason) {
        Verdict::Answer => Asked::Answered { body, request },
        Verdict::PutOff => {
            let wait = wait.map_or(Duration::from_secs(1), Duration::from_secs);
            Asked::PutOff(wait.clamp(WAITS.0, WAITS.1))
        }
        Verdict::Operator => {
            tracing::error!(status, reason, "the calls of `kebne consume` are refused");
            Asked::PutOff(OPERATOR_WAIT)
        }
        Verdict::Refusal => Asked::Refused {
            status,
            reason,
            message: said(&body),
        },
        Verdict::Failure => Asked::Failed {
            status,
            reason,
            message: said(&body),
        },
    }
}

/// What an answer means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Answer,
    PutOff,
    Operator,
    Refusal,
    Failure,
}

impl Verdict {
    fn of(status: u16, reason: &str) -> Self {
        match (status, reason) {
            (200..=299, _) => Self::Answer,
            (429 | 503 | 529, _) => Self::PutOff,
            (403, "model_not_allowed") => Self::Refusal,
            (401 | 403, _) => Self::Operator,
            (400..=499, _) if status != 408 => Self::Refusal,
            _ => Self::Failure,
        }
    }
}

/// Returns the message in the body of an error.
fn said(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body["error"]["message"].as_str();
    message.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_call_itself_is_a_refusal() {
        for (status, reason, verdict) in [
            (200, "", Verdict::Answer),
            (429, "rate_limited", Verdict::PutOff),
            (503, "backend_cold", Verdict::PutOff),
            (400, "invalid_request", Verdict::Refusal),
            (404, "model_not_found", Verdict::Refusal),
            (413, "body_too_large", Verdict::Refusal),
            (403, "model_not_allowed", Verdict::Refusal),
            (403, "insufficient_scope", Verdict::Operator),
            (401, "invalid_api_key", Verdict::Operator),
            (408, "slow_request", Verdict::Failure),
            (502, "backend_error", Verdict::Failure),
            (504, "deadline", Verdict::Failure),
        ] {
            assert_eq!(Verdict::of(status, reason), verdict, "{status} {reason}");
        }
        assert_eq!(said(br#"{"error":{"message":"no"}}"#), "no");
        assert_eq!(said(b"<html>"), "");
    }
}
