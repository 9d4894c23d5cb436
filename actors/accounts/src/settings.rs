//! Settings of accounts: the file, and the groups to which keys belong.

use std::path::PathBuf;

use kebne_quota::Limits;
use kebne_settings::{SettingsError, Validate, join, validate_each};
use serde::{Deserialize, Serialize};

/// The longest chain of groups: a key, a team, a department, an organisation.
const DEPTH_MAX: usize = 4;

/// Where accounts are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountsStore {
    /// In a file, for this gateway alone.
    #[default]
    Sqlite,
    /// In Redis or Valkey, for all gateways together.
    Redis,
}

/// Settings of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountsSettings {
    /// Where keys and what they use are kept: `sqlite`, in a file of this gateway, or `redis`, so that all gateways have the same keys,
    /// limits and budgets. Default `sqlite`.
    pub store: AccountsStore,
    /// The file with the keys that are created while the service runs, and with what all keys use; empty for none: then sums are lost
    /// at a restart. It is only used if `server.keys` has a key. Default `kebne-data/accounts.sqlite`, relative to the
    /// working directory.
    pub path: PathBuf,
    /// The number of keys that can be created while the service runs; 1 to 100000. Default 10000.
    pub keys_max: usize,
    /// Groups of keys with limits of their own, such as teams and organisations. Default none.
    pub groups: Vec<GroupSettings>,
}

/// A group of keys. Its limits hold for all calls of its keys and of the groups below it together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSettings {
    /// The name by which keys and groups refer to it; each name can be used once.
    pub name: String,
    /// The group above it. Default none.
    pub parent: Option<String>,
    /// The names of further checks that the calls of its keys must pass; `kebne` knows them as guards. Default none.
    pub guards: Vec<String>,
    /// The limits. Default none: it is only counted.
    pub limits: Limits,
}

impl Default for AccountsSettings {
    fn default() -> Self {
        Self {
            store: AccountsStore::Sqlite,
            path: PathBuf::from("kebne-data/accounts.sqlite"),
            keys_max: 10_000,
            groups: Vec::new(),
        }
    }
}

impl AccountsSettings {
    /// Returns a group and those above it, the nearest first; at most four.
    pub fn chain<'a>(&'a self, name: &str) -> Vec<&'a GroupSettings> {
        let mut chain = Vec::new();
        let mut name = Some(name);
        while let Some(wanted) = name
            && let Some(group) = self.groups.iter().find(|group| group.name == wanted)
            && chain.len() <= DEPTH_MAX
        {
            chain.push(group);
            name = group.parent.as_deref();
        }
        chain
    }
}

impl Validate for AccountsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        if !(1..=100_000).contains(&self.keys_max) {
            let at = join(path, "keys_max");
            errors.push(SettingsError::new(at, "must be 1 to 100000"));
        }
        let names = || self.groups.iter().map(|group| group.name.as_str());
        for (index, group) in self.groups.iter().enumerate() {
            let at = |key: &str| join(path, &format!("groups[{index}].{key}"));
            if group.name.is_empty() {
                errors.push(SettingsError::new(at("name"), "a group needs a name"));
            }
            if names().take(index).any(|name| name == group.name) {
                errors.push(SettingsError::new(at("name"), "is used more than once"));
            }
            let Some(parent) = &group.parent else {
                continue;
            };
            if !names().any(|name| name == parent) {
                let message = format!("there is no group named `{parent}`");
                let error = SettingsError::new(at("parent"), message);
                errors.push(error.with_allowed(names()).suggesting(parent));
            } else if self.chain(&group.name).len() > DEPTH_MAX {
                let message = "groups must not form a circle or a chain of more than four";
                errors.push(SettingsError::new(at("parent"), message));
            }
        }
        errors.extend(validate_each(&self.groups, &join(path, "groups")));
        errors
    }
}

impl Validate for GroupSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        self.limits.validate(&join(path, "limits"))
    }
}
