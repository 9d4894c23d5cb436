//! The accounts of several gateways: blocks of their limits, their sums, and the keys.
//!
//! An account is one value, which a gateway reads, steps and replaces, as with leases; the requests of many accounts are sent
//! together. Keys and groups are two hashes with a revision that each change raises. All times are the server's.

use std::{collections::BTreeMap, time::Duration};

use kebne_accounts::{
    Ask, BlockStore, Grant, GroupSettings, KeyStore, SharedAccount, SharedStore, StoreError,
    StoredKey,
};
use redis::{Pipeline, Script};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    blocking::BlockingConnection,
    connection::RedisFault,
    options::{Options, OptionsError},
};

/// The time after which an account that nobody uses is forgotten: longer than a month, whose sum is in it.
const FORGOTTEN: Duration = Duration::from_hours(40 * 24);
/// The attempts of one step. Each failed one means that another gateway's step was applied.
const ATTEMPTS_MAX: u32 = 32;

const LOAD: &str = include_str!("leases/load.lua");
const SWAP: &str = include_str!("leases/swap.lua");

/// Accounts in Redis or Valkey. Its methods block.
#[derive(Debug)]
pub struct RedisAccounts {
    connection: BlockingConnection,
    prefix: String,
    change: Script,
    restore: Script,
}

/// One account on its way: what was read, and the request.
struct Step<'a> {
    key: String,
    ask: &'a Ask,
    text: String,
    now: u64,
    grant: Grant,
    is_done: bool,
}

/// The answer of [`SWAP`]: 1 if it was replaced, else the present state and the server's time.
type Swapped = (u8, String, u64, u64);

impl RedisAccounts {
    /// Creates the store of a server, which need not be there yet.
    ///
    /// # Errors
    /// Returns an error if the address is not one of Redis, or holds a password.
    pub fn new(options: &Options) -> Result<Self, OptionsError> {
        Ok(Self {
            connection: BlockingConnection::new(options)?,
            prefix: options.prefix.clone(),
            change: Script::new(include_str!("accounts/change.lua")),
            restore: Script::new(include_str!("accounts/restore.lua")),
        })
    }

    /// Returns the name of what all keys have in common. It is in one slot of a cluster.
    fn name(&self, part: &str) -> String {
        format!("{}{{accounts}}:{part}", self.prefix)
    }

    /// Reads the states of all steps, in one round trip.
    fn load(&mut self, steps: &mut [Step<'_>]) -> Result<(), StoreError> {
        let mut pipeline = Pipeline::with_capacity(steps.len());
        for step in &*steps {
            pipeline.cmd("EVAL").arg(LOAD).arg(1).arg(&step.key);
        }
        let read: Vec<(String, u64, u64)> = self.connection.query(&pipeline)?;
        for (step, (text, seconds, micros)) in steps.iter_mut().zip(read) {
            step.text = text;
            step.now = millis(seconds, micros);
        }
        Ok(())
    }

    /// Steps the accounts that are not done, and replaces their states, in one round trip.
    fn swap(
        &mut self,
        gateway: &str,
        ttl: Duration,
        steps: &mut [Step<'_>],
    ) -> Result<(), StoreError> {
        let forgotten = whole_millis(FORGOTTEN);
        let mut pipeline = Pipeline::with_capacity(steps.len());
        for step in steps.iter_mut().filter(|step| !step.is_done) {
            let mut account = parse(&step.key, &step.text);
            step.grant = account.settle(gateway, step.ask, whole_millis(ttl), step.now);
            let next = text(&account)?;
            let command = pipeline.cmd("EVAL").arg(SWAP).arg(1).arg(&step.key);
            command.arg(&step.text).arg(next).arg(forgotten);
        }
        let swapped: Vec<Swapped> = self.connection.query(&pipeline)?;
        let left = steps.iter_mut().filter(|step| !step.is_done);
        for (step, (done, found, seconds, micros)) in left.zip(swapped) {
            step.is_done = done == 1;
            if !step.is_done {
                (step.text, step.now) = (found, millis(seconds, micros));
            }
        }
        Ok(())
    }

    fn records<T: DeserializeOwned>(&mut self, part: &str) -> Result<Vec<T>, StoreError> {
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.name(part));
        let found: (BTreeMap<String, String>,) = self.connection.query(&pipeline)?;
        let records = found.0.into_values().map(|record| {
            serde_json::from_str(&record).map_err(|error| {
                StoreError(format!("a record in `{part}` cannot be read: {error}"))
            })
        });
        records.collect()
    }

    /// Sets a field of a hash, or removes it, and raises the revision.
    fn change(&mut self, part: &str, field: &str, record: &str) -> Result<(), StoreError> {
        let (hash, revision) = (self.name(part), self.name("revision"));
        let mut invocation = self.change.key(hash);
        invocation.key(revision).arg(field).arg(record);
        self.connection.run::<u64>(&invocation)?;
        Ok(())
    }
}

impl From<RedisFault> for StoreError {
    fn from(fault: RedisFault) -> Self {
        Self(fault.to_string())
    }
}

fn text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError(error.to_string()))
}

