//! The adapter for ractor.
//!
//! | asked for | given |
//! |---|---|
//! | top of the tree, children | `spawn_linked`, under a guardian or the parent |
//! | tell, ask | `send_message`, `call` with its timeout |
//! | stop | `stop`, which goes before messages |
//! | a failing handler | `handle` returns an error; the actor ends, its supervisor is told |
//! | watch | supervision events: of children, and of others by `monitor` |
//! | timers | `send_after`, `send_interval`, one handle for each key |
//! | pipe to self | a task that sends its outcome |
//! | event stream | one `OutputPort` for each topic, which ends a subscription with its actor only |
//! | recipient | `get_derived` |
//! | receptionist | process groups |
//! | pool | a `Factory`: round robin, key-persistent, queuer for the least loaded; discards the newest |
//! | work pulling | a `Factory` with `QueuerRouting` and `RetriableMessage`: a job is given out again until it is completed |
//! | rate | `LeakyBucketRateLimiter`, which refuses |
//! | termination | `stop_children_and_wait` of the guardian |
//!
//! Not claimed: restarts (they are left to the application's supervisor), bounds, stash, priorities, dead letters,
//! paths, receive timeout. A bound that only gives room is as good as none.

use crate::driver::{
    Library, actors as actors_driver, handlers as handlers_driver, rate as rate_driver,
    routers as routers_driver, work_pulling as pulling_driver,
};

mod actors;
mod handlers;
mod rate;
mod routers;
mod work_pulling;

/// Ractor, as the suite sees it.
#[derive(Debug, Default)]
pub struct Ractor;

impl Library for Ractor {
    fn name(&self) -> &'static str {
        "ractor"
    }

    fn version(&self) -> &'static str {
        "0.16.5"
    }

    fn actors(&self) -> Option<&(dyn actors_driver::Driver + 'static)> {
        Some(&actors::Actors)
    }

    fn handlers(&self) -> Option<&(dyn handlers_driver::Driver + 'static)> {
        Some(&handlers::Handlers)
    }

    fn routers(&self) -> Option<&(dyn routers_driver::Driver + 'static)> {
        Some(&routers::Routers)
    }

    fn work_pulling(&self) -> Option<&(dyn pulling_driver::Driver + 'static)> {
        Some(&work_pulling::Pulling)
    }

    fn rate(&self) -> Option<&(dyn rate_driver::RateDriver + 'static)> {
        Some(&rate::Limits)
    }
}
