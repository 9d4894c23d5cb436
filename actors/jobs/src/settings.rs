//! Settings of jobs: the file, its keys, bounds and times.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{ByteCount, Checks, HumanDuration, SettingsError, Validate};
use serde::{Deserialize, Serialize};

/// The longest time for which a job may wait, and for which results are kept: as long as `OpenAI` keeps the files of batches.
pub const LIFETIME_MAX: Duration = Duration::from_hours(30 * 24);

/// Settings of jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSettings {
    /// The file, created with the first job. Default `kebne-data/jobs.sqlite`, relative to the working directory.
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
    /// The maximum number of jobs that run at once; 1 to 1024. More use backends better when no callers wait; the lanes bound them too.
    /// Default 8.
    pub at_once: usize,
    /// The maximum number of jobs of one tenant that run at once; 1 to 1024. Default 4.
    pub at_once_per_tenant: u64,
    /// The maximum number of jobs of each tenant that wait or run, those of batches included; 1 to 1000000. Default 50000.
    pub waiting_max: u64,
    /// The maximum number of bytes of each tenant: requests and kept results; at least 1MiB. Default 1GiB.
    pub tenant_bytes_max: ByteCount,
    /// The largest result that is kept; 1KiB to 64MiB. A job with a larger one fails. Default 16MiB.
    pub result_size_max: ByteCount,
    /// The priority of the calls of jobs in lanes, at best; 0 to 9. A lower one than that of other callers gives those precedence. Default 9,
    /// the lowest.
    pub priority: u8,
    /// The time for which a job may wait and run, unless it names another one; 1s to 30d. Default 1day.
    pub expires_after: HumanDuration,
    /// The time for which results are kept after the end of a job; 1m to 30d. Default 1day.
    pub retention: HumanDuration,
    /// The time for one attempt, the wait in the lane included; 1s to 1h. `server.deadline_max` bounds it too. Default 10m.
    pub attempt_time_max: HumanDuration,
    /// The maximum number of attempts that failed or were lost with their process; 1 to 100. An attempt that a lane or a limit refuses does
    /// not count: the job waits and is tried again until it expires. Default 5.
    pub attempts_max: u32,
    /// The time after which the jobs of a process that has ended are run by another one; 1s to 10m. Running jobs prolong it. Default 30s.
    pub lease: HumanDuration,
    /// `true` to answer a call with 202 and queue it as a job when it is refused because its wait would exceed its deadline. Default `false`.
    pub on_long_wait: bool,
    /// The maximum number of attempts to deliver a webhook; 1 to 20. The waits between them grow from 5s to 1h. Default 8.
    pub webhook_attempts_max: u32,
    /// The time for the answer to a webhook; 1s to 1m. Default 10s.
    pub webhook_timeout: HumanDuration,
    /// Hosts, with or without a port, to which webhooks may go although their addresses are not public, also without TLS. Default none.
    pub webhook_hosts: Vec<String>,
}

impl Default for JobsSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("kebne-data/jobs.sqlite"),
            key_env: "KEBNE_CONTEXT_KEY".to_owned(),
            key_file: None,
            old_keys_env: "KEBNE_CONTEXT_OLD_KEYS".to_owned(),
            old_keys_file: None,
            at_once: 8,
            at_once_per_tenant: 4,
            waiting_max: 50_000,
            tenant_bytes_max: ByteCount::from_mib(1024),
            result_size_max: ByteCount::from_mib(16),
            priority: 9,
            expires_after: HumanDuration(Duration::from_hours(24)),
            retention: HumanDuration(Duration::from_hours(24)),
            attempt_time_max: HumanDuration(Duration::from_mins(10)),
            attempts_max: 5,
            lease: HumanDuration::from_secs(30),
            on_long_wait: false,
            webhook_attempts_max: 8,
            webhook_timeout: HumanDuration::from_secs(10),
            webhook_hosts: Vec::new(),
        }
    }
}

impl Validate for JobsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut checks = Checks::new(path);
        checks.store_file(&self.path, &self.key_env, &self.old_keys_env);
        let counts = [
            ("at_once", self.at_once as u64, 1, 1024),
            ("at_once_per_tenant", self.at_once_per_tenant, 1, 1024),
            ("waiting_max", self.waiting_max, 1, 1_000_000),
            ("priority", self.priority.into(), 0, 9),
            ("attempts_max", self.attempts_max.into(), 1, 100),
            (
                "webhook_attempts_max",
                self.webhook_attempts_max.into(),
                1,
                20,
            ),
        ];
        for (key, count, least, most) in counts {
            checks.within(key, count, least..=most);
        }
        self.validate_sizes_and_times(&mut checks);
        checks.into_errors()
    }
}

impl JobsSettings {
    /// Calls `require` with whether each of the sizes and times is within its range, its key, and the range.
    fn validate_sizes_and_times(&self, checks: &mut Checks<'_>) {
        let is_large = self.tenant_bytes_max >= ByteCount::from_mib(1);
        checks.require(is_large, "tenant_bytes_max", "must be at least 1MiB");
        let sizes = ByteCount::from_kib(1)..=ByteCount::from_mib(64);
        let fits = sizes.contains(&self.result_size_max);
        checks.require(fits, "result_size_max", "must be 1KiB to 64MiB");
        let (second, minute) = (Duration::from_secs(1), Duration::from_mins(1));
        let times = [
            (
                "expires_after",
                self.expires_after,
                second,
                LIFETIME_MAX,
                "1s to 30d",
            ),
            (
                "retention",
                self.retention,
                minute,
                LIFETIME_MAX,
                "1m to 30d",
            ),
            (
                "attempt_time_max",
                self.attempt_time_max,
                second,
                60 * minute,
                "1s to 1h",
            ),
            ("lease", self.lease, second, 10 * minute, "1s to 10m"),
            (
                "webhook_timeout",
                self.webhook_timeout,
                second,
                minute,
                "1s to 1m",
            ),
        ];
        for (key, time, least, most, range) in times {
            let fits = (least..=most).contains(&time.0);
            checks.require(fits, key, &format!("must be {range}"));
        }
        let is_host = |host: &String| !host.is_empty() && !host.contains(['/', '@', ' ']);
        let fits = self.webhook_hosts.iter().all(is_host);
        checks.require(
            fits,
            "webhook_hosts",
            "must be hosts such as `hooks.internal:8080`",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(JobsSettings::default().validate("jobs").is_empty());
        let wrong = JobsSettings {
            path: PathBuf::new(),
            key_env: "a".repeat(64),
            old_keys_env: String::new(),
            at_once: 0,
            at_once_per_tenant: 0,
            waiting_max: 0,
            tenant_bytes_max: ByteCount::from_kib(1),
            result_size_max: ByteCount::from_mib(65),
            priority: 10,
            expires_after: HumanDuration(Duration::from_millis(999)),
            retention: HumanDuration::from_secs(59),
            attempt_time_max: HumanDuration::from_secs(3601),
            attempts_max: 0,
            lease: HumanDuration::from_secs(601),
            webhook_attempts_max: 21,
            webhook_timeout: HumanDuration::from_secs(61),
            webhook_hosts: vec!["http://a".to_owned()],
            ..JobsSettings::default()
        };
        let errors = wrong.validate("jobs");
        let keys: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(keys.len(), 17, "{keys:?}");
        let quoted = |error: &SettingsError| format!("{error:?}").contains("aaaa");
        assert!(!errors.iter().any(quoted));
    }
}
