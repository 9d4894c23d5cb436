//! Sessions: where they are kept, for how long, and how large they may grow.

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate};

/// Settings of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContextSettings {}

impl Validate for ContextSettings {
    fn validate(&self, _path: &str) -> Vec<SettingsError> {
        Vec::new()
    }
}
