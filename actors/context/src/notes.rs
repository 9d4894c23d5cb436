//! Summaries and facts, as programs read and write them. A store keeps them as JSON, which it does not read.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{Basis, Note, NoteKind, StoreError};

/// A summary of all turns of a session up to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The number of the last turn that it covers.
    pub through: u64,
    /// The text and what belongs to it.
    pub content: SummaryContent,
}

/// The content of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummaryContent {
    /// The text.
    pub text: String,
    /// The tokens of the text.
    pub tokens: u64,
    /// When it was made, in milliseconds of Unix time.
    pub created: u64,
}

/// A fact about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its number in the session, from 1.
    pub number: u64,
    /// `true` if its owner wrote or corrected it. A model does not change it.
    pub is_owners: bool,
    /// The text and what belongs to it.
    pub content: FactContent,
}

/// The content of a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactContent {
    /// The text.
    pub text: String,
    /// The tokens of the text.
    pub tokens: u64,
    /// The numbers of the turns from which it was extracted.
    pub turns: Vec<u64>,
    /// When it was added, in milliseconds of Unix time.
    pub created: u64,
    /// When its text was last changed, in milliseconds of Unix time.
    pub changed: u64,
}

impl Summary {
    /// Reads a note.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a summary.
    pub fn of(note: &Note) -> Result<Self, StoreError> {
        Ok(Self {
            through: note.number,
            content: read(note)?,
        })
    }

    /// Returns the note that keeps it.
    pub fn note(&self) -> Note {
        Note {
            kind: NoteKind::Summary,
            number: self.through,
            is_owners: false,
            basis: Basis {
                first: 1,
                last: self.through,
            },
            content: written(&self.content),
        }
    }
}

impl Fact {
    /// Reads a note.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a fact.
    pub fn of(note: &Note) -> Result<Self, StoreError> {
        Ok(Self {
            number: note.number,
            is_owners: note.is_owners,
            content: read(note)?,
        })
    }

    /// Returns the note that keeps it. What the owner wrote rests on no turn.
    pub fn note(&self) -> Note {
        Note {
            kind: NoteKind::Fact,
            number: self.number,
            is_owners: self.is_owners,
            basis: if self.is_owners {
                Basis::NONE
            } else {
                basis_of(&self.content.turns)
            },
            content: written(&self.content),
        }
    }
}

/// Returns the turns from the first to the last of some.
pub(crate) fn basis_of(turns: &[u64]) -> Basis {
    let ends = turns.iter().min().zip(turns.iter().max());
    ends.map_or(Basis::NONE, |(first, last)| Basis {
        first: *first,
        last: *last,
    })
}

pub(crate) fn written(content: &impl Serialize) -> Bytes {
    // Texts and numbers can always be written.
    serde_json::to_vec(content).unwrap_or_default().into()
}

fn read<'a, T: Deserialize<'a>>(note: &'a Note) -> Result<T, StoreError> {
    serde_json::from_slice(&note.content).map_err(|error| {
        let Note { kind, number, .. } = note;
        StoreError::Damaged(format!("note {number} of kind {kind:?}: {error}"))
    })
}
