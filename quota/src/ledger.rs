//! The accounts of keys and their groups: what is reserved, what was used, and what is not yet written down.
//!
//! A call reserves the most that it may use in its key's account and in all groups above it, and settles what it has used when it has
//! ended. A call that one account refuses changes none of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    Ask, Beyond, Day, Grant, Limits, Terms,
    account::{Account, AccountView, Amount, Estimate, Exceeded, Lacks, Room},
};

/// The number of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

/// The reason why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The account that refuses it.
    pub account: AccountId,
    /// The limit that it would exceed.
    pub exceeded: Exceeded,
    /// The time after which it would not, if that is known.
    pub retry_after: Option<Duration>,
}

/// What keeps a call from being admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A limit has no room for it.
    Refused(Refusal),
    /// The blocks of shared accounts are too small for it. What it needs is in the next requests to the store.
    Short {
        /// `true` if nothing is known yet of one of the accounts, so that there is no fair part of it.
        is_first: bool,
    },
}

/// What was used on a day and is not yet written down.
pub type Unwritten = BTreeMap<(AccountId, Day), Amount>;

/// All accounts. Times are in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountId, Account>,
    next: u64,
    unwritten: Unwritten,
    /// The terms of leases if the accounts are shared with other gateways.
    terms: Option<Terms>,
    /// The shared accounts that are used or hold something.
    active: BTreeSet<AccountId>,
}

impl Ledger {
    /// Creates a ledger whose accounts are shared with other gateways, through a store that grants blocks of their limits.
    pub fn shared(terms: Terms) -> Self {
        Self {
            terms: Some(terms),
            ..Self::default()
        }
    }

    /// Opens an account.
    pub fn open(&mut self, limits: Limits, now: u64) -> AccountId {
        let id = AccountId(self.next);
        self.next += 1;
        self.accounts
            .insert(id, Account::new(limits, self.terms.is_some(), now));
        id
    }

