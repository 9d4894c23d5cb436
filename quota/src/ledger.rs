//! The accounts of keys and their groups: what is reserved, what was used, and what is not yet written down.
//!
//! A call reserves the most that it may use in its key's account and in all groups above it, and settles what it has used when it has
//! ended. A call that one account refuses changes none of them.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    Day, Limits,
    account::{Account, AccountView, Amount, Estimate, Exceeded, Room},
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

/// What was used on a day and is not yet written down.
pub type Unwritten = BTreeMap<(AccountId, Day), Amount>;

/// All accounts. Times are in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<AccountId, Account>,
    next: u64,
    unwritten: Unwritten,
}

impl Ledger {
    /// Opens an account.
    pub fn open(&mut self, limits: Limits, now: u64) -> AccountId {
        let id = AccountId(self.next);
        self.next += 1;
        self.accounts.insert(id, Account::new(limits, now));
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
            if account.running == 0 {
                self.accounts.remove(&id);
            }
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

    /// Reserves `estimate` in all accounts of `path`.
    ///
    /// # Errors
    /// Returns the first limit that the call would exceed; then nothing is reserved.
    pub fn reserve(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        now: u64,
    ) -> Result<(), Refusal> {
        if let Some(refusal) = self.refusal(path, estimate, now) {
            return Err(refusal);
        }
        for id in path {
            if let Some(account) = self.accounts.get_mut(id) {
                account.reserve(estimate);
            }
        }
        Ok(())
    }

    /// Returns the first limit that a call would exceed, if there is one. Nothing is reserved.
    pub fn refusal(
        &mut self,
        path: &[AccountId],
        estimate: &Estimate,
        now: u64,
    ) -> Option<Refusal> {
        path.iter().find_map(|id| {
            let account = self.accounts.get_mut(id)?;
            account.roll(now);
            let (exceeded, retry_after) = account.refuses(estimate)?;
            Some(Refusal {
                account: *id,
                exceeded,
                retry_after,
            })
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
            let unwritten = self.unwritten.entry((*id, day)).or_default();
            *unwritten = unwritten.plus(used);
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
            let unwritten = self.unwritten.entry((*id, day)).or_default();
            *unwritten = unwritten.plus(used);
            if account.is_closed && account.running == 0 {
                self.accounts.remove(id);
            }
        }
        is_bounded
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
