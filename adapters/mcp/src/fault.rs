//! Why a server has not answered, as far as it decides what is done next.

use std::time::Duration;

use rmcp::{
    model::ErrorCode,
    service::{ClientInitializeError, ServiceError},
    transport::streamable_http_client::{HttpStatusError, StreamableHttpError},
};

/// The longest text of a server that is kept.
const TEXT_MAX: usize = 300;

/// Why a server has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is being started or connected. Nothing was done.
    #[error("the server is being started")]
    Begins,
    /// It is not there: it cannot be reached or started. Nothing was done.
    #[error("the server is not there: {0}")]
    Away(String),
    /// It refused with this status of HTTP. Nothing was done.
    #[error("the server refused with status {status}")]
    Refused {
        /// The status: 429 or 503.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It does not accept the credentials of the settings, or asks for some.
    #[error("the server asks for other credentials: {0}")]
    Unauthorized(String),
    /// The call itself is wrong: a tool that does not exist, or arguments that do not fit.
    #[error("{message}")]
    Invalid {
        /// The code of JSON-RPC.
        code: i32,
        /// What the server says.
        message: String,
    },
    /// It failed. What was asked may have been done.
    #[error("the server failed: {0}")]
    Failed(String),
    /// The connection was lost. What was asked may have been done.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// It answered with something else than the protocol has, or more than the bound.
    #[error("the answer of the server cannot be used: {0}")]
    Unusable(String),
    /// It asked the caller for something that the gateway does not pass on.
    #[error("the server asks its caller for input, which is not passed on")]
    AsksBack,
    /// The tool does not exist or is not offered.
    #[error("there is no tool `{0}`")]
    NoTool(String),
    /// The tool has changed since it was approved.
    #[error("the tool `{0}` is held: its description has changed, or is new, and was not approved")]
    Held(String),
}

impl Fault {
    /// Returns the fault of a call.
    pub(crate) fn of_call(error: ServiceError) -> Self {
        match error {
            ServiceError::McpError(error) => match error.code {
                ErrorCode::INVALID_PARAMS | ErrorCode::INVALID_REQUEST => Self::Invalid {
                    code: error.code.0,
                    message: short(&error.message),
                },
                ErrorCode::METHOD_NOT_FOUND => Self::Unusable(short(&error.message)),
                _ => Self::Failed(short(&error.message)),
            },
            ServiceError::TransportSend(error) => Self::of_source(error.error.as_ref()),
            ServiceError::TransportClosed => Self::Lost("it was closed".to_owned()),
            ServiceError::UnexpectedResponse => {
                Self::Unusable("it is not an answer to what was asked".to_owned())
            }
            ServiceError::InputRequiredRoundsExceeded { .. } => Self::AsksBack,
            other => Self::Failed(short(&other.to_string())),
        }
    }

    /// Returns the fault of a beginning. Nothing was done.
    pub(crate) fn of_start(error: &ClientInitializeError) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(one) = source {
            if let Some(ClientInitializeError::LegacyFallbackFailed { fallback, .. }) =
                one.downcast_ref()
            {
                return Self::of_start(fallback);
            }
            match one.downcast_ref::<ClientInitializeError>() {
                Some(ClientInitializeError::TransportError { error, .. }) => {
                    return Self::of_source(error.error.as_ref()).before_work();
                }
                Some(
                    ClientInitializeError::JsonRpcError(_)
                    | ClientInitializeError::NoCompatibleProtocolVersion { .. },
                ) => return Self::Unusable(short(&one.to_string())),
                _ => {}
            }
            source = one.source();
        }
        Self::Away(short(&error.to_string()))
    }

    /// Returns the fault of an error of HTTP or of a pipe.
    fn of_source(error: &(dyn std::error::Error + 'static)) -> Self {
        if let Some(status) = find::<HttpStatusError>(error) {
            return of_status(status);
        }
        let text = || short(&chain(error));
        match find::<StreamableHttpError<reqwest::Error>>(error) {
            Some(StreamableHttpError::Client(error)) if error.is_connect() => {
                Self::Away(short(&chain(error)))
            }
            Some(StreamableHttpError::HttpStatus(status)) => of_status(status),
            Some(
                StreamableHttpError::AuthRequired(_) | StreamableHttpError::InsufficientScope(_),
            ) => Self::Unauthorized(text()),
            Some(
                StreamableHttpError::UnexpectedContentType(_)
                | StreamableHttpError::Deserialize(_)
                | StreamableHttpError::ResponseBodyTooLarge { .. }
                | StreamableHttpError::UnexpectedServerResponse(_),
            ) => Self::Unusable(text()),
            _ => Self::Lost(text()),
        }
    }

    /// Returns the fault of something that happened before anything was asked.
    pub(crate) fn before_work(self) -> Self {
        match self {
            Self::Lost(text) | Self::Failed(text) => Self::Away(text),
            other => other,
        }
    }

    /// Returns `true` if nothing was done.
    pub fn is_before_work(&self) -> bool {
        matches!(
            self,
            Self::Begins
                | Self::Away(_)
                | Self::Refused { .. }
                | Self::Unauthorized(_)
                | Self::Invalid { .. }
                | Self::NoTool(_)
                | Self::Held(_)
        )
    }
}

fn of_status(status: &HttpStatusError) -> Fault {
    let seconds = status.retry_after.as_deref();
    let seconds = seconds.and_then(|text| text.trim().parse().ok());
    match status.status {
        429 | 503 => Fault::Refused {
            status: status.status,
            retry_after: seconds.map(Duration::from_secs),
        },
        other => Fault::Failed(format!("status {other}")),
    }
}

/// Returns the first error of a kind among an error and its sources.
fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut source = Some(error);
    while let Some(one) = source {
        if let Some(found) = one.downcast_ref() {
            return Some(found);
        }
        source = one.source();
    }
    None
}

/// Returns the texts of an error and its sources.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(one) = source {
        let more = one.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = one.source();
    }
    text
}

/// Returns the beginning of a text of a server, without what controls a terminal.
pub(crate) fn short(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().take(TEXT_MAX).map(printable).collect()
}
