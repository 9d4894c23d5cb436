//! Accounts that are shared with other gateways: how a call waits for a block, and what the actor does with them.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use kebne_quota::{AccountId, Estimate, Grant, Stop};
use tokio::time::Instant;

use crate::{
    Accounts, Denied, GroupSettings, Reservation, StoreError, StoredKey,
    accountant::Renew,
    book::Asked,
    sharing::{Blocks, Count, SharedHealth},
};

/// The result of one attempt to admit a call.
enum Attempt {
    Ended(Result<Reservation, Denied>),
    /// The blocks are too small; the store is asked in this round.
    Short {
        round: u64,
        is_first: bool,
    },
}

impl Accounts {
    /// Reserves the most that a call may use. If the accounts are shared with other gateways and their blocks are too small, the call
    /// waits a few milliseconds for the store; without an answer it uses a fair part of what was last known.
    ///
    /// # Errors
    /// Returns the limit that the call would exceed.
    pub async fn admit(
        &self,
        path: &Arc<[AccountId]>,
        estimate: Estimate,
    ) -> Result<Reservation, Denied> {
        let Some(blocks) = &self.0.blocks else {
            return self.reserve(path, estimate);
        };
        let mut beyond = blocks.beyond();
        let mut until = None;
        loop {
            match self.attempt(path, estimate, beyond) {
                Attempt::Ended(result) => return result,
                Attempt::Short { round, is_first } => {
                    let sharing = &blocks.sharing;
                    let until = *until.get_or_insert_with(|| {
                        blocks.count(Count::Waits, 1);
                        let wait = if is_first {
                            sharing.wait_first
                        } else {
                            sharing.wait
                        };
                        Instant::now() + wait
                    });
                    self.renew_soon(blocks);
                    beyond = blocks.wait(round, until).await;
                }
            }
        }
    }

    fn attempt(
        &self,
        path: &Arc<[AccountId]>,
        estimate: Estimate,
        beyond: kebne_quota::Beyond,
    ) -> Attempt {
        let now = self.now();
        let mut book = self.book();
        match book.ledger.admit(path, &estimate, beyond, now) {
            Ok(()) => {
                let room = book.ledger.room(path);
                drop(book);
                let path = Arc::clone(path);
                Attempt::Ended(Ok(Reservation::new(self.clone(), path, estimate, room)))
            }
            Err(Stop::Short { is_first }) => Attempt::Short {
                // A round that has begun may not contain what this call needs.
                round: book.round + 1,
                is_first,
            },
            Err(Stop::Refused(refusal)) => Attempt::Ended(Err(Denied {
                account: book.name(refusal.account),
                exceeded: refusal.exceeded,
                retry_after: refusal.retry_after,
                room: book.ledger.room(path),
            })),
        }
    }

    /// Has the actor begin a round.
    fn renew_soon(&self, blocks: &Blocks) {
        if let Some(actor) = self.0.actor.get()
            && blocks.wants_round()
        {
            // If it is lost, the actor's timer does the same.
            actor.post(Renew);
        }
    }

    /// Writes down what was used until now. Of a shared account, the sums are then those of all gateways.
    ///
    /// # Errors
    /// Returns an error if the store did not do it; the last known sums count.
    pub async fn refresh(&self, account: &str) -> Result<(), StoreError> {
        if self.0.blocks.is_some() {
            let now = self.now();
            self.book().refresh(account, now);
        }
        self.flush().await
    }

    /// Returns what is known of shared accounts; `None` if they are not shared.
    pub fn shared_health(&self) -> Option<SharedHealth> {
        let blocks = self.0.blocks.as_ref()?;
        let fair_parts = self.book().ledger.fair_parts();
        Some(blocks.health(fair_parts))
    }
}

/// What the actor does with shared accounts.
impl Accounts {
    pub(crate) fn blocks(&self) -> Option<&Blocks> {
        self.0.blocks.as_ref()
    }

    /// Has the sums of budgets read that have not been read for a while, because only other gateways use them.
    pub(crate) fn refresh_old(&self, age: Duration) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let now = self.now();
        self.book().ledger.refresh_old(age, now);
    }

    /// Begins a round. Returns its number, and the accounts for which the store should be asked.
    pub(crate) fn begin_round(&self, blocks: &Blocks, leaves: bool) -> (u64, Vec<AccountId>) {
        // What is wanted from here on asks for another round.
        blocks.begin_round();
        let now = self.now();
        let mut book = self.book();
        let due = book.begin_round(leaves, now);
        (book.round, due)
    }

    /// Returns all groups of the store, those whose names the settings use too.
    pub(crate) fn all_stored_groups(&self) -> Vec<GroupSettings> {
        self.groups().of_store()
    }

    pub(crate) fn asks(&self, ids: &[AccountId], leaves: bool) -> Vec<Asked> {
        let now = self.now();
        self.book().asks(ids, leaves, now)
    }

    /// Takes the grants of accounts, which were asked for at `asked`.
    pub(crate) fn granted(&self, blocks: &Blocks, grants: &[(AccountId, Grant)], asked: Instant) {
        if let Some((_, grant)) = grants.first() {
            // The store has looked at its clock between then and now.
            let half = u64::try_from(asked.elapsed().as_millis() / 2).unwrap_or(0);
            blocks.note_time(grant.now, (self.0.clock)().saturating_sub(half));
            let most = grants.iter().map(|(_, grant)| grant.gateways).max();
            blocks.note_gateways(most.unwrap_or(1));
        }
        blocks.count(Count::Grants, grants.len() as u64);
        blocks.answered(asked);
        let now = self.now();
        let mut book = self.book();
        for (id, grant) in grants {
            book.grant(*id, grant, now);
        }
    }

    /// Replaces the keys and groups by those of the store.
    pub(crate) fn follow(
        &self,
        blocks: &Blocks,
        revision: u64,
        groups: Vec<GroupSettings>,
        keys: Vec<StoredKey>,
    ) {
        blocks.revision.store(revision, SeqCst);
        self.0.is_loaded.store(true, SeqCst);
        let keys: BTreeMap<String, StoredKey> =
            keys.into_iter().map(|key| (key.id.clone(), key)).collect();
        let groups: BTreeMap<String, GroupSettings> = groups
            .into_iter()
            .map(|group| (group.name.clone(), group))
            .collect();
        let settings = self.groups().change(|known| *known = groups);
        self.use_settings(settings);
        self.change_keys(|known| *known = keys);
    }
}
