//! The rate limiter of ractor's factory as a bucket.
//!
//! It has a token or refuses; its router then discards the job. It lends nothing, and knows no dearer jobs.

use std::time::Duration;

use futures_util::FutureExt;
use ractor::factory::{LeakyBucketRateLimiter, RateLimiter};
use tokio::time::Instant;

use crate::driver::{
    Offered, Unsupported, not_offered,
    rate::{Bucket, Claim, RateDriver},
};

/// Makes rate limiters.
#[derive(Debug)]
pub(super) struct Limits;

impl RateDriver for Limits {
    fn bucket(&self, capacity: u64, interval: Duration) -> Offered<Box<dyn Bucket>> {
        let Ok(max) = usize::try_from(capacity) else {
            return not_offered("bucket of that many tokens");
        };
        let limiter = LeakyBucketRateLimiter::builder()
            .refill(1)
            .interval(interval)
            .max(max)
            .build();
        let epoch = Instant::now();
        Ok(Box::new(Limit { limiter, epoch }))
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        Err(match claim {
            Claim::Costs => Unsupported("jobs that cost more than one token"),
            Claim::Lends => Unsupported("tokens that are lent"),
        })
    }
}

struct Limit {
    limiter: LeakyBucketRateLimiter,
    epoch: Instant,
}

impl Bucket for Limit {
    fn offer(&mut self, at: Duration, _one: u64) -> Option<Duration> {
        // It reads the clock itself. The first poll moves the paused clock; what follows is only a yield.
        let ahead = (self.epoch + at).saturating_duration_since(Instant::now());
        let _moved = tokio::time::advance(ahead).now_or_never();
        let has_token = self.limiter.check();
        if has_token {
            self.limiter.bump();
        }
        has_token.then_some(Duration::ZERO)
    }
}
