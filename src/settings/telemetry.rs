//! Traces for OpenTelemetry.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// Settings of the traces that are sent to an OpenTelemetry collector. They need a build with the feature `otel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// The address of the collector (OTLP over HTTP), such as `http://127.0.0.1:4318`. Default: none, no traces are made.
    pub endpoint: String,
    /// Headers that the collector requires. The values are names of environment variables that hold the headers' values.
    pub headers_env: BTreeMap<String, String>,
    /// Headers that the collector requires and whose values are in files: a table from header to file. Default none.
    pub headers_file: BTreeMap<String, PathBuf>,
    /// The name of this service in traces. Default `kebne`.
    pub service_name: String,
    /// The share of traces that are recorded if the caller has not decided; 0 to 1. Default 1.
    pub sample: f64,
    /// Spans that may wait to be sent; further ones are dropped. 1 to 1000000. Default 8192.
    pub queue_max: usize,
    /// Time between two batches. 10ms to 1min. Default `2s`.
    pub send_every: HumanDuration,
    /// Time in which the collector must take a batch. 100ms to 1min. Default `5s`.
    pub timeout: HumanDuration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers_env: BTreeMap::new(),
            headers_file: BTreeMap::new(),
            service_name: "kebne".to_owned(),
            sample: 1.0,
            queue_max: 8192,
            send_every: HumanDuration(Duration::from_secs(2)),
            timeout: HumanDuration(Duration::from_secs(5)),
        }
    }
}

impl Validate for TelemetrySettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut wrong = |key: &str, message: String| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            let rest = self.endpoint.strip_prefix(scheme);
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
        });
        if !self.endpoint.is_empty() && !is_url {
            wrong(
                "endpoint",
                "it is not an address such as `http://127.0.0.1:4318`".to_owned(),
            );
        }
        if !self.endpoint.is_empty() && !cfg!(feature = "otel") {
            let message = "this build sends no traces: it was made without the feature `otel`";
            wrong("endpoint", message.to_owned());
        }
        if !(0.0..=1.0).contains(&self.sample) {
            let message = format!("`{}` is not a share from 0 to 1", self.sample);
            wrong("sample", message);
        }
        if !(1..=1_000_000).contains(&self.queue_max) {
            let message = format!("`{}` is not from 1 to 1000000", self.queue_max);
            wrong("queue_max", message);
        }
        let minute = Duration::from_mins(1);
        for (key, value, min, range) in [
            ("send_every", self.send_every.0, 10, "10ms to 1min"),
            ("timeout", self.timeout.0, 100, "100ms to 1min"),
        ] {
            if !(Duration::from_millis(min)..=minute).contains(&value) {
                wrong(key, format!("it must be {range}"));
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named() {
        let settings = TelemetrySettings {
            endpoint: "collector:4318".to_owned(),
            sample: 2.0,
            queue_max: 0,
            timeout: HumanDuration(Duration::ZERO),
            ..TelemetrySettings::default()
        };
        let errors = settings.validate("telemetry");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        for path in ["endpoint", "sample", "queue_max", "timeout"] {
            let path = format!("telemetry.{path}");
            assert!(paths.contains(&path.as_str()), "{path}: {paths:?}");
        }
        assert_eq!(TelemetrySettings::default().validate("telemetry"), []);
    }
}
