//! The messages of the context manager.

use actix::Message;

use crate::store::{Change, Details, Part, Session, StoreError, Turn, TurnContent};

/// Creates a session.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(crate) struct Create {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) details: Details,
    /// Bytes of turns that its owner must have room for.
    pub(crate) bytes: u64,
    /// `true` if its turns are still to be put into it.
    pub(crate) is_partial: bool,
}

/// Reads a session of an owner.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(crate) struct Read {
    pub(crate) owner: String,
    pub(crate) id: String,
}

/// Reads a session to which a turn will be appended.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(crate) struct Open {
    pub(crate) owner: String,
    pub(crate) id: String,
    /// Bytes of turns that its owner must have room for.
    pub(crate) bytes: u64,
}

/// Lists an owner's sessions.
#[derive(Debug, Message)]
#[rtype(result = "Result<Part<Session>, StoreError>")]
pub(crate) struct List {
    pub(crate) owner: String,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

/// Changes the fields that the owner may set.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(crate) struct Set {
    pub(crate) owner: String,
    pub(crate) id: String,
    pub(crate) change: Change,
}

/// Removes a session.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(crate) struct Remove {
    pub(crate) owner: String,
    pub(crate) id: String,
}

/// Returns the newest turns that fit a budget.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Turn>, StoreError>")]
pub(crate) struct FitTurns {
    pub(crate) id: String,
    pub(crate) tokens_max: u64,
    /// Bytes of turns that the session's owner must have room for.
    pub(crate) bytes: u64,
}

/// Appends a finished turn.
#[derive(Debug, Message)]
#[rtype(result = "Result<u64, StoreError>")]
pub(crate) struct Append {
    pub(crate) id: String,
    /// How often turns had been removed from the session; `None` if it does not matter.
    pub(crate) cuts: Option<u64>,
    pub(crate) content: TurnContent,
}

/// Counts the sessions of all owners.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Result<u64, StoreError>")]
pub(crate) struct Count;

/// Does maintenance work, such as removing expired sessions.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Sweep;

/// The store of an instance of the actor has ended or hangs.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StoreLost {
    /// The instance that the store belongs to. When a question times out, another instance may have started.
    pub(crate) incarnation: u64,
}
