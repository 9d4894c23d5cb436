//! What is kept of conversations, and what a store must guarantee.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// A conversation, without its turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name by which calls refer to it; unique in the store.
    pub id: String,
    /// The tenant that it belongs to; no other one ever sees it.
    pub owner: String,
    /// When it was made, in milliseconds of Unix time.
    pub created: u64,
    /// When it last took a turn or was changed, in milliseconds of Unix time.
    pub used: u64,
    /// Turns it has taken, removed ones included: the number of the newest.
    pub turns: u64,
    /// Tokens of all its turns.
    pub tokens: u64,
    /// What its owner set.
    pub details: Details,
}

/// What a session's owner sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The owner's own notes, which templates may use.
    pub metadata: BTreeMap<String, String>,
    /// The text that leads every call of the session.
    pub system_prompt: Option<String>,
    /// The template that makes the text that leads every call; takes precedence over `system_prompt`.
    pub prompt: Option<String>,
}

/// What is to be set anew; a field that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new metadata, which replaces all of the old.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The new system prompt, or none.
    pub system_prompt: Option<Option<String>>,
    /// The new template, or none.
    pub prompt: Option<Option<String>>,
}

impl Change {
    /// Sets what is named here.
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

/// One exchange: what the caller said and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the session, from 1.
    pub number: u64,
    /// What was exchanged.
    pub content: TurnContent,
}

/// What was exchanged in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnContent {
    /// Its weight in the token budget.
    pub tokens: u64,
    /// It can be the first that a model sees: it does not answer something said in the turn before.
    pub leads: bool,
    /// The messages, in a form that the store does not look into.
    pub messages: Bytes,
}

/// Which sessions have not expired: none of their times lies before these, in milliseconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The earliest last use.
    pub used_since: u64,
    /// The earliest making.
    pub created_since: u64,
}

impl Alive {
    /// Returns `true` if a session has not expired.
    pub fn holds(&self, session: &Session) -> bool {
        session.used >= self.used_since && session.created >= self.created_since
    }
}

/// Names a session as its owner may see it; a session of another owner, or one that has expired, does not exist.
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
    /// Returns `true` if `session` is the one that is named here.
    pub fn is(&self, session: &Session) -> bool {
        session.id == self.id && session.owner == self.owner && self.alive.holds(session)
    }
}

/// What each owner may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Sessions.
    pub sessions_max: u64,
    /// Bytes that are stored for its sessions and their turns.
    pub bytes_max: u64,
    /// Which sessions have not expired; others do not count.
    pub alive: Alive,
}

/// A session, and how much its owner holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The session.
    pub session: Session,
    /// Bytes that are stored for all sessions of its owner.
    pub owner_bytes: u64,
}

/// How large a part of a list may be. The first item is always returned, however large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSize {
    /// Items at most.
    pub items_max: usize,
    /// Bytes at most.
    pub bytes_max: u64,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// There are more items behind the last of these.
    pub has_more: bool,
}

/// Collects a part of a list until it is as large as it may be.
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

    /// Returns `true` if an item of this many bytes still fits. If it does not, the part is complete and has more
    /// items behind it.
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
    /// There is more to do.
    pub has_more: bool,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such session: it never was, has expired, or is another's.
    #[error("there is no such session")]
    NoSuchSession,
    /// The owner holds as many sessions as it may.
    #[error("the owner holds as many sessions as it may")]
    Full,
    /// The owner's sessions hold as many bytes as they may.
    #[error(
        "the owner's sessions would hold more than {bytes_max} bytes (`context.owner_bytes_max`); delete sessions"
    )]
    BytesFull {
        /// Bytes that they may hold.
        bytes_max: u64,
    },
    /// The session holds as many turns as it may.
    #[error("the session holds as many turns as it may")]
    TurnsFull,
    /// What is kept cannot be read: changed from outside, cut off, or written under another key.
    #[error("the session store is damaged: {0}")]
    Damaged(String),
    /// The store cannot do it now: a full disk, a lock, a file that is gone.
    #[error("the session store is unavailable: {0}")]
    Failed(String),
    /// The store has ended, or does not answer, and must be opened anew.
    #[error("the session store has ended")]
    Lost,
}

