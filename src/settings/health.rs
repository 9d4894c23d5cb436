//! The active health check of a backend.

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// The defaults of `every` and `timeout`.
const EVERY: HumanDuration = HumanDuration::from_secs(10);
const TIMEOUT: HumanDuration = HumanDuration::from_secs(2);

/// A request that asks a server whether it is there, beside the calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettings {
    /// The path that is asked with GET, from the root of the server, such as `/health` or `/v1/models`; any 2xx status means
    /// that the server is there. Default none: the server is not asked.
    pub path: Option<String>,
    /// The time between two checks, from 100 ms to 1 h. Default `10s`.
    pub every: HumanDuration,
    /// The time for an answer, more than 0 and at most 1 min. Default `2s`.
    pub timeout: HumanDuration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: None,
            every: EVERY,
            timeout: TIMEOUT,
        }
    }
}

impl Validate for HealthSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, message: &str| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        let is_path = |path: &str| path.starts_with('/') && path.parse::<http::Uri>().is_ok();
        if self.path.as_deref().is_some_and(|path| !is_path(path)) {
            refuse("path", "must be a path that begins with `/`");
        }
        if !(0.1..=3600.0).contains(&self.every.get().as_secs_f64()) {
            refuse("every", "must be from 100ms to 1h");
        }
        let timeout = self.timeout.get().as_secs_f64();
        if timeout <= 0.0 || timeout > 60.0 {
            refuse("timeout", "must be more than 0 and at most 1m");
        }
        errors
    }
}
