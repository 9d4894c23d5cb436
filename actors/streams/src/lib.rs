//! Pekko's stream operators for [`futures_core::Stream`], with a circuit breaker, retries and backoff.
//!
//! [`FlowExt`] adds the operators to every stream that Rust's own combinators lack or define differently: a
//! token-bucket throttle, work that advances while the consumer is idle, buffers with an overflow policy, heartbeats,
//! restarts, kill switches and the four timeouts. [`breaker`] and [`retry`] guard any async call, in a stream or not.
//! [`backoff`] has the formula of the waits of retries and restarting streams. [`stage`] has parts for custom stages, and
//! `testkit` (a feature) probes for tests of streams.
//! This crate does not depend on actors.
//!
//! Differences from Pekko:
//!
//! - A stream is pulled: a stage starts at its first poll. Stages that work independently of the consumer
//!   ([`Detached`]) run in a task and need tokio's runtime and a `Send + 'static` source.
//! - Errors are elements: a stage that can fail yields `Result`, and an error is its last element. An `Err` does not
//!   overtake the elements before it in a buffer. [`FlowExt::fail_fast`] ends a stream after its first error;
//!   [`FlowExt::flatten_errors`] merges two error types into one.
//! - A panic in a function given to a stage reaches the task that polls, except in `map_async`, where it is an error.
//! - No buffer is hidden: the documentation of a stage that reads ahead states it.

pub mod backoff;
pub mod breaker;
pub mod retry;
pub mod stage;
#[cfg(feature = "testkit")]
pub mod testkit;

mod bucket;
mod buffer;
mod delay;
mod detached;
mod fail_fast;
mod flow;
mod keep_alive;
mod kill_switch;
mod link;
mod map_async;
mod map_partitioned;
mod places;
mod queue;
mod recover;
mod restart;
mod supervise;
mod throttle;
mod timeouts;

#[cfg(test)]
mod tests;

pub use bucket::TokenBucket;
pub use buffer::{BufferOverflow, BufferPolicy};
pub use detached::Detached;
pub use fail_fast::FailFast;
pub use flow::FlowExt;
pub use keep_alive::KeepAlive;
pub use kill_switch::{KillSwitch, Killable};
pub use map_async::{MapError, MapOptions};
pub use queue::{AlreadyCompleted, QueueOffer, QueueSource, SourceQueue, source_queue};
pub use recover::Recover;
pub use restart::{Restart, RestartSettings, restart_source};
pub use supervise::{Directive, Scan, Supervise};
pub use throttle::{Enforce, Pace, RateExceeded, Throttle};
pub use timeouts::{StreamTimeout, Timed, TimeoutKind};

/// The README, whose examples are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
