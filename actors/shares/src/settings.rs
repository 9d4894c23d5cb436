//! Settings of leases, under `[share]`.

use std::{path::PathBuf, time::Duration};

use kebne_settings::{HumanDuration, SettingsError, Validate, join};
use serde::{Deserialize, Serialize};

/// The shortest and the longest interval of renewals.
const RENEWS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest time to live.
const TTL_MAX: Duration = Duration::from_mins(1);
/// The number of renewals that may fail within the time to live.
const RENEWALS_LEAST: u32 = 4;

/// Where gateways that share backends keep their leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareBy {
    /// Nowhere: this gateway is alone in front of its backends.
    #[default]
    Nothing,
    /// In a folder, for gateways on one machine.
    File,
    /// In Redis or Valkey.
    Redis,
}

/// Settings of the leases by which several gateways share their backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShareSettings {
    /// Where the gateways keep their leases: `nothing`, `file` or `redis`. `nothing` if this gateway is alone. Default `nothing`.
    pub by: ShareBy,
    /// The folder of the leases with `by = "file"`; all gateways of the machine must be able to write it. Default
    /// `kebne-data/leases`, relative to the working directory.
    pub folder: PathBuf,
    /// The interval at which the lease of each lane is renewed; 100ms to 5s. Default 250ms.
    pub renew_every: HumanDuration,
    /// The time after which the share of a silent gateway goes to the others; at least 4 times `renew_every`, at most 1m, and the
    /// same in all gateways. Default 2s.
    pub lease_ttl: HumanDuration,
    /// The name of this gateway, which no other one may have. Default: the process id and random letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Default for ShareSettings {
    fn default() -> Self {
        Self {
            by: ShareBy::Nothing,
            folder: PathBuf::from("kebne-data/leases"),
            renew_every: HumanDuration(Duration::from_millis(250)),
            lease_ttl: HumanDuration(Duration::from_secs(2)),
            member: None,
        }
    }
}

impl Validate for ShareSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let named = self.folder.file_name().is_some();
        require(named, "folder", "must name a folder");
        let every = self.renew_every.0;
        let fits = every >= RENEWS.0 && every <= RENEWS.1;
        require(fits, "renew_every", "must be 100ms to 5s");
        let ttl = self.lease_ttl.0;
        let fits = !fits || (ttl >= every * RENEWALS_LEAST && ttl <= TTL_MAX);
        let message = "must be at least 4 times `renew_every`, and at most 1m";
        require(fits, "lease_ttl", message);
        let fits = self
            .member
            .as_ref()
            .is_none_or(|name| (1..=100).contains(&name.len()));
        require(fits, "member", "must have 1 to 100 bytes");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_bound_is_named() {
        assert!(ShareSettings::default().validate("share").is_empty());
        let wrong = ShareSettings {
            folder: PathBuf::new(),
            renew_every: HumanDuration(Duration::from_millis(250)),
            lease_ttl: HumanDuration(Duration::from_millis(900)),
            member: Some(String::new()),
            ..ShareSettings::default()
        };
        let errors = wrong.validate("share");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["share.folder", "share.lease_ttl", "share.member"]);
        let slow = ShareSettings {
            renew_every: HumanDuration(Duration::from_secs(6)),
            ..ShareSettings::default()
        };
        let errors = slow.validate("share");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(paths, ["share.renew_every"]);
    }
}
