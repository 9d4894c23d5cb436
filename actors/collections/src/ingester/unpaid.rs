//! The owners whose budgets have no room for vectors. Their chunks wait, and those of other owners do not.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The time after which such an owner is tried again. Budgets are renewed once a day at most, and to try costs a look at the accounts.
const PUT_OFF: Duration = Duration::from_mins(1);

/// The owners whose budgets had no room when they were tried last, each with the time until which it is passed over.
#[derive(Debug, Default)]
pub(crate) struct Unpaid(Mutex<BTreeMap<i64, Instant>>);

impl Unpaid {
    /// Returns the owners that are passed over now.
    pub(super) fn owners(&self) -> Vec<i64> {
        let now = Instant::now();
        let waiting = self.waiting();
        let passed_over = waiting.iter().filter(|(_, until)| **until > now);
        passed_over.map(|(owner, _)| *owner).collect()
    }

    /// Has an owner wait. The first time is in the log.
    pub(super) fn put_off(&self, owner: i64, why: &str) {
        let until = Instant::now() + PUT_OFF;
        if self.waiting().insert(owner, until).is_none() {
            tracing::warn!(reason = why, "files of vector stores wait for a budget");
        }
    }

    /// Notes that an owner has paid.
    pub(super) fn paid(&self, owner: i64) {
        self.waiting().remove(&owner);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<i64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
