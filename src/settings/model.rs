//! Models that callers may request, and the backends that serve them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::settings::{SettingsError, Validate, join};

/// One model that callers may request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// The name in requests and in `GET /v1/models`. Default `simulated`.
    pub name: String,
    /// Other names for the same model. Default none.
    pub aliases: Vec<String>,
    /// Backends in order of preference; the next one is used if one cannot serve. Default `["simulated"]`.
    pub backends: Vec<String>,
    /// The name of this model at a backend, if it is not `name`: a table from backend name to model name. Default
    /// none.
    pub upstream: BTreeMap<String, String>,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            aliases: Vec::new(),
            backends: vec!["simulated".to_owned()],
            upstream: BTreeMap::new(),
        }
    }
}

impl Validate for ModelSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if self.name.is_empty() {
            errors.push(SettingsError::new(join(path, "name"), "must not be empty"));
        }
        if self.backends.is_empty() {
            errors.push(SettingsError::new(
                join(path, "backends"),
                "at least one backend is needed",
            ));
        }
        for (index, backend) in self.backends.iter().enumerate() {
            let mut before = self.backends.iter().take(index);
            if before.any(|other| other == backend) {
                let at = join(path, &format!("backends[{index}]"));
                errors.push(SettingsError::new(
                    at,
                    format!("`{backend}` is listed more than once"),
                ));
            }
        }
        for backend in self
            .upstream
            .keys()
            .filter(|name| !self.backends.contains(name))
        {
            let message = format!("`{backend}` is not among the model's backends");
            let error = SettingsError::new(join(&join(path, "upstream"), backend), message);
            errors.push(
                error
                    .with_allowed(self.backends.iter().cloned())
                    .suggesting(backend),
            );
        }
        errors
    }
}
