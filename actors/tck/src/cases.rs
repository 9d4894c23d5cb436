//! The cases, one file for each topic. A new file is listed here, a new area in [`registry`](crate::registry).

use crate::{case::Case, driver};

mod asks;
mod backoff;
mod breaker;
mod contexts;
mod dead_letters;
mod delivery;
mod events;
mod failures;
mod handlers;
mod http;
mod layers;
mod lifecycle;
mod limits;
mod mailbox;
mod messages;
mod persistence;
mod phases;
mod pipes;
mod rate;
mod receptionist;
mod retry;
mod routers;
mod routing;
mod shutdown;
mod starts;
mod stash;
mod streams;
mod timers;
mod tree;
mod watch;
mod work_pulling;

/// The cases of single actors and their trees.
pub const ACTORS: &[&[Case<dyn driver::actors::Driver>]] = &[
    messages::CASES,
    asks::CASES,
    lifecycle::CASES,
    lifecycle::SHUTDOWN,
    tree::CASES,
    pipes::CASES,
    events::CASES,
    dead_letters::CASES,
    receptionist::CASES,
    failures::CASES,
    limits::CASES,
    starts::CASES,
    backoff::CASES,
    layers::CASES,
    watch::CASES,
    timers::CASES,
    stash::CASES,
    mailbox::CASES,
];

/// The cases of actix's contexts.
pub const CONTEXTS: &[&[Case<dyn driver::contexts::ContextDriver>]] = &[contexts::CASES];

/// The cases of token buckets.
pub const RATE: &[&[Case<dyn driver::rate::RateDriver>]] = &[rate::CASES];

/// The cases of circuit breakers.
pub const BREAKER: &[&[Case<dyn driver::breaker::BreakerDriver>]] = breaker::CASES;

/// The cases of retries.
pub const RETRY: &[&[Case<dyn driver::retry::RetryDriver>]] = &[retry::CASES];

/// The cases of streams.
pub const STREAMS: &[&[Case<dyn driver::streams::StreamDriver>]] = streams::CASES;

/// The cases of routers.
pub const ROUTERS: &[&[Case<dyn driver::routers::Driver>]] = &[routers::CASES, routing::CASES];

/// The cases of coordinated shutdown.
pub const SHUTDOWN: &[&[Case<dyn driver::shutdown::Driver>]] = &[phases::CASES, shutdown::CASES];
/// The cases of HTTP.
pub const HTTP: &[&[Case<dyn driver::http::HttpDriver>]] = &[http::CASES];

/// The cases of `async` handlers.
pub const HANDLERS: &[&[Case<dyn driver::handlers::Driver>]] = &[handlers::CASES];

/// The cases of event-sourced actors.
pub const PERSISTENCE: &[&[Case<dyn driver::persistence::Driver>]] = persistence::CASES;

/// The cases of work pulling.
pub const WORK_PULLING: &[&[Case<dyn driver::work_pulling::Driver>]] = &[work_pulling::CASES];

/// The cases of reliable delivery.
pub const DELIVERY: &[&[Case<dyn driver::delivery::Driver>]] = &[delivery::CASES];

/// What nearly every file of cases about actors uses.
mod prelude {
    use std::time::Duration;

    pub(super) use crate::{
        case::{
            Case, CaseResult, Failure,
            Stance::{Different, Same, Trap},
            ensure, ensure_eq,
        },
        cases,
        driver::actors::{ANSWER_TIMEOUT, Claim, Driver, Offer, Puppet, Refusal, Topic, World},
        puppet::{Answer, Command::*, Overflow, PipedOutcome, Repeat, Script, Spec, Supervision},
    };

    pub(super) const SECOND: Duration = Duration::from_secs(1);

    pub(super) const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A puppet of this name that does nothing by itself.
    pub(super) fn plain(name: &'static str) -> Spec {
        Spec::named(name)
    }

    /// A puppet that is restarted at once whenever it fails.
    pub(super) fn restarted(name: &'static str) -> Spec {
        Spec::named(name).supervised(Supervision::restart())
    }
}
