//! Classifies answers that did not arrive, or not completely.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, ErrorKind},
};

use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::redact;

use crate::backend::{failure, reason::UNREACHABLE};

/// Creates the failure of a call without an answer.
pub(crate) fn not_sent(error: &reqwest::Error, proven: bool) -> Failure {
    let message = with_sources("the backend did not answer", error);
    let outcome = if !error.is_connect() {
        if error.is_timeout() {
            Outcome::Timeout
        } else {
            Outcome::Fault
        }
    } else if caused_by_tls(error) {
        Outcome::Fault
    } else if !proven {
        Outcome::Cold { estimated: None }
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

/// Creates the failure of an incomplete answer.
pub(crate) fn broke_off(error: &reqwest::Error) -> Failure {
    failure::cut(with_sources("the backend's answer is incomplete", error))
}

/// Returns `true` if the server closed the connection while the request was being sent.
pub(crate) fn was_closed(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            let closed = [
                ErrorKind::BrokenPipe,
                ErrorKind::ConnectionReset,
                ErrorKind::ConnectionAborted,
            ];
            return closed.contains(&error.kind());
        }
        source = cause.source();
    }
    false
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
fn with_sources(what: &str, error: &reqwest::Error) -> String {
    let mut message = what.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        if write!(message, ": {cause}").is_err() {
            break;
        }
        source = cause.source();
    }
    redact::text(&message)
}
