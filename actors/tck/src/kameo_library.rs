//! The adapter for kameo.
//!
//! | asked for | given |
//! |---|---|
//! | top of the tree, children | `supervise`, under a guardian or the parent |
//! | tell, offer, ask | `tell().try_send()`, `tell().send()`, `ask()` with its timeouts |
//! | bound | a bounded mailbox of that capacity, 64 when none was asked for |
//! | restart, with a limit | `RestartPolicy::Transient`, `restart_limit` |
//! | restart without a limit | the default of five in five seconds |
//! | resume, stop by class | `on_panic`, which sees the error or the panic |
//! | escalation, death pact | `on_link_died` that breaks |
//! | watch | `link`, noted in `on_link_died` |
//! | single timers | `send_after`, one handle for each key |
//! | repeated timers | `Scheduler` of the companion crate `kameo_actors`, bursts for a fixed rate |
//! | event stream | its `MessageBus`, best effort; it does not say how many took an event |
//! | pipe to self | a task that tells its outcome, as `Context::pipe` does |
//! | receptionist | the registry of names |
//! | pool, broadcast | its `ActorPool` |
//! | termination | a graceful stop of the guardian |
//!
//! Not claimed: backoff, stash, priorities, dead letters, paths, receive timeout. The companion crate's `MessageQueue`,
//! `Broker` and `PubSub` deliver to all who listen, as the bus does, and have no case of their own.
//! The window of a limit is measured by the system's clock, which a case cannot move.

use crate::driver::{
    Library, actors as actors_driver, handlers as handlers_driver, routers as routers_driver,
};

mod actors;
mod handlers;
mod routers;

/// Kameo, as the suite sees it.
#[derive(Debug, Default)]
pub struct Kameo;

impl Library for Kameo {
    fn name(&self) -> &'static str {
        "kameo"
    }

    fn version(&self) -> &'static str {
        "0.22.2"
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
}
