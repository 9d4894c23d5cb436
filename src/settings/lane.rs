//! A lane's bounds and its law: limit, rate, queue, timeouts, retries.

use std::time::Duration;

use kebne_control::{ControllerSettings, Law, PoolSettings};
use serde::{Deserialize, Serialize};

use crate::settings::{ByteCount, HumanDuration, SettingsError, Validate, join};

/// Settings of one lane, under `[backends.limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {
    /// The law that moves the concurrency limit. Default `aimd`.
    pub law: Law,
    /// Calls in flight at the start; 1 to `limit_max`. Default 2.
    pub limit_initial: u32,
    /// Calls that may ever be in flight; 1 to 100000. Default 200.
    pub limit_max: u32,
    /// Calls that may wait; 0 to 1000000. Default 1000.
    pub queue_max: usize,
    /// Bytes that waiting calls may hold. Default 64MiB.
    pub queue_bytes_max: ByteCount,
    /// Time one attempt may take until its answer, or until a stream's first token. Default 60s.
    pub attempt_timeout: HumanDuration,
    /// Time to a stream's first token; does not run while the backend loads. Default 60s.
    pub first_token_timeout: HumanDuration,
    /// Longest silence between two tokens of a stream. Default 30s.
    pub idle_timeout: HumanDuration,
    /// Attempts of one call, refused ones not counted; 1 to 20. Default 6.
    pub attempts_max: u32,
    /// Retries and fallbacks per success; 0 to 1. Default 0.2.
    pub retry_ratio: f64,
    /// Silence after which the backend may have gone to sleep. Default 30s.
    pub idle_after: HumanDuration,
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
            queue_max: pool.queue_max,
            queue_bytes_max: ByteCount(pool.queue_bytes_max),
            attempt_timeout: HumanDuration(controller.attempt_timeout),
            first_token_timeout: HumanDuration(Duration::from_mins(1)),
            idle_timeout: HumanDuration(Duration::from_secs(30)),
            attempts_max: pool.attempts_max,
            retry_ratio: controller.retry_ratio,
            idle_after: HumanDuration(controller.idle),
            seed: 1,
        }
    }
}

impl LaneSettings {
    /// Returns the settings as the lane takes them.
    pub fn lane(&self) -> kebne_actors::lane::LaneSettings {
        kebne_actors::lane::LaneSettings {
            controller: ControllerSettings {
                law: self.law,
                limit_initial: self.limit_initial,
                limit_max: self.limit_max,
                idle: self.idle_after.0,
                attempt_timeout: self.attempt_timeout.0,
                retry_ratio: self.retry_ratio,
                ..ControllerSettings::default()
            },
            pool: PoolSettings {
                queue_max: self.queue_max,
                queue_bytes_max: self.queue_bytes_max.0,
                attempts_max: self.attempts_max,
                ..PoolSettings::default()
            },
            idle_timeout: self.idle_timeout.0,
            seed: self.seed,
        }
    }
}

impl Validate for LaneSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors: Vec<_> = self
            .lane()
            .validate()
            .into_iter()
            .map(|invalid| {
                let key = if invalid.field == "idle" {
                    "idle_after"
                } else {
                    invalid.field
                };
                SettingsError::new(join(path, key), format!("must be {}", invalid.allowed))
            })
            .collect();
        if self.first_token_timeout.0.is_zero() {
            let error =
                SettingsError::new(join(path, "first_token_timeout"), "must be more than 0");
            errors.push(error);
        }
        errors
    }
}
