//! What the actor does with a store that several gateways share.

use std::time::Duration;

use kebne_quota::Grant;
use tokio::time::Instant;

use crate::{
    StoreError,
    accountant::{Accountant, Store},
};

/// The accounts of one request to the store.
const BATCH: usize = 200;
/// The interval at which the keys of the store are looked at: a change is in effect everywhere within it and one renewal.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// The age at which the sums of a budget are read again that only other gateways use.
const OLD: Duration = Duration::from_secs(30);
/// The interval at which such sums are looked for.
const REFRESHES_EVERY: Duration = Duration::from_secs(5);

/// What is known of the store.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When its keys were looked at.
    looked: Option<Instant>,
    /// When old sums were looked for.
    refreshed: Option<Instant>,
    /// When it failed, if it has not answered since.
    failed: Option<Instant>,
}

fn not_shared() -> StoreError {
    StoreError("it is not a shared one".to_owned())
}

impl Accountant {
    /// Renews what is due, and looks at the keys now and then.
    pub(super) fn tick(&mut self) -> Result<(), StoreError> {
        let refreshed = self.shared.refreshed;
        if refreshed.is_none_or(|refreshed| refreshed.elapsed() >= REFRESHES_EVERY) {
            self.shared.refreshed = Some(Instant::now());
            self.accounts.refresh_old(OLD);
        }
        let renewed = self.renew(false);
        let looked = self.shared.looked;
        if renewed.is_ok() && looked.is_none_or(|looked| looked.elapsed() >= LOOKS_EVERY) {
            self.follow_keys()?;
        }
        if let Some(blocks) = self.accounts.blocks() {
            blocks.log();
        }
        renewed
    }

    /// Settles the reports of the accounts in use and renews their blocks; gives all back if this gateway `leaves`.
    pub(super) fn renew(&mut self, leaves: bool) -> Result<(), StoreError> {
        let accounts = self.accounts.clone();
        let Some(blocks) = accounts.blocks() else {
            return Err(not_shared());
        };
        let (round, due) = accounts.begin_round(blocks, leaves);
        // Who waits for a store that has just failed need not wait for it to fail again.
        let is_failing = |failed: Instant| failed.elapsed() < blocks.sharing.every;
        if self.shared.failed.is_some_and(is_failing) && !leaves {
            blocks.end_round(round, false);
            return Err(StoreError("it has just failed".to_owned()));
        }
        let mut renewed = Ok(());
        for ids in due.chunks(BATCH) {
            let (ids, asks): (Vec<_>, Vec<_>) = accounts.asks(ids, leaves).into_iter().unzip();
            let asked = Instant::now();
            let (gateway, ttl) = (&blocks.sharing.gateway, blocks.sharing.ttl);
            let grants = self.with_store(|store| match store {
                Store::Shared(store) => store.settle(gateway, &asks, ttl),
                Store::Own(_) => Err(not_shared()),
            });
            match grants {
                Ok(grants) => {
                    let grants: Vec<(_, Grant)> = ids.into_iter().zip(grants).collect();
                    accounts.granted(blocks, &grants, asked);
                }
                Err(error) => {
                    renewed = Err(error);
                    break;
                }
            }
        }
        self.shared.failed = renewed.is_err().then(Instant::now);
        blocks.end_round(round, renewed.is_ok());
        renewed
    }

    /// Uses the keys and groups of the store if they have changed. A store that has lost them gets them back.
    pub(super) fn follow_keys(&mut self) -> Result<(), StoreError> {
        let accounts = self.accounts.clone();
        let Some(blocks) = accounts.blocks() else {
            return Err(not_shared());
        };
        let asked = Instant::now();
        let known = blocks.revision.load(std::sync::atomic::Ordering::SeqCst);
        let (keys, groups) = (accounts.keys(), accounts.all_stored_groups());
        let is_loaded = accounts.is_loaded();
        let found = self.with_store(|store| {
            let Store::Shared(store) = store else {
                return Err(not_shared());
            };
            let mut revision = store.revision()?;
            if is_loaded && revision < known {
                tracing::warn!(
                    revision,
                    known,
                    "the store of accounts has lost its keys; it gets the last known ones"
                );
                let keys: Vec<_> = keys.into_values().collect();
                store.restore(known, &keys, &groups)?;
                revision = store.revision()?;
            }
            if is_loaded && revision == known {
                return Ok(None);
            }
            // A change in between is found with the next look.
            Ok(Some((revision, store.groups()?, store.keys()?)))
        });
        if found.is_err() {
            self.shared.failed = Some(Instant::now());
        }
        let found = found?;
        self.shared.looked = Some(Instant::now());
        blocks.answered(asked);
        if let Some((revision, groups, keys)) = found {
            accounts.follow(blocks, revision, groups, keys);
        }
        Ok(())
    }
}
