//! What it means that an answer did not come, or not to its end.

use std::{error::Error, fmt::Write as _};

use kebne_control::Outcome;
use kebne_lane::Failure;

/// Says what it means that no answer came.
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
    Failure::new(outcome, message)
}

/// Says that an answer broke off.
pub(crate) fn broke_off(error: &reqwest::Error) -> Failure {
    Failure::new(Outcome::Fault, with_sources("the backend broke off", error))
}

/// A certificate that is wrong stays wrong: that is no server asleep. An I/O error hides what it wraps from
/// `source`, so both ways down are taken.
fn caused_by_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>()
        || wrapped.is_some_and(|wrapped| caused_by_tls(wrapped))
        || error.source().is_some_and(caused_by_tls)
}

/// Joins an error's causes, which say more than the error itself. The URL is left out: it may hold a secret.
fn with_sources(what: &str, error: &reqwest::Error) -> String {
    let mut message = what.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a text cannot fail.
        if write!(message, ": {cause}").is_err() {
            break;
        }
        source = cause.source();
    }
    message
}