fn millis(seconds: u64, micros: u64) -> u64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads an account. What is none is replaced by an empty one, which gets its sums back from the gateways.
fn parse(key: &str, text: &str) -> SharedAccount {
    if text.is_empty() {
        return SharedAccount::default();
    }
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::warn!(key, %error, "a shared account cannot be read; it begins anew");
        SharedAccount::default()
    })
}

impl BlockStore for RedisAccounts {
    fn settle(
        &mut self,
        gateway: &str,
        asks: &[(String, Ask)],
        ttl: Duration,
    ) -> Result<Vec<Grant>, StoreError> {
        let step = |(account, ask)| Step {
            // Each account is in a slot of its own.
            key: format!("{}account:{{{account}}}", self.prefix),
            ask,
            text: String::new(),
            now: 0,
            grant: Grant::default(),
            is_done: false,
        };
        let mut steps: Vec<Step<'_>> = asks.iter().map(|(name, ask)| step((name, ask))).collect();
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        self.load(&mut steps)?;
        for _ in 0..ATTEMPTS_MAX {
            self.swap(gateway, ttl, &mut steps)?;
            if steps.iter().all(|step| step.is_done) {
                return Ok(steps.into_iter().map(|step| step.grant).collect());
            }
        }
        let message = format!("an account was changed by others {ATTEMPTS_MAX} times");
        Err(StoreError(message))
    }
}

impl KeyStore for RedisAccounts {
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        self.records("keys")
    }

    fn put_key(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        self.change("keys", &key.id, &text(key)?)
    }

    fn remove_key(&mut self, id: &str) -> Result<(), StoreError> {
        self.change("keys", id, "")
    }

    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError> {
        self.records("groups")
    }

    fn put_group(&mut self, group: &GroupSettings) -> Result<(), StoreError> {
        self.change("groups", &group.name, &text(group)?)
    }

    fn remove_group(&mut self, name: &str) -> Result<(), StoreError> {
        self.change("groups", name, "")
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        let mut pipeline = Pipeline::new();
        pipeline.get(self.name("revision"));
        let (revision,): (Option<u64>,) = self.connection.query(&pipeline)?;
        Ok(revision.unwrap_or(0))
    }
}

impl SharedStore for RedisAccounts {
    fn restore(
        &mut self,
        revision: u64,
        keys: &[StoredKey],
        groups: &[GroupSettings],
    ) -> Result<(), StoreError> {
        let names = ["keys", "groups", "revision"].map(|part| self.name(part));
        let mut invocation = self.restore.prepare_invoke();
        for name in names {
            invocation.key(name);
        }
        invocation.arg(revision).arg(keys.len());
        for key in keys {
            invocation.arg(&key.id).arg(text(key)?);
        }
        for group in groups {
            invocation.arg(&group.name).arg(text(group)?);
        }
        self.connection.run::<u8>(&invocation)?;
        Ok(())
    }
}
