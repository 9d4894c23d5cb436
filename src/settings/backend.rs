//! Backends: what a lane calls, and how.

use serde::{Deserialize, Serialize};

use crate::settings::{LaneSettings, SettingsError, Validate, join};

/// Settings of one backend and its lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackendSettings {
    /// The name of the backend and of its lane. Default `simulated`.
    pub name: String,
    /// The lane's bounds.
    pub limits: LaneSettings,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            limits: LaneSettings::default(),
        }
    }
}

impl Validate for BackendSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.limits.validate(&join(path, "limits"));
        if self.name.is_empty() {
            errors.push(SettingsError::new(
                join(path, "name"),
                "a backend needs a name",
            ));
        }
        errors
    }
}
