//! What the store holds of an owner, and the result of its erasure.

/// What is held of an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// The number of collections.
    pub collections: u64,
    /// The number of files.
    pub files: u64,
    /// The number of chunks and vectors that were made of the files.
    pub chunks: u64,
    /// The bytes of files, chunks and vectors.
    pub bytes: u64,
    /// When the oldest was created, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// When the newest was created or a collection was last used, in milliseconds of Unix time.
    pub newest: Option<u64>,
    /// `true` if the owner has a key.
    pub has_key: bool,
}

impl Holdings {
    /// Returns `true` if nothing is held but perhaps a key.
    pub fn is_empty(&self) -> bool {
        self.collections + self.files + self.chunks == 0
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

/// The result of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    /// The number of a collection that is gone.
    pub(crate) collection: Option<i64>,
    pub(crate) has_more: bool,
    pub(crate) key_erased: bool,
}

impl Holdings {
    pub(crate) fn and(self, other: &Self) -> Self {
        Self {
            collections: self.collections + other.collections,
            files: self.files + other.files,
            chunks: self.chunks + other.chunks,
            bytes: self.bytes + other.bytes,
            oldest: self.oldest.into_iter().chain(other.oldest).min(),
            newest: self.newest.into_iter().chain(other.newest).max(),
            has_key: other.has_key,
        }
    }
}
