//! Named prompt templates.

use kebne_settings::{SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// One named template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PromptSettings {
    /// The name by which calls and sessions choose it: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The template, in Jinja's syntax, over `session`, `request` and `input`.
    pub template: String,
}

impl Validate for PromptSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            let message = "a prompt needs a name of letters, digits, `-`, `_` and `.`";
            errors.push(SettingsError::new(join(path, "name"), message));
        }
        if self.template.is_empty() {
            let message = "a prompt needs a template, such as `{{ input }}`";
            errors.push(SettingsError::new(join(path, "template"), message));
        }
        if let Err(message) = super::check(&self.template) {
            errors.push(SettingsError::new(join(path, "template"), message));
        }
        errors
    }
}
