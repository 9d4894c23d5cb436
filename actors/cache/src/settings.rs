//! Settings of the store of answers, under `[cache]`.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, Checks, HumanDuration, SettingsError, Validate};
use serde::{Deserialize, Serialize};

/// Where answers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStoreKind {
    /// In memory, until the process ends.
    #[default]
    Memory,
    /// In a file.
    Sqlite,
    /// In a server of Redis or Valkey, with other gateways.
    Redis,
}

/// Settings of the store of answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// Where answers are kept: `memory`, `sqlite` or `redis`. Default `memory`.
    pub store: CacheStoreKind,
    /// The file, created with the first answer. Default `kebne-data/cache.sqlite`, relative to the working directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the answers in a file or in Redis, 64 hexadecimal digits. If the variable is not set, they are not
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
    /// The bytes of all answers; at least 1MiB. Default 256MiB.
    pub bytes_max: ByteCount,
    /// The number of all answers; 1 to 10000000. Default 200000.
    pub entries_max: u64,
    /// The bytes of the answers of each tenant; at least 64KiB. Default 64MiB.
    pub owner_bytes_max: ByteCount,
    /// The number of answers of each tenant; 1 to 10000000. Default 50000.
    pub owner_entries_max: u64,
    /// The largest answer that is kept; 1KiB to 64MiB. It also bounds how far a caller may lag behind the answer of another call that it
    /// shares. Default 1MiB.
    pub entry_size_max: ByteCount,
    /// The time for an answer of the store, 1 ms to 10 s; then the call is made. Default 100 ms.
    pub timeout: HumanDuration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            store: CacheStoreKind::Memory,
            path: PathBuf::from("kebne-data/cache.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            bytes_max: ByteCount::from_mib(256),
            entries_max: 200_000,
            owner_bytes_max: ByteCount::from_mib(64),
            owner_entries_max: 50_000,
            entry_size_max: ByteCount::from_mib(1),
            timeout: HumanDuration(Duration::from_millis(100)),
        }
    }
}

impl Validate for CacheSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut checks = Checks::new(path);
        checks.store_file(&self.path, &self.key_env, &self.old_keys_env);
        let fits = self.bytes_max >= ByteCount::from_mib(1);
        checks.require(fits, "bytes_max", "must be at least 1MiB");
        let fits = self.owner_bytes_max >= ByteCount::from_kib(64);
        checks.require(fits, "owner_bytes_max", "must be at least 64KiB");
        for (key, count) in [
            ("entries_max", self.entries_max),
            ("owner_entries_max", self.owner_entries_max),
        ] {
            let fits = (1..=10_000_000).contains(&count);
            checks.require(fits, key, "must be 1 to 10000000");
        }
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(64);
        let fits = sizes.contains(&self.entry_size_max);
        checks.require(fits, "entry_size_max", "must be 1KiB to 64MiB");
        let times = Duration::from_millis(1)..=Duration::from_secs(10);
        checks.require(
            times.contains(&self.timeout.0),
            "timeout",
            "must be 1ms to 10s",
        );
        checks.into_errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(CacheSettings::default().validate("cache").is_empty());
        let wrong = CacheSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            old_keys_env: String::new(),
            bytes_max: ByteCount::from_kib(1),
            owner_bytes_max: ByteCount::from_kib(1),
            entries_max: 0,
            owner_entries_max: 0,
            entry_size_max: ByteCount::from_mib(65),
            timeout: HumanDuration(Duration::ZERO),
            ..CacheSettings::default()
        };
        let errors = wrong.validate("cache");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = [
            "path",
            "key_env",
            "old_keys_env",
            "bytes_max",
            "owner_bytes_max",
            "entries_max",
            "owner_entries_max",
            "entry_size_max",
            "timeout",
        ];
        assert_eq!(paths, keys.map(|key| format!("cache.{key}")));
        assert!(!format!("{errors:?}").contains("aaaa"));
    }
}
