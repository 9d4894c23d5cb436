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
    /// Calls in flight at the start; 1 to `limit_max`. Default 2.
    pub limit_initial: u32,
    /// Calls that may ever be in flight; 1 to 100000. Default 200.
    pub limit_max: u32,
    /// Refusals per success that trials of more load may cost; 0 to 0.2. A refused call keeps its place. More finds new
    /// capacity sooner, and asks the backend more often in vain. Default 0.03.
    pub exploration: f64,
    /// Calls that may wait; 0 to 1000000. Default 1000.
    pub queue_max: usize,
    /// Bytes that waiting calls may hold. Default 64MiB.
    pub queue_bytes_max: ByteCount,
    /// The order of waiting calls of one key. Default `fifo`.
    pub queue_order: Order,
    /// One dispatch in so many goes to the lowest priority that waits; 2 to 1000. Default 5.
    pub reserved_one_in: u32,
    /// Largest part of a call's whole time that may be kept free for its service; 0 to 1. Default 0.6.
    pub deadline_margin_share: f64,
    /// Hold after a call's first refusal, doubled by each further one. Default 50ms.
    pub hold_first: HumanDuration,
    /// Longest hold; at least `hold_first`. Default 2s.
    pub hold_max: HumanDuration,
    /// Time one attempt may take until its answer, or until a stream's first token; it grows by itself up to three
    /// times while a slow tail is proved. Default 60s.
    pub attempt_timeout: HumanDuration,
    /// Time that the call may take which wakes a backend, where that is more than `attempt_timeout`: some hold it until
    /// they have loaded. Default 2m.
    pub wake_timeout: HumanDuration,
    /// Longest wait for a backend that cannot be reached, or does not say when it will be ready. A caller whose deadline
    /// is later is refused with 503 then. Default 5m.
    pub cold_wait_max: HumanDuration,
    /// Time to a stream's first token; does not run while the backend loads. Default 60s.
    pub first_token_timeout: HumanDuration,
    /// Longest silence between two tokens of a stream. Default 30s.
    pub idle_timeout: HumanDuration,
    /// Attempts of one call, refused ones not counted; 1 to 20. Default 6.
    pub attempts_max: u32,
    /// Retries and fallbacks per success; 0 to 1. Default 0.2.
    pub retry_ratio: f64,
    /// The same while faults are proved to have another cause than load; 0 to 1. Default 0.6.
    pub retry_ratio_max: f64,
    /// Retries in hand at the start; 0 to `retry_cap`. Default 10.
    pub retry_start: f64,
    /// Retries that can be saved up; 0 to 10000. Default 60.
    pub retry_cap: f64,
    /// Hedges (second attempts of late calls) per success, each paid for by a retry too, and so the share of attempts
    /// that count as late; 0 to 0.2. Default 0: none.
    pub hedge_ratio: f64,
    /// Highest cost of a call that is hedged, in tokens. Default 2000.
    pub hedge_tokens_max: u32,
    /// Silence after which the backend may have gone to sleep. Default 30s.
    pub idle_after: HumanDuration,
    /// Time in which the rate may grow by half after the provider asked to slow down. Default 15m.
    pub slow_down_period: HumanDuration,
    /// Seed of jitter. Default 1.
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
                SettingsError::new(join(path, key), format!("must be {}", invalid.allowed))
            })
            .collect();
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
