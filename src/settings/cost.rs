//! The money in which prices and budgets are given.

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate, join};

/// Settings of costs. The prices themselves belong to models and backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostSettings {
    /// The currency of all prices and budgets: three capital letters. Default `USD`.
    pub currency: String,
}

impl Default for CostSettings {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
        }
    }
}

impl Validate for CostSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let is_code =
            self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        if is_code {
            return Vec::new();
        }
        let message = "must be three capital letters, such as `USD`";
        vec![SettingsError::new(join(path, "currency"), message)]
    }
}
