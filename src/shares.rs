//! The factors of the weights of keys.
//!
//! Owns the numbers by which the gateway may lower the share of one key for a while (`alerts.actions.lower_share`). A key's
//! own weight stays where it is set, in the settings or in the store of keys; a factor of 100 percent restores it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// The factors that are not 100 percent, by the names of keys; clones share them. The monitor lowers one key at a time, so they
/// are few.
#[derive(Clone, Debug, Default)]
pub struct Shares(Arc<RwLock<BTreeMap<String, u32>>>);

impl Shares {
    /// Returns the factor of a key's weight.
    pub fn factor(&self, name: &str) -> f64 {
        let factors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let percent = factors.get(name).copied();
        percent.map_or(1.0, |percent| f64::from(percent) / 100.0)
    }

    /// Sets the factor of a key's weight in percent.
    pub fn set(&self, name: &str, percent: u32) {
        let mut factors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if percent == 100 {
            factors.remove(name);
        } else {
            factors.insert(name.to_owned(), percent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_can_be_set_and_restored_and_other_keys_keep_theirs() {
        let shares = Shares::default();
        let factors = || ["web", "batch", ""].map(|name| shares.factor(name).to_bits());
        let expected = |factors: [f64; 3]| factors.map(f64::to_bits);
        assert_eq!(factors(), expected([1.0, 1.0, 1.0]));
        shares.set("batch", 50);
        assert_eq!(factors(), expected([1.0, 0.5, 1.0]));
        shares.set("batch", 100);
        assert_eq!(factors(), expected([1.0, 1.0, 1.0]));
        assert!(shares.0.read().unwrap().is_empty());
    }
}
