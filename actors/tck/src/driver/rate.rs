//! What a library with a token bucket offers.

use std::time::Duration;

use super::Offered;

/// Makes token buckets.
pub trait RateDriver {
    /// Makes a full bucket of `capacity` tokens, one more every `interval`, at time 0.
    ///
    /// # Errors
    /// When the library has no such thing.
    fn bucket(&self, capacity: u64, interval: Duration) -> Offered<Box<dyn Bucket>>;
}

/// A token bucket with the case's own clock.
pub trait Bucket {
    /// Takes `cost` tokens at a time after the making; returns how long to wait for them.
    fn offer(&mut self, at: Duration, cost: u64) -> Duration;
}
