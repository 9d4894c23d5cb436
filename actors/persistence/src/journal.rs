//! What an entity needs of a journal and of a store of snapshots.
//!
//! Owns the traits. An implementation must write the events of one call all or not at all, and must refuse a sequence
//! number that is taken, so that two entities of one id cannot both write.

use std::{future::Future, pin::Pin};

/// An event or a state as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// What the codec wrote about the bytes, such as a version.
    pub manifest: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// An event, or a snapshot of the state behind it, with its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Counts the events of one id from 1.
    pub sequence: u64,
    /// The content.
    pub payload: Payload,
}

/// Why a step of a journal did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written, because a sequence number is taken: another entity has the same id.
    #[error("event {sequence} of `{id}` is already written")]
    Conflict {
        /// The id.
        id: String,
        /// The first number of the call.
        sequence: u64,
    },
    /// The step failed; events may have been written.
    #[error("{0}")]
    Failed(String),
}

/// A step of a journal under way. It goes on when it is dropped.
pub type Step<T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send>>;

/// Keeps events by id, in their order.
pub trait Journal: Send + Sync + 'static {
    /// Writes events with the sequence numbers from `first` on, all or none.
    fn append(&self, id: &str, first: u64, events: Vec<Payload>) -> Step<()>;

    /// Returns up to `limit` events from the sequence number `from` on.
    fn read(&self, id: &str, from: u64, limit: usize) -> Step<Vec<Recorded>>;

    /// Returns the highest sequence number that was ever written, also if its event was deleted; 0 if none was.
    fn highest(&self, id: &str) -> Step<u64>;

    /// Deletes the events up to and including the sequence number `to`.
    fn delete(&self, id: &str, to: u64) -> Step<()>;
}

/// Keeps snapshots by id.
pub trait Snapshots: Send + Sync + 'static {
    /// Writes a snapshot; one of the same sequence number is replaced.
    fn save(&self, id: &str, snapshot: Recorded) -> Step<()>;

    /// Returns the snapshot with the highest sequence number.
    fn latest(&self, id: &str) -> Step<Option<Recorded>>;

    /// Deletes the snapshots up to and including the sequence number `to`.
    fn delete_snapshots(&self, id: &str, to: u64) -> Step<()>;
}
