//! The adaptive retry mode of the AWS SDKs: a cubic send rate, and no concurrency limit.
//!
//! Measured rate, per half second: `m = 0.8 current + 0.2 m`. At a throttle: `W = min(m, fill)`,
//! `rate = 0.7 W`, `K = cbrt(W (1 - 0.7) / 0.4)`; else `rate = 0.4 (t - K)^3 + W`;
//! `fill = max(0.5, min(rate, 2 m))`. There is no rate before the first throttle.

use std::time::Duration;

use super::{Limit, Sample, Signal};
use kebne_control::{BucketGrant, ControllerSettings, Timestamp, Verdict};

/// The SDK's scale constant.
const SCALE: f64 = 0.4;
/// The SDK's beta.
const BETA: f64 = 0.7;
/// The SDK's smallest fill rate, per second.
const RATE_MIN: f64 = 0.5;
/// The SDK's measuring bucket.
const BUCKET: Duration = Duration::from_millis(500);

/// The law of the AWS SDKs.
#[derive(Debug)]
pub(crate) struct Aws {
    max: f64,
    fill: Option<f64>,
    w_max: f64,
    last_throttle: Timestamp,
    measured: f64,
    count: f64,
    since: Timestamp,
}

impl Aws {
    /// Creates a law without a rate.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        Self {
            max: f64::from(settings.limit_max),
            fill: None,
            w_max: 0.0,
            last_throttle: now,
            measured: 0.0,
            count: 0.0,
            since: now,
        }
    }

    fn measure(&mut self, now: Timestamp) {
        self.count += 1.0;
        let elapsed = now.since(self.since);
        if elapsed >= BUCKET {
            let current = self.count / elapsed.as_secs_f64();
            self.measured = 0.8 * current + 0.2 * self.measured;
            self.count = 0.0;
            self.since = now;
        }
    }
}

impl Limit for Aws {
    fn limit(&self) -> f64 {
        self.max
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        self.measure(now);
        let rate = if sample.signal == Signal::Refused {
            self.w_max = self
                .fill
                .map_or(self.measured, |fill| fill.min(self.measured));
            self.last_throttle = now;
            self.fill.get_or_insert(RATE_MIN);
            BETA * self.w_max
        } else {
            let k = (self.w_max * (1.0 - BETA) / SCALE).cbrt();
            let elapsed = now.since(self.last_throttle).as_secs_f64();
            SCALE * (elapsed - k).powi(3) + self.w_max
        };
        if let Some(fill) = &mut self.fill {
            *fill = rate.min(2.0 * self.measured).max(RATE_MIN);
        }
        None
    }

    fn rate(&self, _now: Timestamp) -> Option<BucketGrant> {
        self.fill.map(BucketGrant::per_second)
    }
}
