//! The accounts by their names, in one ledger.

use std::{collections::BTreeMap, sync::Arc};

use kebne_quota::{
    AccountId, AccountView, Amount, Ask, Day, Grant, Ledger, Limits, Terms, Unwritten,
};

use crate::store::Used;

/// A request to the store: the account, and its name with what is asked.
pub(crate) type Asked = (AccountId, (String, Ask));

/// The accounts. Times are in milliseconds since 1970.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) ledger: Ledger,
    by_name: BTreeMap<Arc<str>, AccountId>,
    /// Names of closed accounts are kept until what they used is written.
    names: BTreeMap<AccountId, Arc<str>>,
    /// What earlier processes wrote down of accounts that are not open.
    past: BTreeMap<String, Vec<(Day, Amount)>>,
    /// The number of the last round of requests to a store that several gateways share.
    pub(crate) round: u64,
}

impl Book {
    /// Creates accounts that are shared with other gateways.
    pub(crate) fn shared(terms: Terms) -> Self {
        Self {
            ledger: Ledger::shared(terms),
            ..Self::default()
        }
    }

    /// Begins a round. Returns the accounts for which the store should be asked.
    pub(crate) fn begin_round(&mut self, leaves: bool, now: u64) -> Vec<AccountId> {
        self.round += 1;
        self.ledger.due(leaves, now)
    }

    /// Has the sums of an account read that other gateways may have used.
    pub(crate) fn refresh(&mut self, name: &str, now: u64) {
        if let Some(id) = self.by_name.get(name) {
            self.ledger.refresh(*id, now);
        }
    }

    /// Returns the requests for some accounts, which must be sent.
    pub(crate) fn asks(&mut self, ids: &[AccountId], leaves: bool, now: u64) -> Vec<Asked> {
        let asks = ids.iter().filter_map(|id| {
            let ask = self.ledger.ask(*id, leaves, now)?;
            Some((*id, (self.name(*id).to_string(), ask)))
        });
        asks.collect()
    }

    /// Takes a grant.
    pub(crate) fn grant(&mut self, id: AccountId, grant: &Grant, now: u64) {
        self.ledger.grant(id, grant, now);
        self.forget_if_gone(id);
    }

    /// Opens an account, or gives an open one other limits.
    pub(crate) fn open(&mut self, name: &str, limits: &Limits, now: u64) -> AccountId {
        if let Some(id) = self.by_name.get(name) {
            self.ledger.set_limits(*id, limits.clone(), now);
            return *id;
        }
        let id = self.ledger.open(limits.clone(), now);
        let shared: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&shared), id);
        self.names.insert(id, shared);
        for (day, used) in self.past.remove(name).unwrap_or_default() {
            self.ledger.add_past(id, day, used);
        }
        id
    }

    /// Closes an account.
    pub(crate) fn close(&mut self, name: &str) {
        if let Some(id) = self.by_name.remove(name) {
            self.ledger.close(id);
            self.forget_if_gone(id);
        }
    }

    /// Adds what earlier processes wrote down.
    pub(crate) fn add_past(&mut self, used: Vec<Used>) {
        for (name, day, used) in used {
            match self.by_name.get(&*name) {
                Some(id) => self.ledger.add_past(*id, day, used),
                None => self.past.entry(name).or_default().push((day, used)),
            }
        }
    }

    /// Returns the name of an account.
    pub(crate) fn name(&self, id: AccountId) -> Arc<str> {
        self.names.get(&id).cloned().unwrap_or_default()
    }

    /// Returns what is not yet written down, by the names of accounts.
    pub(crate) fn unwritten(&self) -> (Unwritten, Vec<Used>) {
        let unwritten = self.ledger.unwritten();
        let named = unwritten.iter().map(|((id, day), amount)| {
            let name = self.name(*id).to_string();
            (name, *day, *amount)
        });
        let named = named.collect();
        (unwritten, named)
    }

    /// Notes that this was written down.
    pub(crate) fn written(&mut self, written: &Unwritten) {
        self.ledger.written(written);
        for (id, _) in written.keys() {
            self.forget_if_gone(*id);
        }
    }

    /// Forgets the name of an account that is closed, has no running call, and is written down.
    fn forget_if_gone(&mut self, id: AccountId) {
        if !self.ledger.knows(id) {
            self.names.remove(&id);
        }
    }

    /// Returns an account at this moment.
    pub(crate) fn view(&mut self, name: &str, now: u64) -> Option<AccountView> {
        let id = *self.by_name.get(name)?;
        self.ledger.view(id, now)
    }

    /// Returns the accounts that have a budget.
    pub(crate) fn with_budgets(&self) -> Vec<(Arc<str>, AccountId)> {
        let accounts = self.by_name.iter();
        let bounded = accounts.filter(|(_, id)| self.ledger.has_budget(**id));
        bounded.map(|(name, id)| (Arc::clone(name), *id)).collect()
    }
}
