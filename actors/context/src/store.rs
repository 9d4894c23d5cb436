//! Conversations as they are stored, and the guarantees of a store.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub mod erasure;
mod error;
mod notes;

use erasure::{Looked, Next, Whose};

pub use error::StoreError;
pub use notes::{
    Basis, Copying, Marks, Note, NoteAuthor, NoteChange, NoteKind, NoteStep, Progress,
    SUMMARIES_MAX,
};

/// The character that separates the name of a tenant from that of a space, in which things of the tenant are kept that are not among
/// its sessions. No tenant's name contains it.
pub const SPACE: char = '\u{1f}';

/// Returns the tenant of an owner, which is the owner itself or the owner of a space.
pub fn tenant_of(owner: &str) -> &str {
    owner.split(SPACE).next().unwrap_or(owner)
}

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
    /// The number of the newest turn: the number of turns appended, including turns that were removed one by one.
    pub turns: u64,
    /// The tokens of all its turns.
    pub tokens: u64,
    /// The fields that its owner sets.
    pub details: Details,
    /// What the store knows of its history.
    pub marks: Marks,
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
    /// What routes remember of the session: a document that only they read. It is sealed and erased with the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<String>,
}

/// A change of what routes remember of a session. It takes effect only if the document is the one that was read, so that of calls at the
/// same time none is lost: the session that [`SessionStore::change`] returns shows whether it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingChange {
    /// What the session's [`Marks::cuts`] must be; `None` if turns may have been removed meanwhile.
    pub cuts: Option<u64>,
    /// The document that was read.
    pub before: Option<String>,
    /// The new document.
    pub after: String,
}

/// A change of single entries of the metadata of a session. It takes effect as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariablesChange {
    /// What the session's [`Marks::cuts`] must be; `None` if turns may have been removed meanwhile.
    pub cuts: Option<u64>,
    /// The most entries that the metadata may have afterwards.
    pub entries_max: usize,
    /// The entries, each with its new value; `None` removes it.
    pub set: BTreeMap<String, Option<String>>,
}

impl VariablesChange {
    fn apply(self, metadata: &mut BTreeMap<String, String>) {
        let mut changed = metadata.clone();
        for (name, value) in self.set {
            match value {
                Some(value) => changed.insert(name, value),
                None => changed.remove(&name),
            };
        }
        if changed.len() <= self.entries_max {
            *metadata = changed;
        }
    }
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
    /// New values of single entries of the metadata.
    pub variables: Option<VariablesChange>,
    /// The new document of routes.
    pub routing: Option<RoutingChange>,
}

impl Change {
    /// Applies the change to a session from which turns were removed `cuts` times.
    pub fn apply(self, details: &mut Details, cuts: u64) {
        if let Some(metadata) = self.metadata {
            details.metadata = metadata;
        }
        if let Some(system_prompt) = self.system_prompt {
            details.system_prompt = system_prompt;
        }
        if let Some(prompt) = self.prompt {
            details.prompt = prompt;
        }
        if let Some(variables) = self.variables
            && variables.cuts.is_none_or(|expected| expected == cuts)
        {
            variables.apply(&mut details.metadata);
        }
        if let Some(routing) = self.routing
            && routing.before == details.routing
            && routing.cuts.is_none_or(|expected| expected == cuts)
        {
            details.routing = Some(routing.after);
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

    pub(crate) fn is_empty(&self) -> bool {
        self.part.items.is_empty()
    }

    /// Ends the part before an item, so that more items follow.
    pub(crate) fn end(&mut self) {
        self.part.has_more = true;
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

    /// Returns a session of its owner that has not expired. The owner is a condition of the query.
    fn find_own(&self, session: Owned) -> Stored<Found>;

    /// Changes the fields that the owner may set, records the use, and returns the session. Concurrent changes of
    /// different fields are all kept.
    fn change(&self, session: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session>;

    /// Appends a turn, records the use, and returns the number of the turn, unless `quota` would be exceeded.
    fn append(&self, id: &str, content: TurnContent, now: u64, quota: Quota) -> Stored<u64> {
        self.append_if(id, None, content, now, quota)
    }

    /// Appends a turn as [`SessionStore::append`] does if no turns were removed since the session had these `cuts` (see [`Marks::cuts`]). With
    /// `None` it is appended in any case.
    fn append_if(
        &self,
        id: &str,
        cuts: Option<u64>,
        content: TurnContent,
        now: u64,
        quota: Quota,
    ) -> Stored<u64>;

    /// Returns the newest turns that fit into `fit` together, the oldest first.
    fn newest(&self, id: &str, fit: Fit) -> Stored<Vec<Turn>>;

    /// Returns turns with numbers above `after`, the oldest first.
    fn turns(&self, session: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>>;

    /// Removes one turn and what rests on it, and returns `true` if there was one. The numbers of the other turns do not
    /// change.
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

    /// Adds turns with given numbers, in order, to a session that is being imported.
    fn put_turns(&self, session: Owned, turns: Vec<Turn>, quota: Quota) -> Stored<()>;

    /// Makes a session that was imported or copied one like others, and returns it.
    fn finish(&self, session: Owned, now: u64) -> Stored<Session>;

    /// Removes some of the turns after `to`, the newest first, and what rests on them. It counts as a removal ([`Marks::cuts`]) also if there
    /// are none. One step is short.
    fn rewind(&self, session: Owned, to: u64, now: u64) -> Stored<Progress>;

    /// Copies some turns to another session, and with the last of them the notes that rest on no later turn. One step is
    /// short.
    fn copy(&self, session: Owned, copying: Copying, quota: Quota) -> Stored<Progress>;

    /// Returns the number of the newest turn that does not fit into `tokens_max` tokens with all newer ones; 0 if all fit.
    fn leaving(&self, session: Owned, tokens_max: u64) -> Stored<u64>;

    /// Returns the notes of a kind, in the order of their numbers.
    fn notes(&self, session: Owned, kind: NoteKind) -> Stored<Vec<Note>>;

    /// Changes notes, and returns for each change the number of the note that it changed, or `None` if it changed none.
    fn note(&self, session: Owned, step: NoteStep, quota: Quota) -> Stored<Vec<Option<u64>>>;

    /// Removes a session, its turns and its notes.
    fn remove(&self, session: Owned) -> Stored<()>;

    /// Moves some sessions of the owner `former` to `owner` and returns `true` if there are more. One step is short.
    fn adopt(&self, former: &str, owner: &str) -> Stored<bool>;

    /// Does some maintenance work: removes expired sessions, erases removed ones, and encrypts data under old keys
    /// again. One step is short, so that steps of callers do not wait long.
    fn tidy(&self, alive: Alive) -> Stored<Tidied>;

    /// Returns what is held in some sessions of a tenant and of its spaces. One step is short.
    fn held(&self, whose: Whose, from: Next) -> Stored<Looked>;

    /// Erases some sessions of a tenant and of its spaces, and what they have left; the last step for a whole tenant erases its key. One
    /// step is short.
    fn erase(&self, whose: Whose, from: Next) -> Stored<Looked>;

    /// Takes removed data out of what the store writes besides its data; returns `false` if that is not possible now.
    fn empty_log(&self) -> Stored<bool>;

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
