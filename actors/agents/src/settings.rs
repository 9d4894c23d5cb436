//! Settings of the store of agents and of their runs.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, Checks, HumanDuration, SettingsError, Validate};
use serde::{Deserialize, Serialize};

/// Settings of the store of agents and of their runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentStoreSettings {
    /// The file, created with the first run. Default `kebne-data/agents.sqlite`, relative to the working directory.
    pub path: PathBuf,
    /// The environment variable with the key that encrypts the file, 64 hexadecimal digits. If the variable is not set,
    /// the file is not encrypted. Default `KEBNE_CONTEXT_KEY`, the key of sessions.
    pub key_env: String,
    /// The file with this key, in place of `key_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The environment variable with old keys of the file, separated by white space or commas; at most 8. The keys of owners that
    /// they encrypt are encrypted again with the key of `key_env` when the file is opened. Default `KEBNE_CONTEXT_OLD_KEYS`.
    pub old_keys_env: String,
    /// The file with old keys, in place of `old_keys_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_keys_file: Option<PathBuf>,
    /// The maximum number of runs that go on at once in this process; 1 to 100000. Runs that wait for a human, or only for the tasks that they have given, do
    /// not count. Default 256.
    pub at_once: usize,
    /// The maximum number of runs of each tenant that have not ended; 1 to 1000000. Default 1000.
    pub open_max: u64,
    /// The maximum number of agents that each tenant creates by the API; 0 to 10000. Default 100.
    pub agents_max: u64,
    /// The largest input of a run and the largest result of a tool; 1KiB to 16MiB. A longer result is cut. Default 256KiB.
    pub text_size_max: ByteCount,
    /// How deep agents may give tasks to other agents; 0 to 16. Default 3.
    pub depth_max: u32,
    /// The time for which a run is kept after its end; 1m to 365d. Default 30days.
    pub retention: HumanDuration,
    /// The time after which the runs of a process that has ended are continued by another one; 1s to 10m. Default 15s.
    pub lease: HumanDuration,
}

impl Default for AgentStoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/agents.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            at_once: 256,
            open_max: 1000,
            agents_max: 100,
            text_size_max: ByteCount::from_kib(256),
            depth_max: 3,
            retention: HumanDuration(Duration::from_hours(30 * 24)),
            lease: HumanDuration::from_secs(15),
        }
    }
}

impl Validate for AgentStoreSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut checks = Checks::new(path);
        checks.store_file(&self.path, &self.key_env, &self.old_keys_env);
        for (key, number, least, most) in [
            ("at_once", self.at_once as u64, 1, 100_000),
            ("open_max", self.open_max, 1, 1_000_000),
            ("agents_max", self.agents_max, 0, 10_000),
            ("depth_max", self.depth_max.into(), 0, 16),
        ] {
            checks.within(key, number, least..=most);
        }
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(16);
        let fits = sizes.contains(&self.text_size_max);
        checks.require(fits, "text_size_max", "must be 1KiB to 16MiB");
        let minute = Duration::from_mins(1);
        let fits = (minute..=Duration::from_hours(365 * 24)).contains(&self.retention.0);
        checks.require(fits, "retention", "must be 1m to 365d");
        let fits = (Duration::from_secs(1)..=10 * minute).contains(&self.lease.0);
        checks.require(fits, "lease", "must be 1s to 10m");
        checks.into_errors()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(
            AgentStoreSettings::default()
                .validate("agent_store")
                .is_empty()
        );
        let wrong = AgentStoreSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            old_keys_env: String::new(),
            at_once: 0,
            open_max: 0,
            agents_max: 10_001,
            text_size_max: ByteCount::from_mib(17),
            depth_max: 17,
            retention: HumanDuration::from_secs(59),
            lease: HumanDuration::from_secs(601),
            ..AgentStoreSettings::default()
        };
        let errors = wrong.validate("agent_store");
        assert_eq!(errors.len(), 10, "{errors:?}");
        assert!(!format!("{errors:?}").contains("aaaa"));
    }
}
