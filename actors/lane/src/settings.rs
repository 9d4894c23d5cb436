//! The settings of one lane: its law, queue, timeouts and retries.
//!
//! The defaults of the law and the queue are those of `kebne-control`; a default is written once.

use std::time::Duration;

use kebne_control::{ControllerSettings, Law, Order, PoolSettings};
use kebne_settings::{ByteCount, HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// The settings of one lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {
    /// The law that moves the concurrency limit. Default `adaptive`.
    pub law: Law,
    /// The concurrency limit at the start; 1 to `limit_max`. Default 2.
    pub limit_initial: u32,
    /// The highest concurrency limit; 1 to 100000. Default 200.
    pub limit_max: u32,
    /// Refusals per success that trials of more load may cost; 0 to 0.2. A refused call keeps its place. A higher value
    /// finds new capacity sooner and causes more refusals. Default 0.03.
    pub exploration: f64,
    /// Calls that may wait; 0 to 1000000. Default 1000.
    pub queue_max: usize,
    /// Bytes that waiting calls may hold. Default 64MiB.
    pub queue_bytes_max: ByteCount,
    /// The order of waiting calls of one key. Default `fifo`.
    pub queue_order: Order,
    /// One dispatch in this many goes to the lowest priority that waits; 2 to 1000. Default 5.
    pub reserved_one_in: u32,
    /// The largest part of a call's total time that the deadline margin may take; 0 to 1. Default 0.6.
    pub deadline_margin_share: f64,
    /// The hold after the first refusal of a call, doubled by each further one. Default 50ms.
    pub hold_first: HumanDuration,
    /// The longest hold; at least `hold_first`. Default 2s.
    pub hold_max: HumanDuration,
    /// The timeout of an attempt until its answer, or until the first token of a stream. The lane extends it up to
    /// three times while answers have a slow tail. Default 60s.
    pub attempt_timeout: HumanDuration,
    /// The timeout of the call that wakes a backend, if longer than `attempt_timeout`, because some servers hold this
    /// call until they have loaded. Default 2m.
    pub wake_timeout: HumanDuration,
    /// The longest wait for a backend that is unreachable or does not say when it will be ready. A caller with a later
    /// deadline is refused with 503 after this time. Default 5m.
    pub cold_wait_max: HumanDuration,
    /// The timeout to the first token of a stream; does not run while the backend loads. Default 60s.
    pub first_token_timeout: HumanDuration,
    /// The longest time between two tokens of a stream. Default 30s.
    pub idle_timeout: HumanDuration,
    /// The maximum number of attempts of a call, refused ones not counted; 1 to 20. Default 6.
    pub attempts_max: u32,
    /// Retries per success; 0 to 1. Default 0.2.
    pub retry_ratio: f64,
    /// Retries per success while faults are shown not to be caused by load; 0 to 1. Default 0.6.
    pub retry_ratio_max: f64,
    /// Retries in the budget at the start; 0 to `retry_cap`. Default 10.
    pub retry_start: f64,
    /// The maximum number of retries in the budget; 0 to 10000. Default 60.
    pub retry_cap: f64,
    /// Hedges (second attempts of late calls) per success, each of which also costs a retry. It is also the share of
    /// attempts that count as late; 0 to 0.2. Default 0: none.
    pub hedge_ratio: f64,
    /// Highest cost of a call that is hedged, in tokens. Default 2000.
    pub hedge_tokens_max: u32,
    /// The idle time after which the backend may have gone to sleep. Default 30s.
    pub idle_after: HumanDuration,
    /// The time in which the rate may grow by half after the provider asked to slow down. Default 15m.
    pub slow_down_period: HumanDuration,
    /// The seed of the random numbers, such as jitter. Default 1.
    pub seed: u64,
}

impl Default for LaneSettings {
    fn default() -> Self {
        let controller = ControllerSettings::default();
        let pool = PoolSettings::default();
        Self {
            law: controller.law,
            limit_initial: controller.limit_initial,
            limit_max: controller.limit_max,
            exploration: controller.exploration,
            queue_max: pool.queue_max,
            queue_bytes_max: ByteCount(pool.queue_bytes_max),
            queue_order: pool.order,
            reserved_one_in: pool.reserved_one_in,
            deadline_margin_share: pool.deadline_margin_share,
            hold_first: HumanDuration(pool.hold_first),
            hold_max: HumanDuration(pool.hold_max),
            attempt_timeout: HumanDuration(controller.attempt_timeout),
            wake_timeout: HumanDuration(pool.wake_timeout),
            cold_wait_max: HumanDuration(pool.cold_wait_max),
            first_token_timeout: HumanDuration(Duration::from_mins(1)),
            idle_timeout: HumanDuration(Duration::from_secs(30)),
            attempts_max: pool.attempts_max,
            retry_ratio: controller.retry_ratio,
            retry_ratio_max: controller.retry_ratio_max,
            retry_start: pool.retry_start,
            retry_cap: pool.retry_cap,
            hedge_ratio: pool.hedge_ratio,
            hedge_tokens_max: pool.hedge_tokens_max,
            idle_after: HumanDuration(controller.idle),
            slow_down_period: HumanDuration(controller.slow_down_period),
            seed: 1,
        }
    }
}

impl LaneSettings {
    /// Returns the part of the settings that the law takes.
    pub(crate) fn controller(&self) -> ControllerSettings {
        ControllerSettings {
            law: self.law,
            limit_initial: self.limit_initial,
            limit_max: self.limit_max,
            exploration: self.exploration,
            idle: self.idle_after.0,
            attempt_timeout: self.attempt_timeout.0,
            slow_down_period: self.slow_down_period.0,
            retry_ratio: self.retry_ratio,
            retry_ratio_max: self.retry_ratio_max,
            ..ControllerSettings::default()
        }
    }

    /// Returns the part of the settings that the queue takes.
    pub(crate) fn pool(&self) -> PoolSettings {
        PoolSettings {
            queue_max: self.queue_max,
            queue_bytes_max: self.queue_bytes_max.0,
            order: self.queue_order,
            attempts_max: self.attempts_max,
            reserved_one_in: self.reserved_one_in,
            deadline_margin_share: self.deadline_margin_share,
            hold_first: self.hold_first.0,
            hold_max: self.hold_max.0,
            wake_timeout: self.wake_timeout.0,
            cold_wait_max: self.cold_wait_max.0,
            retry_start: self.retry_start,
            retry_cap: self.retry_cap,
            hedge_ratio: self.hedge_ratio,
            hedge_tokens_max: self.hedge_tokens_max,
        }
    }
}

impl Validate for LaneSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let invalid = self.controller().validate().into_iter();
        let mut errors: Vec<_> = invalid
            .chain(self.pool().validate())
            .map(|invalid| {
                let key = match invalid.field {
                    "idle" => "idle_after",
                    "order" => "queue_order",
                    field => field,
                };
                let error =
                    SettingsError::new(join(path, key), format!("must be {}", invalid.allowed));
                match invalid.other {
                    Some(other) => error.against(join(path, other)),
                    None => error,
                }
            })
            .collect();
        if self.retry_ratio > self.retry_ratio_max {
            let at = join(path, "retry_ratio");
            let error = SettingsError::new(at, "must be at most `retry_ratio_max`");
            errors.push(error.against(join(path, "retry_ratio_max")));
        }
        for (key, timeout) in [
            ("first_token_timeout", self.first_token_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            if timeout.0.is_zero() {
                errors.push(SettingsError::new(join(path, key), "must be more than 0"));
            }
        }
        errors
    }
}
