//! The log: levels and format. It is written to standard error.

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;

use crate::settings::{SettingsError, Validate, join};

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Levels, in general and per target: `info,kebne=debug`. Request heads that cannot be read are written only if the
    /// filter names `actix_http`. Default `info`.
    pub filter: String,
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Validate for LogSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let Err(error) = self.filter.parse::<Targets>() else {
            return Vec::new();
        };
        let message = format!(
            "`{}` is not a filter such as `info,kebne=debug`: {error}",
            self.filter
        );
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        vec![SettingsError::new(join(path, "filter"), message).with_allowed(levels)]
    }
}
