//! What the context manager is told and asked.

use std::collections::BTreeMap;

use actix::Message;

use super::store::{Details, Page, Session, StoreError, Turn, TurnContent};

/// Makes a session.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(super) struct Create {
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) details: Details,
}

/// Reads a session that its owner may see.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(super) struct Read {
    pub(super) owner: String,
    pub(super) id: String,
}

/// Reads a session that is to take another turn.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(super) struct Open {
    pub(super) owner: String,
    pub(super) id: String,
}

/// Lists an owner's sessions.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Session>, StoreError>")]
pub(super) struct List {
    pub(super) owner: String,
    pub(super) page: Page,
}

/// What is to be set anew; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new metadata, in place of all of the old.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The new system prompt, or none.
    pub system_prompt: Option<Option<String>>,
    /// The new template, or none.
    pub prompt: Option<Option<String>>,
}

/// Changes what an owner set.
#[derive(Debug, Message)]
#[rtype(result = "Result<Session, StoreError>")]
pub(super) struct Set {
    pub(super) owner: String,
    pub(super) id: String,
    pub(super) change: Change,
}

/// Removes a session.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub(super) struct Remove {
    pub(super) owner: String,
    pub(super) id: String,
}

/// Reads turns in order.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Turn>, StoreError>")]
pub(super) struct ReadTurns {
    pub(super) owner: String,
    pub(super) id: String,
    pub(super) after: u64,
    pub(super) limit: usize,
}

/// Returns the newest turns that fit a budget.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Turn>, StoreError>")]
pub(super) struct FitTurns {
    pub(super) id: String,
    pub(super) tokens_max: u64,
}

/// Appends a finished turn.
#[derive(Debug, Message)]
#[rtype(result = "Result<u64, StoreError>")]
pub(super) struct Append {
    pub(super) id: String,
    pub(super) content: TurnContent,
}

/// Removes what has expired.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Sweep;

/// The store has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct StoreLost;
