//! The adapter for bare actix.
//!
//! | asked for | given |
//! |---|---|
//! | tell | `do_send`, or `try_send` where a bound was asked for |
//! | ask | `send` with its timeout |
//! | tell oneself | `ctx.notify` |
//! | restart | `Supervisor`, whose `restarting` makes the state fresh |
//! | timers | `run_later`, `run_interval`, one handle for each key |
//! | wait | `ctx.wait` |
//! | pipe to self | a spawned task that sends its outcome |
//! | a future of the actor | `ctx.spawn` |
//! | event stream | the `SystemBroker` of the companion crate `actix-broker`; it ends a subscription with its actor only |
//! | receptionist | the system registry: one service for each type of actor |
//!
//! Not claimed: stopping from outside, children, watch, errors as failures, stash, priorities, dead letters. A pool of
//! threads, `SyncArbiter`, is not asked: its threads do not follow paused time.

use crate::driver::{self, Library, actors as actors_driver};

mod actors;
mod contexts;
mod http;

/// Bare actix, as the suite sees it.
#[derive(Debug, Default)]
pub struct BareActix;

impl Library for BareActix {
    fn name(&self) -> &'static str {
        "actix"
    }

    fn version(&self) -> &'static str {
        "0.13.5"
    }

    fn actors(&self) -> Option<&(dyn actors_driver::Driver + 'static)> {
        Some(&actors::Actors)
    }

    fn contexts(&self) -> Option<&(dyn driver::contexts::ContextDriver + 'static)> {
        Some(&contexts::Contexts)
    }

    fn http(&self) -> Option<&(dyn driver::http::HttpDriver + 'static)> {
        Some(&http::BareHttp)
    }
}
