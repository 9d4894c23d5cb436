//! Kebne's token bucket as the suite sees it.

use std::time::Duration;

use kebne_streams::TokenBucket;
use tokio::time::Instant;

use crate::driver::{
    Offered, Unsupported,
    rate::{Bucket, Claim, RateDriver},
};

/// Makes Kebne's token buckets.
#[derive(Debug)]
pub(super) struct KebneRate;

struct Shaped {
    bucket: TokenBucket,
    epoch: Instant,
}

impl RateDriver for KebneRate {
    fn bucket(&self, capacity: u64, interval: Duration) -> Offered<Box<dyn Bucket>> {
        let epoch = Instant::now();
        let bucket = TokenBucket::new(capacity, interval, epoch);
        Ok(Box::new(Shaped { bucket, epoch }))
    }

    fn claims(&self, claim: Claim) -> Result<(), Unsupported> {
        match claim {
            Claim::Costs | Claim::Lends => Ok(()),
        }
    }
}

impl Bucket for Shaped {
    fn offer(&mut self, at: Duration, cost: u64) -> Option<Duration> {
        Some(self.bucket.offer(self.epoch + at, cost))
    }
}
