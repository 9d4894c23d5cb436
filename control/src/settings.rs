//! The settings, with validated ranges.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Without;

/// The law that moves the concurrency limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// Paired experiments on the latency elasticity; refusals reduce the limit to what was served.
    #[default]
    Adaptive,
    /// A constant limit, equal to the initial one.
    Fixed,
}

/// The order of the calls of one tenant in the first priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Always the oldest first.
    #[default]
    Fifo,
    /// The newest first while clearly more calls arrive than are served and the oldest call has waited for a quarter
    /// of its deadline; otherwise the oldest first.
    NewestFirst,
}

/// A settings value that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field's name.
    pub field: &'static str,
    /// The allowed range.
    pub allowed: &'static str,
    /// The other field on which the range depends.
    pub other: Option<&'static str>,
}

/// Fields whose range depends on another field, and that field.
const DEPENDENT: [(&str, &str); 4] = [
    ("limit_initial", "limit_max"),
    ("breaker_backoff_max", "breaker_backoff"),
    ("hold_max", "hold_first"),
    ("retry_start", "retry_cap"),
];

/// Settings of the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerSettings {
    /// The law; default adaptive.
    pub law: Law,
    /// Limit at the start, in calls; 1 to `limit_max`, default 2.
    pub limit_initial: u32,
    /// Highest limit, in calls; 1 to 100000, default 200.
    pub limit_max: u32,
    /// The latency elasticity at which growth stops, which is the share of the asymptotic throughput that is used; 0.1
    /// to 0.95, default 0.65.
    pub theta: f64,
    /// Refusals per success that may be spent to find more capacity; 0 to 0.2, default 0.03.
    pub exploration: f64,
    /// Time without calls after which the backend may be asleep; default 30 s.
    pub idle: Duration,
    /// Time one attempt may take; default 60 s.
    pub attempt_timeout: Duration,
    /// Retries per success; 0 to 1, default 0.2.
    pub retry_ratio: f64,
    /// Retries per success while faults are proved to have a cause other than load; 0 to 1, default 0.6.
    pub retry_ratio_max: f64,
    /// A longer pause counts as a used-up quota, so that callers are refused at once; default 5 min.
    pub quota_horizon: Duration,
    /// Time in which the rate may grow by half after the provider's request to slow down; greater than 0, default 15
    /// min.
    pub slow_down_period: Duration,
    /// First wait of a broken lane before its next probe; default 500 ms.
    pub breaker_backoff: Duration,
    /// Longest wait of a broken lane; default 2 s.
    pub breaker_backoff_max: Duration,
    /// Parts of the law that are taken out to measure what they are worth.
    #[serde(skip)]
    pub without: Without,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            law: Law::Adaptive,
            limit_initial: 2,
            limit_max: 200,
            theta: 0.65,
            exploration: 0.03,
            idle: Duration::from_secs(30),
            attempt_timeout: Duration::from_mins(1),
            retry_ratio: 0.2,
            retry_ratio_max: 0.6,
            quota_horizon: Duration::from_mins(5),
            slow_down_period: Duration::from_mins(15),
            breaker_backoff: Duration::from_millis(500),
            breaker_backoff_max: Duration::from_secs(2),
            without: Without::default(),
        }
    }
}

impl ControllerSettings {
    /// Returns every field that is out of range.
    pub fn validate(&self) -> Vec<Invalid> {
        let checks = [
            (
                "limit_max",
                "1 to 100000",
                (1..=100_000).contains(&self.limit_max),
            ),
            (
                "limit_initial",
                "1 to `limit_max`",
                (1..=self.limit_max).contains(&self.limit_initial),
            ),
            ("theta", "0.1 to 0.95", (0.1..=0.95).contains(&self.theta)),
            (
                "exploration",
                "0 to 0.2",
                (0.0..=0.2).contains(&self.exploration),
            ),
            (
                "retry_ratio",
                "0 to 1",
                (0.0..=1.0).contains(&self.retry_ratio),
            ),
            ("idle", "more than 0", !self.idle.is_zero()),
            (
                "retry_ratio_max",
                "0 to 1",
                (0.0..=1.0).contains(&self.retry_ratio_max),
            ),
            (
                "attempt_timeout",
                "more than 0",
                !self.attempt_timeout.is_zero(),
            ),
            (
                "slow_down_period",
                "more than 0",
                !self.slow_down_period.is_zero(),
            ),
            (
                "breaker_backoff",
                "more than 0",
                !self.breaker_backoff.is_zero(),
            ),
            (
                "breaker_backoff_max",
                "at least `breaker_backoff`",
                self.breaker_backoff_max >= self.breaker_backoff,
            ),
        ];
        failed(&checks)
    }
}

