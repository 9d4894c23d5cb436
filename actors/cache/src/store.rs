//! The interface of stores.

use std::sync::Arc;

use kebne_cache::Key;
use kebne_retrieval::Vector;

use crate::{
    model::{Candidate, Count, Entry, Erased, Scope, StoreError, Totals},
    settings::CacheSettings,
};

/// The answers of one group that are compared with a question, the newest first.
pub const COMPARED_MAX: usize = 1000;
/// The groups of an owner of which is kept what was learned; those that were used least recently go first.
pub const GROUPS_MAX: usize = 1000;

/// Opens a store.
pub type OpenStore = Arc<dyn Fn() -> Result<Box<dyn CacheStore>, StoreError> + Send + Sync>;

/// The bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The bytes of all answers.
    pub bytes: u64,
    /// The number of all answers.
    pub entries: u64,
    /// The bytes of the answers of each owner.
    pub owner_bytes: u64,
    /// The number of answers of each owner.
    pub owner_entries: u64,
}

impl Bounds {
    /// Returns the bounds of the settings.
    pub fn of(settings: &CacheSettings) -> Self {
        Self {
            bytes: settings.bytes_max.0,
            entries: settings.entries_max,
            owner_bytes: settings.owner_bytes_max.0,
            owner_entries: settings.owner_entries_max,
        }
    }
}

/// A store of answers. Its methods may block; the actor calls them on a thread of its own.
///
/// The owner is a condition of each question: no answer of another owner is ever read. Times are in milliseconds since 1970. An entry is not
/// returned from its `expires` on, whether it was removed or not.
pub trait CacheStore: Send {
    /// Returns an answer, and notes that it was used.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn look(&mut self, owner: &str, key: Key, now: u64) -> Result<Option<Entry>, StoreError>;

    /// Keeps an answer in the place of an older one. What was used least recently is removed if a bound is reached; an answer that is larger
    /// than a bound is not kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn keep(&mut self, owner: &str, entry: Entry, now: u64) -> Result<(), StoreError>;

    /// Returns the answers of a group whose questions are at least as similar as `bounds.0`, the most similar first, at most `bounds.1`.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn similar(
        &mut self,
        owner: &str,
        group: Key,
        question: (&str, &Vector),
        bounds: (f32, usize),
        now: u64,
    ) -> Result<Vec<Candidate>, StoreError>;

    /// Returns what was learned about a group.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn learned(&mut self, owner: &str, group: Key) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps what was learned about a model's group of calls, which `of` names.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn learn(
        &mut self,
        owner: &str,
        of: (&str, Key),
        learned: Vec<u8>,
        now: u64,
    ) -> Result<(), StoreError>;

    /// Erases answers, and what was learned from them. An owner of whom nothing is left loses its key.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn erase(&mut self, scope: &Scope) -> Result<Erased, StoreError>;

    /// Removes what has expired. Returns the number of answers.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn sweep(&mut self, now: u64) -> Result<u64, StoreError>;

    /// Returns the counts by owner and model, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    fn counts(&mut self, owner: Option<&str>) -> Result<Vec<Count>, StoreError>;

    /// Returns what is kept in all.
    fn totals(&self) -> Totals;
}

/// Returns those of `candidates` that are at least `least` similar, the most similar first.
pub fn nearest(
    candidates: impl Iterator<Item = Candidate>,
    (least, limit): (f32, usize),
) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = candidates
        .filter(|candidate| candidate.similarity >= least)
        .collect();
    found.sort_by(|left, right| {
        let by_similarity = right.similarity.total_cmp(&left.similarity);
        by_similarity.then_with(|| left.key.cmp(&right.key))
    });
    found.truncate(limit);
    found
}
