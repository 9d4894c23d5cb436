//! Owners with earlier names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::store::{SessionStore, StoreError};

/// The maximum number of steps in which one question moves sessions to an owner. The steps are short, and the question
/// has a time budget.
const STEPS: u32 = 32;

/// The former names of owners whose sessions have not been moved yet.
#[derive(Clone, Default)]
pub(crate) struct Renamed(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Renamed {
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        let mut renamed = BTreeMap::<String, Vec<String>>::new();
        for (former, owner) in pairs.iter().filter(|(former, owner)| former != owner) {
            renamed
                .entry(owner.clone())
                .or_default()
                .push(former.clone());
        }
        Self(Arc::new(Mutex::new(renamed)))
    }

    fn former_of(&self, owner: &str) -> Vec<String> {
        let renamed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.get(owner).cloned().unwrap_or_default()
    }

    pub(crate) fn owners(&self) -> Vec<String> {
        let renamed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.keys().cloned().collect()
    }

    fn done(&self, owner: &str) {
        let mut renamed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.remove(owner);
    }

    /// Moves the sessions of an owner's former names to the owner, in at most [`STEPS`] steps. Returns `true` if all
    /// are moved.
    pub(crate) async fn settle(
        &self,
        owner: &str,
        store: &dyn SessionStore,
    ) -> Result<bool, StoreError> {
        let former = self.former_of(owner);
        let mut steps = 0;
        for former in &former {
            while store.adopt(former, owner).await? {
                steps += 1;
                if steps >= STEPS {
                    return Ok(false);
                }
            }
        }
        if !former.is_empty() {
            self.done(owner);
        }
        Ok(true)
    }
}
