//! Conversations as they are stored, and the guarantees of a store.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// A conversation, without its turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name by which calls refer to it; unique in the store.
    pub id: String,
    /// The tenant that it belongs to; no other tenant can read it.
    pub owner: String,
    /// The time of its creation, in milliseconds of Unix time.
    pub created: u64,
    /// The time of its last turn or change, in milliseconds of Unix time.
    pub used: u64,
    /// The number of turns appended so far, removed ones included; also the number of the newest turn.
    pub turns: u64,
    /// The tokens of all its turns.
    pub tokens: u64,
    /// The fields that its owner sets.
    pub details: Details,
}

/// The fields that a session's owner sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The owner's own notes, which templates may use.
    pub metadata: BTreeMap<String, String>,
    /// The system prompt of every call of the session.
    pub system_prompt: Option<String>,
    /// The template of the system prompt of every call; takes precedence over `system_prompt`.
    pub prompt: Option<String>,
}

/// A change of a session; a field that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new metadata, which replaces the old.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The new system prompt, or none.
    pub system_prompt: Option<Option<String>>,
    /// The new template, or none.
    pub prompt: Option<Option<String>>,
}

impl Change {
    /// Applies the change.
    pub fn apply(self, details: &mut Details) {
        if let Some(metadata) = self.metadata {
            details.metadata = metadata;
        }
        if let Some(system_prompt) = self.system_prompt {
            details.system_prompt = system_prompt;
        }
        if let Some(prompt) = self.prompt {
            details.prompt = prompt;
        }
    }
}

/// One exchange: the caller's messages and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its number in the session, from 1.
    pub number: u64,
    /// The content.
    pub content: TurnContent,
}

/// The content of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnContent {
    /// The tokens of all its messages.
    pub tokens: u64,
    /// `true` if a history may begin with this turn: its first message does not depend on the turn before.
    pub leads: bool,
    /// The messages, opaque to the store.
    pub messages: Bytes,
}

/// The times that define which sessions have not expired, in milliseconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// Sessions last used before this have expired.
    pub used_since: u64,
    /// Sessions created before this have expired.
    pub created_since: u64,
}

impl Alive {
    /// Returns `true` if a session has not expired.
    pub fn holds(&self, session: &Session) -> bool {
        session.used >= self.used_since && session.created >= self.created_since
    }
}

/// A session of an owner. Sessions of other owners and expired ones are treated as absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The owner.
    pub owner: String,
    /// The session.
    pub id: String,
    /// Which sessions have not expired.
    pub alive: Alive,
}

impl Owned {
    /// Returns `true` if `session` is this session.
    pub fn is(&self, session: &Session) -> bool {
        session.id == self.id && session.owner == self.owner && self.alive.holds(session)
    }
}

/// The quota of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The maximum number of sessions.
    pub sessions_max: u64,
    /// The maximum number of turns of each session.
    pub turns_max: u64,
    /// The maximum number of bytes stored for its sessions and their turns.
    pub bytes_max: u64,
    /// Defines which sessions have not expired; others do not count.
    pub alive: Alive,
}

/// A session and the bytes of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: Session,
    /// Bytes that are stored for all sessions of its owner.
    pub owner_bytes: u64,
}

impl Found {
    /// Returns an error if the owner of the session has no room for `bytes` more, or for any.
    pub(crate) fn require_room(&self, bytes: u64, bytes_max: u64) -> Result<(), StoreError> {
        if self.owner_bytes.saturating_add(bytes.max(1)) > bytes_max {
            return Err(StoreError::BytesFull { bytes_max });
        }
        Ok(())
    }
}

/// The maximum size of a part of a list. The first item is always returned, regardless of its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSize {
    /// The maximum number of items.
    pub items_max: usize,
    /// The maximum number of bytes.
    pub bytes_max: u64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// `true` if more items follow.
    pub has_more: bool,
}

/// Collects the items of a part until its maximum size is reached.
#[derive(Debug)]
pub(crate) struct Collect<T> {
    size: PartSize,
    bytes: u64,
    part: Part<T>,
}

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            has_more: false,
        }
    }
}

impl<T> Collect<T> {
    pub(crate) fn new(size: PartSize) -> Self {
        Self {
            size,
            bytes: 0,
            part: Part::default(),
        }
    }

    /// Returns `true` if an item of this many bytes still fits. Otherwise the part is complete, and more items follow.
    pub(crate) fn takes(&mut self, bytes: u64) -> bool {
        let items = &self.part.items;
        let fits = items.is_empty()
            || (items.len() < self.size.items_max
                && self.bytes.saturating_add(bytes) <= self.size.bytes_max);
        self.part.has_more = !fits;
        self.bytes = self.bytes.saturating_add(bytes);
        fits
    }

    /// Adds an item that [`Collect::takes`].
    pub(crate) fn take(&mut self, item: T) {
        self.part.items.push(item);
    }

    pub(crate) fn finish(self) -> Part<T> {
        self.part
    }
}

/// The result of one step of [`SessionStore::tidy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Sessions that were removed because they have expired.
    pub expired: u64,
    /// `true` if there is more to do.
    pub has_more: bool,
}

