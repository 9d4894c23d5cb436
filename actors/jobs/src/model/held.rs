//! What the store holds of an owner, and the result of its erasure.

/// What is held of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The number of jobs, those of batches included.
    pub jobs: u64,
    /// The number of batches.
    pub batches: u64,
    /// The number of notices that wait to be delivered.
    pub notices: u64,
    /// The bytes of requests and results.
    pub bytes: u64,
    /// When the oldest was created, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// When the newest was created, in milliseconds of Unix time.
    pub newest: Option<u64>,
    /// `true` if the owner has a key.
    pub has_key: bool,
}

impl Holdings {
    /// Returns `true` if nothing is held but perhaps a key.
    pub fn is_empty(&self) -> bool {
        self.jobs + self.batches + self.notices == 0
    }
}

/// The result of an erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// What was removed.
    pub removed: Holdings,
    /// `true` if the owner had a key and it was erased.
    pub key_erased: bool,
    /// `true` if the log of the file holds nothing of it any more.
    pub log_emptied: bool,
}
