//! The adapter for Kebne.

use crate::driver::{self, Library, actors as actors_driver};

mod actors;
mod breaker;
mod contexts;
mod delivery;
mod handlers;
mod http;
mod persistence;
mod rate;
mod retry;
mod routers;
mod shutdown;
mod streams;
mod work_pulling;

/// Kebne, as the suite sees it.
#[derive(Debug, Default)]
pub struct Kebne;

impl Library for Kebne {
    fn name(&self) -> &'static str {
        "kebne"
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    fn actors(&self) -> Option<&(dyn actors_driver::Driver + 'static)> {
        Some(&actors::Actors)
    }

    fn contexts(&self) -> Option<&(dyn driver::contexts::ContextDriver + 'static)> {
        Some(&contexts::Contexts)
    }

    fn rate(&self) -> Option<&(dyn driver::rate::RateDriver + 'static)> {
        Some(&rate::KebneRate)
    }

    fn breaker(&self) -> Option<&(dyn driver::breaker::BreakerDriver + 'static)> {
        Some(&breaker::KebneBreaker)
    }

    fn retry(&self) -> Option<&(dyn driver::retry::RetryDriver + 'static)> {
        Some(&retry::KebneRetry)
    }

    fn streams(&self) -> Option<&(dyn driver::streams::StreamDriver + 'static)> {
        Some(&streams::KebneStreams)
    }

    fn routers(&self) -> Option<&(dyn driver::routers::Driver + 'static)> {
        Some(&routers::Routers)
    }

    fn shutdown(&self) -> Option<&(dyn driver::shutdown::Driver + 'static)> {
        Some(&shutdown::Shutdowns)
    }

    fn work_pulling(&self) -> Option<&(dyn driver::work_pulling::Driver + 'static)> {
        Some(&work_pulling::Pulling)
    }

    fn delivery(&self) -> Option<&(dyn driver::delivery::Driver + 'static)> {
        Some(&delivery::Deliveries)
    }

    fn handlers(&self) -> Option<&(dyn driver::handlers::Driver + 'static)> {
        Some(&handlers::Handlers)
    }

    fn persistence(&self) -> Option<&(dyn driver::persistence::Driver + 'static)> {
        Some(&persistence::Ledgers)
    }

    fn http(&self) -> Option<&(dyn driver::http::HttpDriver + 'static)> {
        Some(&http::KebneHttp)
    }
}
