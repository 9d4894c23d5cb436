//! The files in which events wait for functions, under `[function_events]`.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{ByteCount, HumanDuration, SettingsError, Validate, join};

/// The longest time for which an event is tried.
const GIVE_UP_MAX: Duration = Duration::from_hours(30 * 24);

/// Settings of the events that functions get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FunctionEventsSettings {
    /// The folder with one file for each function that gets events, and one for dead letters. Default `kebne-data/functions`, relative to the
    /// working directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the files, 64 hexadecimal digits. If the variable is not set, the files are not
    /// encrypted. Default `KEBNE_CONTEXT_KEY`, the key of sessions.
    pub key_env: String,
    /// The file with this key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The environment variable with old keys of the files, separated by white space or commas; at most 8. Default
    /// `KEBNE_CONTEXT_OLD_KEYS`.
    pub old_keys_env: String,
    /// The file with old keys, in place of `old_keys_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_keys_file: Option<PathBuf>,
    /// The number of events that may wait for one function; 1 to 10000000. Further ones are lost and counted. Default 100000.
    pub events_max: u64,
    /// The bytes of events that may wait for one function; at least 1MiB. Default 256MiB.
    pub bytes_max: ByteCount,
    /// The time for which an event is tried; then it becomes a dead letter; up to 30 days. Default `1h`.
    pub give_up_after: HumanDuration,
    /// The number of dead letters that are kept; 1 to 100000. While there are so many, events that cannot be delivered wait. Default 1000.
    pub dead_letters_max: u64,
}

impl Default for FunctionEventsSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/functions"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            events_max: 100_000,
            bytes_max: ByteCount::from_mib(256),
            give_up_after: HumanDuration::from_secs(3600),
            dead_letters_max: 1000,
        }
    }
}

impl Validate for FunctionEventsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        require(
            !self.path.as_os_str().is_empty(),
            "path",
            "must name a folder",
        );
        for (key, name) in [
            ("key_env", &self.key_env),
            ("old_keys_env", &self.old_keys_env),
        ] {
            // The value is not quoted, because it may be the key.
            let message = "must be the name of an environment variable such as `KEBNE_CONTEXT_KEY`, not a key";
            require(kebne_settings::is_variable_name(name), key, message);
        }
        let fits = (1..=10_000_000).contains(&self.events_max);
        require(fits, "events_max", "must be 1 to 10000000");
        let fits = self.bytes_max >= ByteCount::from_mib(1);
        require(fits, "bytes_max", "must be at least 1MiB");
        let fits = self.give_up_after.get() <= GIVE_UP_MAX;
        require(fits, "give_up_after", "must be at most 30days");
        let fits = (1..=100_000).contains(&self.dead_letters_max);
        require(fits, "dead_letters_max", "must be 1 to 100000");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(FunctionEventsSettings::default().validate("f").is_empty());
        let wrong = FunctionEventsSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            events_max: 0,
            bytes_max: ByteCount::from_kib(1),
            give_up_after: HumanDuration(Duration::from_hours(24 * 31)),
            dead_letters_max: 0,
            ..FunctionEventsSettings::default()
        };
        let paths: Vec<String> = wrong
            .validate("f")
            .into_iter()
            .map(|error| error.path)
            .collect();
        let expected = [
            "path",
            "key_env",
            "events_max",
            "bytes_max",
            "give_up_after",
            "dead_letters_max",
        ];
        assert_eq!(paths, expected.map(|key| format!("f.{key}")));
    }
}
