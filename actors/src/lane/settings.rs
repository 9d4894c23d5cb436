//! What an embedder may set of one lane.

use std::time::Duration;

use kebne_control::{ControllerSettings, Invalid, PoolSettings};
use serde::{Deserialize, Serialize};

/// Settings of one lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {
    /// The law that moves the limit, and the rate.
    pub controller: ControllerSettings,
    /// The queue and the retries.
    pub pool: PoolSettings,
    /// Longest silence within a streamed answer; more than 0, default 30 s.
    pub idle_timeout: Duration,
    /// Seed of the lane's chance: jitter of retries, of pauses, of restarts. Default 1.
    pub seed: u64,
}

impl Default for LaneSettings {
    fn default() -> Self {
        Self {
            controller: ControllerSettings::default(),
            pool: PoolSettings::default(),
            idle_timeout: Duration::from_secs(30),
            seed: 1,
        }
    }
}

impl LaneSettings {
    /// Returns every field that is out of range.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut invalid = self.controller.validate();
        invalid.extend(self.pool.validate());
        if self.idle_timeout.is_zero() {
            invalid.push(Invalid {
                field: "idle_timeout",
                allowed: "more than 0",
            });
        }
        invalid
    }
}
