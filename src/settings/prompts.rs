//! Named prompt templates.

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate, join};

/// One named template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSettings {
    /// The name by which requests and sessions choose it.
    pub name: String,
    /// The template, in Jinja's syntax.
    pub template: String,
}

impl Validate for PromptSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        if !self.name.is_empty() {
            return Vec::new();
        }
        vec![SettingsError::new(
            join(path, "name"),
            "a prompt needs a name",
        )]
    }
}
