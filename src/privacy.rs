//! What is kept of a tenant or of one of its users, and its erasure with a proof.
//!
//! Each store that keeps something of callers implements [`Erasable`] and is listed in [`stores`], and nowhere else. An erasure asks each
//! store to erase, looks again, and writes what it did and found into a report, which the master key signs.

mod report;
mod stores;

use std::{collections::BTreeMap, future::Future, pin::Pin};

use serde::Serialize;

use crate::surface::error::ApiError;

pub use kebne_context::erasure::Whose;
pub use report::{Report, StoreReport, Who, erase, has_signed};
pub use stores::{Asker, stores};

/// The result of a store, in the future.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ApiError>> + 'a>>;

/// What a store keeps of someone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The numbers of things by their kinds, such as `sessions` and `turns`.
    pub items: BTreeMap<&'static str, u64>,
    /// The bytes that are stored for them.
    pub bytes: u64,
    /// When the oldest was created, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<u64>,
    /// When the newest was created or used, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
    /// `true` if the store has a key of the tenant.
    #[serde(skip)]
    pub has_key: bool,
}

impl Kept {
    /// Returns `true` if nothing is kept but perhaps a key.
    pub fn is_empty(&self) -> bool {
        self.items.values().all(|count| *count == 0)
    }
}

/// What a store has erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// What was removed.
    pub removed: Kept,
    /// `true` if the store had a key of the tenant and erased it.
    pub key_erased: bool,
    /// `true` if the log of the store's file holds nothing of it any more.
    pub log_emptied: bool,
    /// The numbers of things that are out of reach, such as files that a backend did not delete.
    pub out_of_reach: BTreeMap<&'static str, u64>,
}

/// A store that keeps something of callers.
pub trait Erasable {
    /// Returns the name of the store.
    fn name(&self) -> &'static str;

    /// Returns `true` if the store can tell the users of a tenant apart. Otherwise it takes no part in what concerns one user.
    fn knows_users(&self) -> bool;

    /// Returns what is kept, also what has expired and is not removed yet.
    fn count<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept>;

    /// Erases it; of a whole tenant also its key.
    fn erase<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Erased>;

    /// Looks for what is left after an erasure.
    fn verify<'a>(&'a self, whose: &'a Whose) -> Answer<'a, Kept> {
        self.count(whose)
    }
}

#[cfg(test)]
mod tests;