impl StoreError {
    /// Returns `true` if the fault is the store's and not the question's.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Failed(_) | Self::Lost => true,
            Self::NoSuchSession | Self::Full | Self::BytesFull { .. } | Self::TurnsFull => false,
        }
    }
}

/// A store's answer, once it is there.
pub type Stored<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Keeps sessions and their turns.
///
/// What was answered with `Ok` is kept: it is there after the process was killed, where the store keeps
/// anything beyond the process at all. Each method is one step, which others see whole or not at all.
pub trait SessionStore: Send + Sync + 'static {
    /// Keeps a new session unless its owner would then hold more than `quota`.
    fn insert(&self, session: Session, quota: Quota) -> Stored<()>;

    /// Returns a session of any owner, expired or not.
    fn find(&self, id: &str) -> Stored<Option<Found>>;

    /// Changes what the owner set, notes the use, and returns the session. Changes of different fields that are made
    /// at once are all kept.
    fn change(&self, session: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session>;

    /// Appends a turn, notes the use, and returns the turn's number.
    fn append(&self, id: &str, content: TurnContent, now: u64, quota: Quota) -> Stored<u64>;

    /// Returns the newest turns that together fit `fit`, the oldest of them first.
    fn newest(&self, id: &str, fit: Fit) -> Stored<Vec<Turn>>;

    /// Returns turns behind the number `after`, the oldest first.
    fn turns(&self, session: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>>;

    /// Removes one turn and returns `true` if there was one. The numbers of the others stay.
    fn remove_turn(&self, session: Owned, number: u64) -> Stored<bool>;

    /// Returns an owner's sessions that have not expired, the newest first, from behind the session `after` on.
    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>>;

    /// Removes a session and its turns.
    fn remove(&self, session: Owned) -> Stored<()>;

    /// Gives some sessions of the owner `former` to `owner`, and returns `true` if there are more. One step is short.
    fn adopt(&self, former: &str, owner: &str) -> Stored<bool>;

    /// Does some of the work that nobody waits for: removes what has expired, erases what was removed, encrypts anew
    /// what another key encrypted. One step is short, so that no caller's step waits for long behind it.
    fn tidy(&self, alive: Alive) -> Stored<Tidied>;
}

/// Chooses the newest turns that fit a budget: offered from the newest on, until one does not fit.
#[derive(Clone, Debug)]
pub struct Fit {
    tokens_left: u64,
    bytes_left: u64,
    chosen: Vec<Turn>,
}

impl Fit {
    /// Starts with a budget in tokens and in bytes.
    pub fn new(tokens_max: u64, bytes_max: u64) -> Self {
        Self {
            tokens_left: tokens_max,
            bytes_left: bytes_max,
            chosen: Vec::new(),
        }
    }

    /// Returns `true` if a turn of this weight still fits. The first that does not fit ends the choice.
    pub fn takes(&self, tokens: u64, bytes: u64) -> bool {
        tokens <= self.tokens_left && bytes <= self.bytes_left
    }

    /// Takes the next older turn, one that [`Fit::takes`].
    pub fn take(&mut self, turn: Turn) {
        let bytes = turn.content.messages.len() as u64;
        self.tokens_left = self.tokens_left.saturating_sub(turn.content.tokens);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.chosen.push(turn);
    }

    /// Returns the chosen turns, the oldest first. Turns that answer one that was left out are left out too:
    /// a model refuses a tool's result whose call it does not see.
    pub fn finish(mut self) -> Vec<Turn> {
        while self.chosen.last().is_some_and(|turn| !turn.content.leads) {
            self.chosen.pop();
        }
        self.chosen.reverse();
        self.chosen
    }
}
