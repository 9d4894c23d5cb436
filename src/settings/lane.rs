//! A lane's bounds and its law: limit, rate, queue, timeouts, retries.

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate};

/// Settings of one lane, under `[backends.limits]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LaneSettings {}

impl Validate for LaneSettings {
    fn validate(&self, _path: &str) -> Vec<SettingsError> {
        Vec::new()
    }
}
