//! Akka's actor semantics on actix: supervision, strict mailbox bounds, death watch, routers, work pulling, coordinated
//! shutdown and a test kit.
//!
//! An actor is an ordinary `actix::Actor` whose context is [`Context`]:
//!
//! ```
//! use std::time::Duration;
//!
//! use actix::{Actor, Handler, Message};
//! use kebne_actors::{ActorSystem, Props, Strategy};
//!
//! #[derive(Message)]
//! #[rtype(result = "u64")]
//! struct Add(u64);
//!
//! struct Sum(u64);
//!
//! impl Actor for Sum {
//!     type Context = kebne_actors::Context<Self>;
//! }
//!
//! impl Handler<Add> for Sum {
//!     type Result = u64;
//!
//!     fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
//!         self.0 += n;
//!         self.0
//!     }
//! }
//!
//! # actix::System::new().block_on(async {
//! let system = ActorSystem::new("example", 1);
//! let props = Props::new(|| Sum(0)).supervise(Strategy::restart());
//! let sum = system.spawn(props, "sum");
//! assert_eq!(sum.ask(Add(2), Duration::from_secs(1)).await, Ok(2));
//! system.terminate().await;
//! # });
//! ```

pub mod async_actor;
pub mod clock;
pub mod fsm;
pub mod router;
pub mod shutdown;
pub mod system;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod topic;
pub mod work_pulling;

pub use async_actor::{
    Async, AsyncActor, AsyncHandler, Reentrant, ReentrantActor, ReentrantHandler, Scope, Shared,
};
pub use system::{
    ActorRef, ActorReport, ActorState, ActorSystem, AskError, Blocked, Context, DeadLetter,
    Directive, EventStream, Fault, Listing, MessageMetrics, MessageRef, Metrics, Offer, Overflow,
    PRIORITY_NORMAL, Props, Receptionist, Recipient, Restarted, Service, ServiceKey, Spawn,
    StopCause, Strategy, Subscription, SuppressedDeadLetter, TaskPanicked, Terminated, Termination,
    Undelivered,
};

/// The README, whose examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
