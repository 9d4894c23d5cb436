//! A key that was created while the service runs. The key itself is never stored, only its hash.

use kebne_quota::Limits;
use serde::{Deserialize, Serialize};

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySpec {
    /// The name of the key's owner; each name is used once.
    pub name: String,
    /// The group of accounts to which its calls count; `None` for none.
    pub group: Option<String>,
    /// The tenant of its calls; by default its name.
    pub tenant: Option<String>,
    /// The highest priority of its calls, 0 to 9.
    pub priority: u8,
    /// The tenant's share relative to others.
    pub weight: f64,
    /// `true` if its calls may name their own tenants.
    pub names_tenants: bool,
    /// Its permissions.
    pub scopes: Vec<String>,
    /// The models that it may call; `None` for all.
    pub models: Option<Vec<String>>,
    /// The time after which it is not accepted, in seconds since 1970; `None` for never.
    pub expires_at: Option<u64>,
    /// The names of further checks that its calls must pass.
    pub guards: Vec<String>,
    /// Its limits.
    pub limits: Limits,
}

impl Default for KeySpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            group: None,
            tenant: None,
            priority: 0,
            weight: 1.0,
            names_tenants: false,
            scopes: vec!["call".to_owned()],
            models: None,
            expires_at: None,
            guards: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// The hash that a rotated key had before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldHash {
    /// SHA-256 in lowercase hexadecimal.
    pub hash: String,
    /// The time after which it is not accepted, in seconds since 1970.
    pub until: u64,
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredKey {
    /// The id by which it is administered; it is not secret.
    pub id: String,
    /// SHA-256 of the key in lowercase hexadecimal.
    pub hash: String,
    /// The hash before the last rotation.
    pub old: Option<OldHash>,
    /// When it was created, in seconds since 1970.
    pub created_at: u64,
    /// What it may do.
    pub spec: KeySpec,
}
