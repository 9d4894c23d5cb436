//! Akka's actor semantics on actix, and the actors of an adaptive lane.
//!
//! Two layers: [`lane`] is what an application embeds (a call goes in, an answer or a refusal with its
//! true reason comes out); the modules beside it are the actor system that the lane is built on.

pub mod backoff;
pub mod breaker;
pub mod clock;
pub mod context_manager;
pub mod lane;
mod rate_controller;
pub mod retry;
pub mod streams;
pub mod supervisor;
pub mod system;
mod worker;
mod worker_pool;

pub use system::{
    ActorRef, ActorSystem, AskError, Context, DeadLetter, Directive, Fault, Listing, Offer,
    Overflow, Props, Recipient, ServiceKey, StopCause, Strategy, Terminated,
};
