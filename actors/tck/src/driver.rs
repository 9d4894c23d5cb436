//! What a library is to the suite: a name, a version, and a driver for each area that it claims to cover.
//!
//! Owns [`Library`]; the traits of the areas are in the modules below. A library without a driver for an area
//! finds its cases not applicable, as it does those that ask for one thing it has no notion of (see
//! [`Unsupported`]). To add an area, add its trait as a module here, one method to [`Library`], and one line to
//! [`registry::cases`](crate::registry::cases).

use std::fmt;

use crate::case::Failure;

pub mod actors;
pub mod breaker;
pub mod contexts;
pub mod delivery;
pub mod handlers;
pub mod http;
pub mod persistence;
pub mod rate;
pub mod retry;
pub mod routers;
pub mod shutdown;
pub mod streams;
pub mod work_pulling;

/// A library under test.
pub trait Library: fmt::Debug + Send + Sync {
    /// Returns the name, as `--library` takes it.
    fn name(&self) -> &'static str;

    /// Returns the version that is built.
    fn version(&self) -> &'static str;

    /// Returns the driver for single actors and their trees.
    fn actors(&self) -> Option<&(dyn actors::Driver + 'static)> {
        None
    }

    /// Returns the driver for actix's contexts.
    fn contexts(&self) -> Option<&(dyn contexts::ContextDriver + 'static)> {
        None
    }

    /// Returns the driver for token buckets.
    fn rate(&self) -> Option<&(dyn rate::RateDriver + 'static)> {
        None
    }

    /// Returns the driver for circuit breakers.
    fn breaker(&self) -> Option<&(dyn breaker::BreakerDriver + 'static)> {
        None
    }

    /// Returns the driver for retries.
    fn retry(&self) -> Option<&(dyn retry::RetryDriver + 'static)> {
        None
    }

    /// Returns the driver for streams.
    fn streams(&self) -> Option<&(dyn streams::StreamDriver + 'static)> {
        None
    }

    /// Returns the driver for routers.
    fn routers(&self) -> Option<&(dyn routers::Driver + 'static)> {
        None
    }

    /// Returns the driver for coordinated shutdown.
    fn shutdown(&self) -> Option<&(dyn shutdown::Driver + 'static)> {
        None
    }

    /// Returns the driver for work pulling.
    fn work_pulling(&self) -> Option<&(dyn work_pulling::Driver + 'static)> {
        None
    }

    /// Returns the driver for reliable delivery.
    fn delivery(&self) -> Option<&(dyn delivery::Driver + 'static)> {
        None
    }

    /// Returns the driver for `async` handlers.
    fn handlers(&self) -> Option<&(dyn handlers::Driver + 'static)> {
        None
    }

    /// Returns the driver for event-sourced actors.
    fn persistence(&self) -> Option<&(dyn persistence::Driver + 'static)> {
        None
    }

    /// Returns the driver for serving HTTP.
    fn http(&self) -> Option<&(dyn http::HttpDriver + 'static)> {
        None
    }
}

/// What a library offers, or why the case does not apply to it.
pub type Offered<T> = Result<T, Failure>;

/// Says that a library has no notion of this.
///
/// # Errors
/// Always.
pub fn not_offered<T>(what: &'static str) -> Offered<T> {
    Err(Unsupported(what).into())
}

/// What a library has no notion of, in a few words such as `a stash`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub &'static str);

impl From<Unsupported> for Failure {
    fn from(unsupported: Unsupported) -> Self {
        Self::NotApplicable(format!("no {}", unsupported.0))
    }
}
