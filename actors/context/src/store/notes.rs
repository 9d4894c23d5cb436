//! What is kept beside the turns of a session: summaries and facts.
//!
//! Notes never replace turns. A note that rests on turns goes with them: the removal of a turn removes each summary and each
//! fact that rests on it, unless the owner wrote it.

use bytes::Bytes;

/// The number of summaries of a session that are kept, the newest ones. The older ones are there for a session that is
/// rewound or forked at an earlier turn.
pub const SUMMARIES_MAX: usize = 8;

/// The kind of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// A summary of all turns up to one; its number is the number of that turn.
    Summary,
    /// A fact; numbers are given in order and not used again.
    Fact,
}

impl NoteKind {
    /// Returns the number that stands for the kind in a file.
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Summary => 1,
            Self::Fact => 2,
        }
    }

    pub(crate) fn of_code(code: i64) -> Option<Self> {
        let all = [Self::Summary, Self::Fact];
        all.into_iter().find(|kind| kind.code() == code)
    }
}

/// The turns on which a note rests, from the first to the last; both 0 if it rests on none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The number of the first turn.
    pub first: u64,
    /// The number of the last turn.
    pub last: u64,
}

impl Basis {
    /// Rests on no turn.
    pub const NONE: Self = Self { first: 0, last: 0 };

    /// Returns `true` if a note with this basis rests on the turn.
    pub fn holds(self, turn: u64) -> bool {
        (self.first..=self.last).contains(&turn) && self != Self::NONE
    }
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Its kind.
    pub kind: NoteKind,
    /// Its number among the notes of its kind.
    pub number: u64,
    /// `true` if the owner wrote it, so that a model cannot change it.
    pub is_owners: bool,
    /// The turns on which it rests.
    pub basis: Basis,
    /// The content, opaque to the store.
    pub content: Bytes,
}

/// One change of a session's notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteChange {
    /// Adds a fact under the next number.
    AddFact {
        /// `true` if the owner wrote it.
        is_owners: bool,
        /// The turns on which it rests.
        basis: Basis,
        /// The content.
        content: Bytes,
    },
    /// Writes a note in the place of the one with its kind and number. A fact must exist; other notes are added.
    Set(Note),
    /// Adds a note that another session had, under its own number.
    Import(Note),
    /// Removes a note.
    Remove {
        /// Its kind.
        kind: NoteKind,
        /// Its number.
        number: u64,
    },
}

/// The author of a change of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteAuthor {
    /// The session's owner.
    Owner,
    /// A model, which read the session when turns had been removed from it this many times. What it writes is refused if
    /// turns were removed since. It changes no note of the owner, adds nothing to a full session, and restores nothing that
    /// was removed.
    Model {
        /// See [`Marks::cuts`].
        cuts: u64,
    },
}

/// Changes of a session's notes, which are done together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteStep {
    /// Who makes them.
    pub author: NoteAuthor,
    /// The changes.
    pub changes: Vec<NoteChange>,
    /// The number of the last turn from which facts have been extracted; `None` if that stays.
    pub facts_through: Option<u64>,
    /// The largest number of facts of a session.
    pub facts_max: u64,
}

/// What a store knows of the history of a session itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The number of times that turns were removed from it, or that it was rewound.
    pub cuts: u64,
    /// The number of facts that it has had, removed ones included; also the number of the newest.
    pub facts: u64,
    /// The number of the last turn from which facts were extracted.
    pub facts_through: u64,
    /// `true` while it is being imported or copied. It is not listed until then.
    pub is_partial: bool,
}

/// The result of one step of [`SessionStore::rewind`](super::SessionStore::rewind) and
/// [`SessionStore::copy`](super::SessionStore::copy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of the newest turn that is left, or that was copied.
    pub turn: u64,
    /// `true` if there is more to do.
    pub has_more: bool,
}

/// The turns of a session that are copied to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copying {
    /// The session that takes them, of the same owner.
    pub to: String,
    /// Turns after this one are copied,
    pub after: u64,
    /// up to this one.
    pub through: u64,
    /// See [`Marks::cuts`]: turns must not have been removed from the session since.
    pub cuts: u64,
}
