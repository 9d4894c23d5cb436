//! A store in memory that several gateways of one process share. It is what tests compare others with.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kebne_quota::{Ask, Grant, SharedAccount};

use crate::{
    GroupSettings, StoredKey, WallClock,
    store::{BlockStore, KeyStore, SharedStore, StoreError},
};

/// The store; clones share it.
#[derive(Clone)]
pub struct LocalStore {
    held: Arc<Mutex<Held>>,
    clock: WallClock,
}

#[derive(Default)]
struct Held {
    accounts: BTreeMap<String, SharedAccount>,
    keys: BTreeMap<String, StoredKey>,
    groups: BTreeMap<String, GroupSettings>,
    revision: u64,
}

impl LocalStore {
    /// Creates an empty store with a clock, in milliseconds since 1970.
    pub fn new(clock: WallClock) -> Self {
        Self {
            held: Arc::default(),
            clock,
        }
    }

    /// Loses everything, as a server without a disk that starts again does.
    pub fn lose(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        let mut held = self.held();
        change(&mut held);
        held.revision += 1;
    }
}

impl KeyStore for LocalStore {
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        Ok(self.held().keys.values().cloned().collect())
    }

    fn put_key(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        self.change(|held| {
            held.keys.insert(key.id.clone(), key.clone());
        });
        Ok(())
    }

    fn remove_key(&mut self, id: &str) -> Result<(), StoreError> {
        self.change(|held| {
            held.keys.remove(id);
        });
        Ok(())
    }

    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError> {
        Ok(self.held().groups.values().cloned().collect())
    }

    fn put_group(&mut self, group: &GroupSettings) -> Result<(), StoreError> {
        self.change(|held| {
            held.groups.insert(group.name.clone(), group.clone());
        });
        Ok(())
    }

    fn remove_group(&mut self, name: &str) -> Result<(), StoreError> {
        self.change(|held| {
            held.groups.remove(name);
        });
        Ok(())
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        Ok(self.held().revision)
    }
}

impl BlockStore for LocalStore {
    fn settle(
        &mut self,
        gateway: &str,
        asks: &[(String, Ask)],
        ttl: Duration,
    ) -> Result<Vec<Grant>, StoreError> {
        let now = (self.clock)();
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let mut held = self.held();
        let grants = asks.iter().map(|(name, ask)| {
            let account = held.accounts.entry(name.clone()).or_default();
            account.settle(gateway, ask, ttl, now)
        });
        Ok(grants.collect())
    }
}

impl SharedStore for LocalStore {
    fn restore(
        &mut self,
        revision: u64,
        keys: &[StoredKey],
        groups: &[GroupSettings],
    ) -> Result<(), StoreError> {
        let mut held = self.held();
        if held.revision < revision {
            held.keys = keys
                .iter()
                .map(|key| (key.id.clone(), key.clone()))
                .collect();
            let groups = groups.iter();
            held.groups = groups
                .map(|group| (group.name.clone(), group.clone()))
                .collect();
            held.revision = revision + 1;
        }
        Ok(())
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalStore").finish_non_exhaustive()
    }
}
