//! What a store of keys and of what they use must do.

use std::time::Duration;

use kebne_quota::{Amount, Ask, Day, Grant};

use crate::{GroupSettings, StoredKey};

/// The reason why a store did not do what it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store of accounts failed: {0}")]
pub struct StoreError(pub String);

/// What an account used on a day.
pub type Used = (String, Day, Amount);

/// A store of keys and their groups. Its methods may block: they are called on a thread of their own.
pub trait KeyStore: Send {
    /// Returns all keys.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be read.
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError>;

    /// Writes a key, new or changed.
    ///
    /// # Errors
    /// Returns the reason why it was not written.
    fn put_key(&mut self, key: &StoredKey) -> Result<(), StoreError>;

    /// Removes a key.
    ///
    /// # Errors
    /// Returns the reason why it was not removed.
    fn remove_key(&mut self, id: &str) -> Result<(), StoreError>;

    /// Returns all groups.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be read.
    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError>;

    /// Writes a group, new or changed.
    ///
    /// # Errors
    /// Returns the reason why it was not written.
    fn put_group(&mut self, group: &GroupSettings) -> Result<(), StoreError>;

    /// Removes a group.
    ///
    /// # Errors
    /// Returns the reason why it was not removed.
    fn remove_group(&mut self, name: &str) -> Result<(), StoreError>;

    /// Returns a number that has grown after each change of keys or groups, by whomever. A smaller number than before means that the
    /// store has lost what it held.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be read.
    fn revision(&mut self) -> Result<u64, StoreError>;
}

/// A store of what accounts use. Its methods may block: they are called on a thread of their own.
///
/// Limits and reservations are not here: they are decided in memory. It is for one gateway; a store that several share is a [`BlockStore`].
pub trait QuotaStore: Send {
    /// Returns what each account has used since `first`, by day.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be read.
    fn used_since(&mut self, first: Day) -> Result<Vec<Used>, StoreError>;

    /// Adds what was used to the sums of the days: all of it or nothing.
    ///
    /// # Errors
    /// Returns the reason why nothing was written.
    fn add_used(&mut self, used: &[Used]) -> Result<(), StoreError>;
}

/// A store of accounts that several gateways share. Its methods may block: they are called on a thread of their own.
///
/// The step of each account is [`kebne_quota::SharedAccount::settle`], with the store's time.
pub trait BlockStore: Send {
    /// Settles the reports of a gateway and grants it blocks for `ttl`: one grant for each account, in their order. `gateway` names
    /// one life of one process, and is never used again.
    ///
    /// # Errors
    /// Returns the reason why there are no grants. Some or all of the reports may have been settled; they can be sent again.
    fn settle(
        &mut self,
        gateway: &str,
        asks: &[(String, Ask)],
        ttl: Duration,
    ) -> Result<Vec<Grant>, StoreError>;
}

/// A store that several gateways share.
pub trait SharedStore: KeyStore + BlockStore {
    /// Puts back what a gateway knows if the store has lost it: all keys and groups are replaced if its revision is smaller than
    /// `revision`, and it then has a larger one.
    ///
    /// # Errors
    /// Returns the reason why it was not done.
    fn restore(
        &mut self,
        revision: u64,
        keys: &[StoredKey],
        groups: &[GroupSettings],
    ) -> Result<(), StoreError>;
}

/// A store of keys and of what they use, for one gateway.
pub trait AccountStore: KeyStore + QuotaStore {}

impl<S: KeyStore + QuotaStore> AccountStore for S {}

/// A store for a service whose keys are all in its settings: nothing outlives the process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoStore;

impl KeyStore for NoStore {
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        Ok(Vec::new())
    }

    fn put_key(&mut self, _: &StoredKey) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_key(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError> {
        Ok(Vec::new())
    }

    fn put_group(&mut self, _: &GroupSettings) -> Result<(), StoreError> {
        Ok(())
    }

    fn remove_group(&mut self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        Ok(0)
    }
}

impl QuotaStore for NoStore {
    fn used_since(&mut self, _: Day) -> Result<Vec<Used>, StoreError> {
        Ok(Vec::new())
    }

    fn add_used(&mut self, _: &[Used]) -> Result<(), StoreError> {
        Ok(())
    }
}
