//! The factors of the weights of keys.
//!
//! Owns the numbers by which the gateway may lower the share of one key for a while (`alerts.actions.lower_share`). A key's
//! own weight stays in the settings; a factor of 100 percent restores it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use crate::settings::server::KeySettings;

/// The keys of the settings with their factors; clones share them.
#[derive(Clone, Debug)]
pub struct Shares(Arc<RwLock<Factors>>);

/// In percent, by the names of keys.
type Factors = BTreeMap<String, Arc<AtomicU32>>;

impl Shares {
    /// Creates factors of 100 percent.
    pub fn new(keys: &[KeySettings]) -> Self {
        let shares = Self(Arc::default());
        shares.change(keys);
        shares
    }

    /// Changes the keys. Those that stay keep their factors.
    pub fn change(&self, keys: &[KeySettings]) {
        let factors = keys.iter().map(|key| {
            let known = self.percent(&key.name);
            let percent = known.unwrap_or_else(|| Arc::new(AtomicU32::new(100)));
            (key.name.clone(), percent)
        });
        let factors = factors.collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = factors;
    }

    /// Returns the factor of a key's weight; 1 for a name that is not among the keys.
    pub fn factor(&self, name: &str) -> f64 {
        let percent = self.percent(name);
        percent.map_or(1.0, |percent| f64::from(percent.load(Relaxed)) / 100.0)
    }

    /// Sets the factor of a key's weight in percent. Returns `false` if no key has this name.
    pub fn set(&self, name: &str, percent: u32) -> bool {
        let found = self.percent(name);
        found.map(|found| found.store(percent, Relaxed)).is_some()
    }

    fn percent(&self, name: &str) -> Option<Arc<AtomicU32>> {
        let factors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        factors.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_can_be_set_and_restored_and_other_keys_keep_theirs() {
        let key = |name: &str| KeySettings {
            name: name.to_owned(),
            ..KeySettings::default()
        };
        let shares = Shares::new(&[key("web"), key("batch")]);
        let factors = || ["web", "batch", ""].map(|name| shares.factor(name).to_bits());
        let expected = |factors: [f64; 3]| factors.map(f64::to_bits);
        assert_eq!(factors(), expected([1.0, 1.0, 1.0]));
        assert!(shares.set("batch", 50) && !shares.set("none", 50));
        assert_eq!(factors(), expected([1.0, 0.5, 1.0]));
        shares.change(&[key("batch"), key("new")]);
        assert_eq!(factors(), expected([1.0, 0.5, 1.0]));
        assert!(!shares.set("web", 50) && shares.set("new", 100));
        assert!(shares.set("batch", 100));
        assert_eq!(factors(), expected([1.0, 1.0, 1.0]));
    }
}
