//! The fixed bounds that many clients start with: eight calls at once, ten per second, and a breaker.
//!
//! Five failures in a row open the breaker for ten seconds; then calls are sent again.

use std::time::Duration;

use super::{Limit, Sample, Signal};
use kebne_control::{BucketGrant, Timestamp, Verdict};

/// The number of calls at once.
const PARALLEL: f64 = 8.0;
/// Calls per second.
const RATE: f64 = 10.0;
/// The number of failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// The time for which the breaker stays open.
const OPEN: Duration = Duration::from_secs(10);

/// The plain client.
#[derive(Debug, Default)]
pub(crate) struct Seed {
    failures: u32,
    open_until: Timestamp,
}

impl Limit for Seed {
    fn limit(&self) -> f64 {
        PARALLEL
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        if sample.signal == Signal::Served {
            self.failures = 0;
        } else {
            self.failures += 1;
        }
        if self.failures >= FAILURES {
            self.failures = 0;
            self.open_until = now.after(OPEN);
        }
        None
    }

    fn rate(&self, now: Timestamp) -> Option<BucketGrant> {
        // An open breaker is a rate of one call per opening; that call is its probe.
        let rate = if now < self.open_until {
            1.0 / OPEN.as_secs_f64()
        } else {
            RATE
        };
        Some(BucketGrant {
            rate,
            burst: 1.0,
            level_max: None,
        })
    }
}