/// Settings of the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    /// Calls that may wait; 0 to 1000000, default 1000.
    pub queue_max: usize,
    /// Bytes that waiting calls may hold; default 64 MiB.
    pub queue_bytes_max: u64,
    /// The order within the first priority; other priorities are always served oldest first. Default FIFO.
    pub order: Order,
    /// Attempts of one call; 1 to 20, default 6.
    pub attempts_max: u32,
    /// One dispatch in this number goes to the lowest priority that waits; 2 to 1000, default 5.
    pub reserved_one_in: u32,
    /// The largest share of a call's total time that the deadline margin may be; 0 to 1, default 0.6.
    pub deadline_margin_share: f64,
    /// Hold after a call's first refusal, doubled by each further one; greater than 0, default 50 ms.
    pub hold_first: Duration,
    /// Longest hold; at least `hold_first`, default 2 s.
    pub hold_max: Duration,
    /// Time for a call that probes a backend which is not known to serve, if it is longer than the attempt timeout.
    /// Some backends hold the call until they have loaded. Greater than 0, default 2 min.
    pub wake_timeout: Duration,
    /// Longest wait for a backend that does not serve and does not announce when it will; default 5 min. For a backend
    /// that announces when it will be ready, calls wait until their deadlines.
    pub cold_wait_max: Duration,
    /// Available retries at the start; default 10.
    pub retry_start: f64,
    /// The largest number of retries that can be saved; default 60.
    pub retry_cap: f64,
    /// Hedges per success, each of which also costs a retry. It is thereby also the share of attempts that count as
    /// late; 0 to 0.2, default 0, which disables hedging.
    pub hedge_ratio: f64,
    /// The highest cost of a call that is hedged, in tokens of prompt and output bound; default 2000.
    pub hedge_tokens_max: u32,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            queue_max: 1000,
            queue_bytes_max: 64 << 20,
            order: Order::Fifo,
            attempts_max: 6,
            reserved_one_in: 5,
            deadline_margin_share: 0.6,
            hold_first: Duration::from_millis(50),
            hold_max: Duration::from_secs(2),
            wake_timeout: Duration::from_mins(2),
            cold_wait_max: Duration::from_mins(5),
            retry_start: 10.0,
            retry_cap: 60.0,
            hedge_ratio: 0.0,
            hedge_tokens_max: 2000,
        }
    }
}

impl PoolSettings {
    /// Returns every field that is out of range.
    pub fn validate(&self) -> Vec<Invalid> {
        let checks = [
            ("queue_max", "0 to 1000000", self.queue_max <= 1_000_000),
            (
                "attempts_max",
                "1 to 20",
                (1..=20).contains(&self.attempts_max),
            ),
            (
                "reserved_one_in",
                "2 to 1000",
                (2..=1000).contains(&self.reserved_one_in),
            ),
            (
                "deadline_margin_share",
                "0 to 1",
                (0.0..=1.0).contains(&self.deadline_margin_share),
            ),
            ("hold_first", "more than 0", !self.hold_first.is_zero()),
            (
                "hold_max",
                "at least `hold_first`",
                self.hold_max >= self.hold_first,
            ),
            ("wake_timeout", "more than 0", !self.wake_timeout.is_zero()),
            (
                "cold_wait_max",
                "more than 0",
                !self.cold_wait_max.is_zero(),
            ),
            (
                "retry_cap",
                "0 to 10000",
                (0.0..=10_000.0).contains(&self.retry_cap),
            ),
            (
                "retry_start",
                "0 to `retry_cap`",
                (0.0..=self.retry_cap).contains(&self.retry_start),
            ),
            (
                "hedge_ratio",
                "0 to 0.2",
                (0.0..=0.2).contains(&self.hedge_ratio),
            ),
        ];
        failed(&checks)
    }
}

/// Returns the fields that are out of range. A range that depends on a field which is itself out of range is not
/// checked.
fn failed(checks: &[(&'static str, &'static str, bool)]) -> Vec<Invalid> {
    let is_wrong = |wanted: &str| {
        checks
            .iter()
            .any(|(field, _, fine)| *field == wanted && !fine)
    };
    let wrong = checks.iter().filter(|(_, _, fine)| !fine);
    wrong
        .map(|&(field, allowed, _)| {
            let other = DEPENDENT.iter().find(|(dependent, _)| *dependent == field);
            Invalid {
                field,
                allowed,
                other: other.map(|(_, other)| *other),
            }
        })
        .filter(|invalid| !invalid.other.is_some_and(is_wrong))
        .collect()
}