/// The reason why a store did not perform a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such session: it never existed, has expired, or belongs to another owner.
    #[error("there is no such session")]
    NoSuchSession,
    /// The owner has the maximum number of sessions.
    #[error("the owner holds as many sessions as it may")]
    Full,
    /// The owner's sessions have the maximum number of bytes.
    #[error(
        "the owner's sessions would hold more than {bytes_max} bytes (`context.owner_bytes_max`); delete sessions"
    )]
    BytesFull {
        /// The maximum number of bytes.
        bytes_max: u64,
    },
    /// The session has the maximum number of turns.
    #[error("the session holds as many turns as it may")]
    TurnsFull,
    /// The stored data cannot be read: it was modified, truncated, or written with another key.
    #[error("the session store is damaged: {0}")]
    Damaged(String),
    /// The store is unavailable now: the disk is full, the file is locked, or the file is gone.
    #[error("the session store is unavailable: {0}")]
    Failed(String),
    /// The store has so many other questions that it cannot answer this one in its time. The question was not done.
    #[error("the session store has too many questions")]
    Busy,
    /// The store has ended or does not answer, and must be opened again.
    #[error("the session store has ended")]
    Lost,
}

impl StoreError {
    /// Returns `true` if the store failed, and not the request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Failed(_) | Self::Lost => true,
            Self::NoSuchSession
            | Self::Full
            | Self::BytesFull { .. }
            | Self::TurnsFull
            | Self::Busy => false,
        }
    }
}

/// The future answer of a store.
pub type Stored<T> = BoxFuture<'static, Result<T, StoreError>>;

/// A store of sessions and their turns.
///
/// A step that returned `Ok` is durable: a persistent store still has its result after the process was killed. Each
/// method is one atomic step.
pub trait SessionStore: Send + Sync + 'static {
    /// Returns the time for which the present step has been running, zero if there is none, and `None` if that is not
    /// known. A step that is not answered in its time has waited for others if this is short; otherwise the store hangs.
    fn step_lasts(&self) -> Option<Duration> {
        None
    }

    /// Stores a new session unless its owner would exceed `quota`.
    fn insert(&self, session: Session, quota: Quota) -> Stored<()>;

    /// Returns a session of any owner, expired or not.
    fn find(&self, id: &str) -> Stored<Option<Found>>;

    /// Changes the fields that the owner may set, records the use, and returns the session. Concurrent changes of
    /// different fields are all kept.
    fn change(&self, session: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session>;

    /// Appends a turn, records the use, and returns the number of the turn, unless `quota` would be exceeded.
    fn append(&self, id: &str, content: TurnContent, now: u64, quota: Quota) -> Stored<u64>;

    /// Returns the newest turns that fit into `fit` together, the oldest first.
    fn newest(&self, id: &str, fit: Fit) -> Stored<Vec<Turn>>;

    /// Returns turns with numbers above `after`, the oldest first.
    fn turns(&self, session: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>>;

    /// Removes one turn and returns `true` if there was one. The numbers of the other turns do not change.
    fn remove_turn(&self, session: Owned, number: u64) -> Stored<bool>;

    /// Returns the sessions of an owner that have not expired and that follow the session `after`, the newest first.
    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>>;

    /// Returns the number of sessions of all owners. Expired ones count until they are removed.
    fn count(&self) -> Stored<u64>;

    /// Removes a session and its turns.
    fn remove(&self, session: Owned) -> Stored<()>;

    /// Moves some sessions of the owner `former` to `owner` and returns `true` if there are more. One step is short.
    fn adopt(&self, former: &str, owner: &str) -> Stored<bool>;

    /// Does some maintenance work: removes expired sessions, erases removed ones, and encrypts data under old keys
    /// again. One step is short, so that steps of callers do not wait long.
    fn tidy(&self, alive: Alive) -> Stored<Tidied>;

    /// Writes and removes this many bytes. The step succeeds if a turn of that size could be stored now.
    fn probe(&self, bytes: u64) -> Stored<()>;
}

/// Chooses the newest turns that fit a budget. Turns are offered from the newest on until one does not fit.
#[derive(Clone, Debug)]
pub struct Fit {
    tokens_left: u64,
    bytes_left: u64,
    chosen: Vec<Turn>,
}

impl Fit {
    /// Creates a choice with a budget in tokens and in bytes.
    pub fn new(tokens_max: u64, bytes_max: u64) -> Self {
        Self {
            tokens_left: tokens_max,
            bytes_left: bytes_max,
            chosen: Vec::new(),
        }
    }

    /// Returns `true` if a turn of this size still fits. The first turn that does not fit ends the choice.
    pub fn takes(&self, tokens: u64, bytes: u64) -> bool {
        tokens <= self.tokens_left && bytes <= self.bytes_left
    }

    /// Adds the next older turn, for which [`Fit::takes`] returned `true`.
    pub fn take(&mut self, turn: Turn) {
        let bytes = turn.content.messages.len() as u64;
        self.tokens_left = self.tokens_left.saturating_sub(turn.content.tokens);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.chosen.push(turn);
    }

    /// Returns the chosen turns, the oldest first. Turns that depend on one that was left out are left out too, because
    /// models refuse the result of a tool call that is not in the history.
    pub fn finish(mut self) -> Vec<Turn> {
        while self.chosen.last().is_some_and(|turn| !turn.content.leads) {
            self.chosen.pop();
        }
        self.chosen.reverse();
        self.chosen
    }
}
