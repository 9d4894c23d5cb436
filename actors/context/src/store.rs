//! What is kept of conversations, and what a store must promise.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// A conversation, without its turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name by which calls refer to it; unique in the store.
    pub id: String,
    /// Who made it; nobody else ever sees it.
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
    /// The template that makes the text that leads every call; goes before `system_prompt`.
    pub prompt: Option<String>,
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
    /// Its weight in the budget.
    pub tokens: u64,
    /// It can be the first that a model sees: it does not answer something said in the turn before.
    pub leads: bool,
    /// The messages, in a form that the store does not look into.
    pub messages: Bytes,
}

/// The sessions that have not expired: none of the times may lie before these, in milliseconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The earliest last use.
    pub used_since: u64,
    /// The earliest making.
    pub created_since: u64,
}

impl Alive {
    /// Says whether a session has not expired.
    pub fn holds(&self, session: &Session) -> bool {
        session.used >= self.used_since && session.created >= self.created_since
    }
}

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Begin behind the session with this id.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such session.
    #[error("there is no such session")]
    NoSuchSession,
    /// The owner holds as many sessions as it may.
    #[error("the owner holds as many sessions as it may")]
    Full,
    /// The session holds as many turns as it may.
    #[error("the session holds as many turns as it may")]
    TurnsFull,
    /// What is kept cannot be read: changed from outside, cut off, or written under another key.
    #[error("the session store is damaged: {0}")]
    Damaged(String),
    /// The store cannot do it now: a full disk, a lock.
    #[error("the session store failed: {0}")]
    Failed(String),
    /// The store has ended and must be opened anew.
    #[error("the session store has ended")]
    Lost,
}

/// A store's answer on its way.
pub type Stored<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Keeps sessions and their turns.
///
/// What was answered with `Ok` is kept: it is there after the process was killed, where the store keeps
/// anything beyond the process at all. Each method is one step that others see whole or not at all.
pub trait SessionStore: Send + Sync + 'static {
    /// Keeps a new session unless its owner holds `sessions_max` that have not expired.
    fn insert(&self, session: Session, sessions_max: u64, alive: Alive) -> Stored<()>;

    /// Returns a session, expired or not.
    fn find(&self, id: &str) -> Stored<Option<Session>>;

    /// Replaces what the owner set and notes the use.
    fn change(&self, id: &str, details: Details, now: u64) -> Stored<()>;

    /// Appends a turn, notes the use, and returns the turn's number.
    fn append(&self, id: &str, content: TurnContent, now: u64) -> Stored<u64>;

    /// Returns the newest turns that together fit `tokens_max`, the oldest of them first; see [`Fit`].
    fn newest(&self, id: &str, tokens_max: u64) -> Stored<Vec<Turn>>;

    /// Returns turns behind the number `after`, the oldest first.
    fn turns(&self, id: &str, after: u64, limit: usize) -> Stored<Vec<Turn>>;

    /// Removes one turn and returns `true` if there was one. The numbers of the others stay.
    fn remove_turn(&self, id: &str, number: u64) -> Stored<bool>;

    /// Returns an owner's sessions that have not expired, the newest first.
    fn list(&self, owner: &str, alive: Alive, page: Page) -> Stored<Vec<Session>>;

    /// Removes a session and its turns; says whether there was one.
    fn remove(&self, id: &str) -> Stored<bool>;

    /// Removes what has expired; returns how many sessions.
    fn expire(&self, alive: Alive) -> Stored<u64>;
}

/// Chooses the newest turns that fit a budget: offered from the newest on, until one does not fit.
#[derive(Debug)]
pub struct Fit {
    left: u64,
    chosen: Vec<Turn>,
}

impl Fit {
    /// Starts with a budget in tokens.
    pub fn new(tokens_max: u64) -> Self {
        Self {
            left: tokens_max,
            chosen: Vec::new(),
        }
    }

    /// Says whether a turn of this weight would still fit; the first that does not is where to stop.
    pub fn takes(&self, tokens: u64) -> bool {
        tokens <= self.left
    }

    /// Takes the next older turn, one that [`Fit::takes`].
    pub fn take(&mut self, turn: Turn) {
        self.left = self.left.saturating_sub(turn.content.tokens);
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
