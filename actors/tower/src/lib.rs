//! Kebne's lane, circuit breaker, retry and throttle as [tower](tower_service) layers, for axum, tonic, reqwest and every
//! other user of `Service`.
//!
//! | layer | what it adds |
//! |---|---|
//! | [`LaneLayer`] | an adaptive lane: a queue, a limit that follows the capacity behind it, retries that are safe |
//! | [`BreakerLayer`] | a circuit breaker by Pekko's rules |
//! | [`RetryLayer`] | retries with Pekko's delays |
//! | [`ThrottleLayer`] | a token bucket that delays or refuses |
//!
//! Each wraps a `Service` that can be cloned, and its own clones share one lane, breaker or bucket.

mod attempt;
mod breaker;
mod lane;
mod retry;
mod throttle;

pub use breaker::{BreakerLayer, BreakerService, Guarded};
pub use lane::{Classify, LaneError, LaneLayer, LaneService, ServiceBackend, outcome_of_status};
pub use retry::{RetryLayer, RetryService};
pub use throttle::{ThrottleError, ThrottleLayer, ThrottleService};

/// Compiles and runs the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
