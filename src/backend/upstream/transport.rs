//! Classifies answers that did not arrive, or not completely.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, ErrorKind},
};

use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::redact;

use crate::backend::{
    failure,
    reason::UNREACHABLE,
    upstream::{plain::PlainError, proxy::Through},
};

/// The reason why a request was not sent, or its answer did not arrive completely.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// Of a connection without TLS.
    #[error(transparent)]
    Plain(PlainError),
    /// Of the client for TLS.
    #[error(transparent)]
    Client(reqwest::Error),
    /// The client for TLS cannot be created.
    #[error("the HTTP client cannot be created")]
    NoClient(#[source] reqwest::Error),
}

impl TransportError {
    /// Returns `true` if no connection could be opened.
    fn is_connect(&self) -> bool {
        match self {
            Self::Plain(error) => matches!(error, PlainError::Connect(_)),
            Self::Client(error) => error.is_connect(),
            Self::NoClient(_) => false,
        }
    }

    /// Returns `true` if a timeout ran out.
    fn is_timeout(&self) -> bool {
        match self {
            Self::Plain(error) => causes(error).any(is_timed_out),
            Self::Client(error) => error.is_timeout(),
            Self::NoClient(_) => false,
        }
    }

    /// Returns `true` if the server closed the connection while the request was being sent.
    pub(super) fn was_closed(&self) -> bool {
        let mut io_errors = causes(self).filter_map(|cause| cause.downcast_ref::<io::Error>());
        let closed = [
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
        ];
        !self.is_connect()
            && io_errors
                .next()
                .is_some_and(|error| closed.contains(&error.kind()))
    }
}

/// Returns an error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

fn is_timed_out(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::TimedOut)
}

/// Why a server was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Its host has no address.
    Name,
    /// Nothing listens at its address.
    Refused,
    /// Its certificate is not accepted, or it does not speak TLS.
    Tls,
    /// It did not answer in time.
    Slow,
    /// Anything else.
    Other,
}

/// Returns why a server was not reached.
pub(super) fn obstacle(error: &TransportError) -> Obstacle {
    let is_refused = |cause: &(dyn Error + 'static)| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == ErrorKind::ConnectionRefused)
    };
    // The resolvers of the clients have no type of their own for this.
    let is_lookup = |cause: &(dyn Error + 'static)| {
        let text = cause.to_string();
        ["dns error", "failed to lookup address"]
            .iter()
            .any(|words| text.contains(words))
    };
    if caused_by_tls(error) {
        Obstacle::Tls
    } else if error.is_timeout() {
        Obstacle::Slow
    } else if causes(error).any(is_refused) {
        Obstacle::Refused
    } else if causes(error).any(is_lookup) {
        Obstacle::Name
    } else {
        Obstacle::Other
    }
}

/// Creates the failure of a call without an answer.
pub(super) fn not_sent(error: &TransportError, proven: bool, through: Option<&Through>) -> Failure {
    let what = match through {
        Some(through) => format!(
            "the backend did not answer through the proxy `{}`",
            through.shown
        ),
        None => "the backend did not answer".to_owned(),
    };
    let mut message = with_sources(&what, error);
    if is_untrusted(error) {
        message.push_str("; `ca_file` names a file with the authority to trust");
    }
    let outcome = if matches!(error, TransportError::NoClient(_)) || is_not_let_through(error) {
        Outcome::Misconfigured
    } else if !error.is_connect() {
        if error.is_timeout() {
            Outcome::Timeout
        } else {
            Outcome::Fault
        }
    } else if caused_by_tls(error) {
        Outcome::Fault
    } else if !proven {
        Outcome::Absent {
            answered: false,
            retry_after: None,
        }
    } else if error.is_timeout() {
        Outcome::Timeout
    } else {
        Outcome::Fault
    };
    let failure = Failure::new(outcome, message);
    if error.is_connect() {
        failure.because(UNREACHABLE)
    } else {
        failure
    }
}

/// Creates the failure of a call that the proxy does not pass on.
pub(super) fn not_let_through(through: &Through) -> Failure {
    let (proxy, named_by) = (&through.shown, &through.named_by);
    let message =
        format!("the proxy `{proxy}` ({named_by}) requires a user name and a password, or others");
    Failure::new(Outcome::Misconfigured, message)
}

/// Returns `true` if a proxy requires a user name and a password for a tunnel. The type of the error is not public.
fn is_not_let_through(error: &TransportError) -> bool {
    causes(error).any(|cause| cause.to_string().ends_with("proxy authorization required"))
}

/// Returns `true` if the certificate of the server was signed by an authority that is not trusted.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    error.downcast_ref::<rustls::Error>() == Some(&unknown)
        || wrapped.is_some_and(|wrapped| is_untrusted(wrapped))
        || error.source().is_some_and(is_untrusted)
}

/// Creates the failure of an incomplete answer.
pub(crate) fn broke_off(error: &TransportError) -> Failure {
    failure::cut(with_sources("the backend's answer is incomplete", error))
}

/// Returns `true` if the cause is TLS. An invalid certificate stays invalid, so the server is not asleep. An I/O error
/// hides its inner error from `source`, so both chains are searched.
fn caused_by_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|wrapped| caused_by_tls(wrapped))
        || error.source().is_some_and(caused_by_tls)
}

/// Joins the causes of an error, which are more specific than the error itself. The URL is left out, because it may
/// contain a secret.
fn with_sources(what: &str, error: &TransportError) -> String {
    let mut message = what.to_owned();
    let first = match error {
        TransportError::Plain(error) => Some(error as &(dyn Error + 'static)),
        // The error itself only names the URL.
        TransportError::Client(error) => error.source(),
        TransportError::NoClient(_) => Some(error as &(dyn Error + 'static)),
    };
    for cause in first.into_iter().flat_map(causes) {
        // Writing to a string cannot fail.
        if write!(message, ": {cause}").is_err() {
            break;
        }
    }
    redact::text(&message)
}