    /// Replaces the limits of an account. What was used still counts.
    pub fn set_limits(&mut self, id: AccountId, limits: Limits, now: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.set_limits(limits, now);
        }
    }

    /// Closes an account. It is removed when its last call has ended.
    pub fn close(&mut self, id: AccountId) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.is_closed = true;
            self.remove_if_over(id);
        }
    }

    /// Returns `true` if an account is open, has a running call, or has used something that is not written down.
    pub fn knows(&self, id: AccountId) -> bool {
        let days = (id, Day(0))..=(id, Day(u32::MAX));
        self.accounts.contains_key(&id) || self.unwritten.range(days).next().is_some()
    }

    /// Returns `true` if an account is open and has a budget.
    pub fn has_budget(&self, id: AccountId) -> bool {
        let account = self.accounts.get(&id);
        account.is_some_and(Account::has_budget)
    }

    /// Adds what an account used on a day before it was opened here.
    pub fn add_past(&mut self, id: AccountId, day: Day, used: Amount) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.add_past(day, used);
        }
    }

    /// Reserves `estimate` in all accounts of `path`. A call that does not fit into the blocks of shared accounts uses a fair part of
    /// what was last known to be free.
    ///
    /// # Errors
    /// Returns the first limit that the call would exceed; then nothing is reserved.
    pub fn reserve(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        now: u64,
    ) -> Result<(), Refusal> {
        match self.admit(path, estimate, Beyond::FairPart, now) {
            Err(Stop::Refused(refusal)) => Err(refusal),
            // With a fair part there is room or there is none.
            Ok(()) | Err(Stop::Short { .. }) => Ok(()),
        }
    }

    /// Reserves `estimate` in all accounts of `path`.
    ///
    /// # Errors
    /// Returns what keeps the call from being admitted; then nothing is reserved.
    pub fn admit(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        beyond: Beyond,
        now: u64,
    ) -> Result<(), Stop> {
        let (mut is_short, mut is_first) = (false, false);
        for id in path {
            let Some(account) = self.accounts.get_mut(id) else {
                continue;
            };
            if account.is_shared() {
                self.active.insert(*id);
            }
            account.roll(now);
            match account.lacks(estimate, beyond, now) {
                None => {}
                Some(Lacks::Block) => {
                    is_short = true;
                    is_first |= account.is_unknown();
                }
                Some(Lacks::Limit(exceeded, retry_after)) => {
                    return Err(Stop::Refused(Refusal {
                        account: *id,
                        exceeded,
                        retry_after,
                    }));
                }
            }
        }
        if is_short {
            return Err(Stop::Short { is_first });
        }
        for id in path {
            if let Some(account) = self.accounts.get_mut(id) {
                account.reserve(estimate, now);
            }
        }
        Ok(())
    }

    /// Returns the first limit that a call would exceed, if there is one. Nothing is reserved. In shared accounts it is one of which the
    /// store is known to have nothing more.
    pub fn refusal(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        now: u64,
    ) -> Option<Refusal> {
        path.iter().find_map(|id| {
            let account = self.accounts.get_mut(id)?;
            if account.is_shared() {
                self.active.insert(*id);
            }
            account.roll(now);
            match account.lacks(estimate, Beyond::Ask, now)? {
                Lacks::Block => None,
                Lacks::Limit(exceeded, retry_after) => Some(Refusal {
                    account: *id,
                    exceeded,
                    retry_after,
                }),
            }
        })
    }

    /// Adds what was used for a call beside what it has reserved. Returns `true` if one of the accounts has a budget.
    pub fn charge(&mut self, path: &[AccountId], used: Amount, now: u64) -> bool {
        let mut is_bounded = false;
        for id in path {
            let Some(account) = self.accounts.get_mut(id) else {
                continue;
            };
            let day = account.roll(now);
            account.charge(used);
            is_bounded |= account.has_budget();
            let is_shared = account.is_shared();
            self.note(*id, is_shared, day, used);
        }
        is_bounded
    }

    /// Returns what is left of the limits per minute of all accounts of `path`, as of the last call that asked for room.
    pub fn room(&self, path: &[AccountId]) -> Room {
        let mut room = Room::default();
        for account in path.iter().filter_map(|id| self.accounts.get(id)) {
            room.narrow(account.room());
        }
        room
    }

    /// Ends a call: replaces its reservation by what it has used. Returns `true` if one of the accounts has a budget.
    pub fn settle(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        used: Amount,
        now: u64,
    ) -> bool {
        let mut is_bounded = false;
        for id in path {
            let Some(account) = self.accounts.get_mut(id) else {
                continue;
            };
            let day = account.roll(now);
            account.settle(estimate, used);
            is_bounded |= account.has_budget();
            let is_shared = account.is_shared();
            self.note(*id, is_shared, day, used);
            self.remove_if_over(*id);
        }
        is_bounded
    }

    /// Notes what was used: what a shared account has used is in its next report.
    fn note(&mut self, id: AccountId, is_shared: bool, day: Day, used: Amount) {
        if is_shared {
            self.active.insert(id);
        } else {
            let unwritten = self.unwritten.entry((id, day)).or_default();
            *unwritten = unwritten.plus(used);
        }
    }

    fn remove_if_over(&mut self, id: AccountId) {
        if self.accounts.get(&id).is_some_and(Account::is_over) {
            self.accounts.remove(&id);
            self.active.remove(&id);
        }
    }

    /// Returns the shared accounts for which the store should be asked now; of all that hold something if this gateway `leaves`.
    pub fn due(&mut self, leaves: bool, now: u64) -> Vec<AccountId> {
        let Some(terms) = self.terms else {
            return Vec::new();
        };
        let accounts = &self.accounts;
        self.active.retain(|id| {
            accounts
                .get(id)
                .is_some_and(|account| !account.is_settled())
        });
        let due = self.active.iter().filter(|id| {
            let account = accounts.get(id);
            leaves || account.is_some_and(|account| account.is_due(terms, now))
        });
        due.copied().collect()
    }

    /// Has the store asked for a shared account at the next round, although it may not be used here.
    pub fn refresh(&mut self, id: AccountId, now: u64) {
        let account = self.accounts.get_mut(&id);
        if account.is_some_and(|account| account.refresh(0, now)) {
            self.active.insert(id);
        }
    }

    /// The same for all accounts with a budget for which the store was not asked for `age` milliseconds.
    pub fn refresh_old(&mut self, age: u64, now: u64) {
        for (id, account) in &mut self.accounts {
            if account.has_budget() && account.refresh(age, now) {
                self.active.insert(*id);
            }
        }
    }

    /// Returns the next request for a shared account. It must be sent: the block is not more than what it wants from here on.
    pub fn ask(&mut self, id: AccountId, leaves: bool, now: u64) -> Option<Ask> {
        self.accounts.get_mut(&id)?.ask(leaves, now)
    }

    /// Takes what the store has granted.
    pub fn grant(&mut self, id: AccountId, grant: &Grant, now: u64) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.grant(grant, now);
            self.remove_if_over(id);
        }
    }

    /// Returns the number of shared accounts that use a fair part, because the store does not answer.
    pub fn fair_parts(&self) -> usize {
        let accounts = self.active.iter().filter_map(|id| self.accounts.get(id));
        accounts.filter(|account| account.is_fair()).count()
    }

    /// Returns what is not yet written down.
    pub fn unwritten(&self) -> Unwritten {
        self.unwritten.clone()
    }

    /// Notes that this was written down.
    pub fn written(&mut self, written: &Unwritten) {
        for (key, amount) in written {
            if let Some(rest) = self.unwritten.get_mut(key) {
                *rest = rest.minus(*amount);
                if *rest == Amount::default() {
                    self.unwritten.remove(key);
                }
            }
        }
    }

    /// Returns an account at this moment.
    pub fn view(&mut self, id: AccountId, now: u64) -> Option<AccountView> {
        let account = self.accounts.get_mut(&id)?;
        account.roll(now);
        Some(account.view())
    }
}

#[cfg(test)]
mod tests;
