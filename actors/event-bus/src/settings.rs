//! Settings of the outbox, under `[events.outbox]`.

use std::path::PathBuf;

use kebne_settings::{ByteCount, Checks, SettingsError, Validate};
use serde::{Deserialize, Serialize};

/// Which events are lost when the outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest ones leave.
    #[default]
    DropOldest,
    /// New ones are not taken.
    DropNewest,
}

/// Settings of the outbox: the file in which events wait for the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxSettings {
    /// The file. Default `kebne-data/events.sqlite`, relative to the working directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the file, 64 hexadecimal digits. If the variable is not set, the file is not
    /// encrypted. Default `KEBNE_CONTEXT_KEY`, the key of sessions.
    pub key_env: String,
    /// The file with this key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The environment variable with old keys of the file, separated by white space or commas; at most 8. Default
    /// `KEBNE_CONTEXT_OLD_KEYS`.
    pub old_keys_env: String,
    /// The file with old keys, in place of `old_keys_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_keys_file: Option<PathBuf>,
    /// The number of events that may wait; 1 to 100000000. Default 1000000.
    pub events_max: u64,
    /// The bytes of events that may wait; at least 1MiB. Default 1GiB.
    pub bytes_max: ByteCount,
    /// Which events are lost when it is full: `drop_oldest` or `drop_newest`. They are counted. Default `drop_oldest`.
    pub when_full: WhenFull,
}

impl Default for OutboxSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/events.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            events_max: 1_000_000,
            bytes_max: ByteCount::from_mib(1024),
            when_full: WhenFull::DropOldest,
        }
    }
}

impl Validate for OutboxSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut checks = Checks::new(path);
        checks.store_file(&self.path, &self.key_env, &self.old_keys_env);
        let fits = (1..=100_000_000).contains(&self.events_max);
        checks.require(fits, "events_max", "must be 1 to 100000000");
        let fits = self.bytes_max >= ByteCount::from_mib(1);
        checks.require(fits, "bytes_max", "must be at least 1MiB");
        checks.into_errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(OutboxSettings::default().validate("outbox").is_empty());
        let wrong = OutboxSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            old_keys_env: String::new(),
            events_max: 0,
            bytes_max: ByteCount::from_kib(1),
            ..OutboxSettings::default()
        };
        let errors = wrong.validate("outbox");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        for key in ["path", "key_env", "old_keys_env", "events_max", "bytes_max"] {
            assert!(paths.contains(&&*format!("outbox.{key}")), "{key}");
        }
    }
}
