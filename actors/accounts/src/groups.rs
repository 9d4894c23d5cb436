//! The groups of the settings and those of the store.

use std::collections::BTreeMap;

use crate::{AccountsSettings, GroupSettings};

/// The settings as they were given, and the groups of the store.
#[derive(Debug)]
pub(crate) struct Groups {
    given: AccountsSettings,
    stored: BTreeMap<String, GroupSettings>,
}

impl Groups {
    pub(crate) fn new(given: &AccountsSettings) -> Self {
        Self {
            given: given.clone(),
            stored: BTreeMap::new(),
        }
    }

    /// Takes other settings. Returns them with the groups of the store.
    pub(crate) fn follow(&mut self, given: AccountsSettings) -> AccountsSettings {
        self.given = given;
        self.all()
    }

    /// Changes the groups of the store. Returns the settings with them.
    pub(crate) fn change(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, GroupSettings>),
    ) -> AccountsSettings {
        change(&mut self.stored);
        self.all()
    }

    /// Returns the groups of the store, without those whose names the settings use.
    pub(crate) fn stored(&self) -> Vec<GroupSettings> {
        let stored = self.stored.values().filter(|group| !self.is_given(group));
        stored.cloned().collect()
    }

    /// Returns all groups of the store.
    pub(crate) fn of_store(&self) -> Vec<GroupSettings> {
        self.stored.values().cloned().collect()
    }

    fn is_given(&self, group: &GroupSettings) -> bool {
        self.given
            .groups
            .iter()
            .any(|given| given.name == group.name)
    }

    fn all(&self) -> AccountsSettings {
        let mut all = self.given.clone();
        all.groups.extend(self.stored());
        all
    }
}
