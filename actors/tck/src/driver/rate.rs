//! What a library with a token bucket offers.

use std::time::Duration;

use super::{Offered, Unsupported};
use crate::case::CaseResult;

/// Makes token buckets.
pub trait RateDriver {
    /// Makes a full bucket of `capacity` tokens, one more every `interval`, at time 0.
    ///
    /// # Errors
    /// When the library has no such thing.
    fn bucket(&self, capacity: u64, interval: Duration) -> Offered<Box<dyn Bucket>>;

    /// Returns an error if the library does not claim this.
    ///
    /// # Errors
    /// Returns what it has no notion of.
    fn claims(&self, claim: Claim) -> Result<(), Unsupported>;
}

impl dyn RateDriver + '_ {
    /// Ends the case where the library does not claim this.
    ///
    /// # Errors
    /// Fails as not applicable.
    pub fn needs(&self, claim: Claim) -> CaseResult {
        Ok(self.claims(claim)?)
    }
}

/// What a library may or may not claim of its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An offer may cost any number of tokens. Without this a case asks for one at a time.
    Costs,
    /// An offer that must wait is lent the tokens that are missing, and told for how long.
    Lends,
}

/// A token bucket with the case's own clock.
pub trait Bucket {
    /// Takes `cost` tokens at a time after the making; returns how long to wait for them, `None` where they are
    /// refused instead.
    fn offer(&mut self, at: Duration, cost: u64) -> Option<Duration>;
}

impl dyn Bucket + '_ {
    /// As [`Bucket::offer`] of a bucket that lends.
    pub fn wait(&mut self, at: Duration, cost: u64) -> Duration {
        self.offer(at, cost).unwrap_or(Duration::MAX)
    }
}
