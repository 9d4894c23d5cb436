//! What the store holds of a tenant or of one of its users, and its erasure.
//!
//! Both go in small steps, between which steps of callers run. The last step of the erasure of a tenant erases its key, in the same
//! transaction that finds nothing left which the key seals.

use std::collections::BTreeMap;

use super::{SPACE, Session};

/// The key of a session's metadata that names the user whose session it is.
pub const USER: &str = "user";

/// Whose data: all of a tenant, or the part of one of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The tenant. Its spaces belong to it.
    pub tenant: String,
    /// Only sessions whose metadata names this user.
    pub user: Option<String>,
}

impl Whose {
    /// Returns `true` if a session of the tenant belongs to this data.
    pub(crate) fn has(&self, session: &Session) -> bool {
        let named = || session.details.metadata.get(USER);
        self.user.as_ref().is_none_or(|user| named() == Some(user))
    }
}

/// The place of a session in the order in which a tenant's sessions are looked through: owner, creation, id.
pub type Cursor = (String, u64, String);

/// What is held in one space of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The number of sessions. Expired ones count until they are removed.
    pub sessions: u64,
    /// The number of their turns.
    pub turns: u64,
    /// The number of bytes that are stored for them.
    pub bytes: u64,
    /// When the oldest was created, in milliseconds of Unix time.
    pub oldest: Option<u64>,
    /// When the newest was last used, in milliseconds of Unix time.
    pub newest: Option<u64>,
}

impl Held {
    /// Adds a session.
    pub(crate) fn add(&mut self, session: &Session, turns: u64, bytes: u64) {
        let of_session = Self {
            sessions: 1,
            turns,
            bytes,
            oldest: Some(session.created),
            newest: Some(session.used),
        };
        self.join(of_session);
    }

    fn join(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.turns += other.turns;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.newest = self.newest.into_iter().chain(other.newest).max();
    }
}

/// What is held of someone, by the names of spaces; the sessions themselves have the empty name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// What is held in each space.
    pub spaces: BTreeMap<String, Held>,
    /// `true` if the tenant has a key.
    pub has_key: bool,
}

impl Holdings {
    pub(crate) fn add(&mut self, session: &Session, turns: u64, bytes: u64) {
        let space = session
            .owner
            .split_once(SPACE)
            .map_or("", |(_, space)| space);
        let space = self.spaces.entry(space.to_owned()).or_default();
        space.add(session, turns, bytes);
    }

    pub(crate) fn join(&mut self, other: Self) {
        for (space, held) in other.spaces {
            self.spaces.entry(space).or_default().join(held);
        }
        self.has_key = other.has_key;
    }
}

/// The result of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// What was found or erased.
    pub found: Holdings,
    /// Where the next step begins; `None` after the last one.
    pub next: Option<Next>,
    /// `true` if this step has erased the tenant's key.
    pub key_erased: bool,
}

/// Where the next step begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// With the sessions behind this one; with all if there is none.
    Sessions(Option<Cursor>),
    /// With what removed sessions have left.
    Removed,
}

/// The result of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// What was removed.
    pub removed: Holdings,
    /// `true` if the tenant had a key and it was erased.
    pub key_erased: bool,
    /// `true` if the log of the file holds nothing of it any more; `false` while another process reads the log.
    pub log_emptied: bool,
}
