//! Akka's actor semantics on actix, and the actors of an adaptive lane.
//!
//! Two layers: [`lane`] is what an application embeds (a call goes in, an answer or a refusal with its
//! true reason comes out); the modules beside it are the actor system that the lane is built on.
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

pub mod backoff;
pub mod breaker;
pub mod clock;
pub mod context_manager;
pub mod lane;
mod rate_controller;
pub mod retry;
pub mod router;
pub mod shutdown;
pub mod streams;
pub mod supervisor;
pub mod system;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod work_pulling;
mod worker;
mod worker_pool;

pub use system::{
    ActorRef, ActorReport, ActorState, ActorSystem, AskError, Blocked, Context, DeadLetter,
    Directive, EventStream, Fault, Listing, MessageRef, Offer, Overflow, PRIORITY_NORMAL, Props,
    Receptionist, Recipient, Restarted, Service, ServiceKey, StopCause, Strategy, Subscription,
    SuppressedDeadLetter, TaskPanicked, Terminated, Termination, Undelivered,
};
