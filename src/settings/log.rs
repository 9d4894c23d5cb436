//! The log: levels and format. It is written to standard error. The request log can have a file of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{LevelFilter, Targets};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Levels, in general and per target: `info,kebne=debug`. Request heads that cannot be read are written only if the
    /// filter names `actix_http`, and the steps of the MCP protocol only if it names `rmcp`. Default `info`.
    pub filter: String,
    /// `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// One line for each ended call to a model.
    pub requests: RequestLogSettings,
    /// One line for each administrative request, and on request for each access to what callers keep.
    pub audit: AuditLogSettings,
}

/// Settings of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditLogSettings {
    /// Whether each access to sessions, responses, documents and searches is written. Administrative requests and deletions are in
    /// any case. Default `false`.
    pub accesses: bool,
    /// The file for lines of JSON, relative to the working directory; lines are appended. Default: none, the lines are part of the
    /// log (target `kebne::audit`).
    pub file: PathBuf,
}

/// Settings of the request log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLogSettings {
    /// Whether it is written. Default `true`. On standard error it also needs the level `info` for the target
    /// `kebne::call` in `log.filter`.
    pub enabled: bool,
    /// `text` or `json`. Default: the format of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// The share of calls that are written; 0 to 1. Default 1.
    pub sample: f64,
    /// Whether calls without success are always written, whatever the share. Default `true`.
    pub failures_always: bool,
    /// The file, relative to the working directory; lines are appended. Default: none, the lines are written to standard
    /// error.
    pub file: PathBuf,
}

impl Default for RequestLogSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            format: None,
            sample: 1.0,
            failures_always: true,
            file: PathBuf::new(),
        }
    }
}

impl Validate for RequestLogSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        if (0.0..=1.0).contains(&self.sample) {
            return Vec::new();
        }
        let message = format!("`{}` is not a share from 0 to 1", self.sample);
        vec![SettingsError::new(join(path, "sample"), message)]
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
            requests: RequestLogSettings::default(),
            audit: AuditLogSettings::default(),
        }
    }
}

/// The levels by name.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Validate for LogSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.filter_errors(path);
        errors.extend(self.requests.validate(&join(path, "requests")));
        errors
    }
}

impl LogSettings {
    fn filter_errors(&self, path: &str) -> Vec<SettingsError> {
        let wrong = |part: &str, level: &str, reason: &str| {
            let message =
                format!("`{part}` is not a filter such as `info` or `kebne=debug`: {reason}");
            let error = SettingsError::new(join(path, "filter"), message);
            vec![error.with_allowed(LEVELS).suggesting(level)]
        };
        for part in self.filter.split(',') {
            let (target, level) = match part.split_once('=') {
                None => (None, part),
                Some((target, level)) => (Some(target), level),
            };
            if part.contains(char::is_whitespace) {
                return wrong(part, level.trim(), "it contains white space");
            }
            // Without a level, `tracing` takes a word for a target and logs nothing else.
            if level.is_empty() || level.parse::<LevelFilter>().is_err() {
                return wrong(part, level, "a level is missing or unknown");
            }
            if target == Some("") {
                return wrong(part, level, "the target is missing");
            }
        }
        match self.filter.parse::<Targets>() {
            Ok(_) => Vec::new(),
            Err(error) => wrong(&self.filter, "", &error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(filter: &str) -> Vec<SettingsError> {
        let filter = filter.to_owned();
        let settings = LogSettings {
            filter,
            ..LogSettings::default()
        };
        settings.validate("log")
    }

    #[test]
    fn every_part_of_a_filter_names_a_level() {
        for filter in [
            "info",
            "INFO",
            "off",
            "3",
            "info,kebne=debug",
            "kebne::http=trace",
        ] {
            assert_eq!(errors(filter), [], "{filter}");
        }
        for filter in [
            "inof",
            "kebne",
            "",
            "info,",
            "info,,warn",
            "kebne=",
            "kebne=loud",
            "=info",
            "6",
            "info,=",
            "warn, kebne=debug",
            " info",
        ] {
            assert_eq!(errors(filter).len(), 1, "{filter}");
        }
        assert_eq!(errors("inof")[0].suggestion.as_deref(), Some("info"));
    }
}
