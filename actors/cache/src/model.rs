//! What is kept, and what is asked about it.

use std::sync::Arc;

use kebne_cache::Key;
use kebne_retrieval::Vector;
use serde::Serialize;

/// Returns the time in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One kept answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key of its call.
    pub key: Key,
    /// The model, by its own name.
    pub model: String,
    /// When it was kept, in milliseconds since 1970.
    pub created: u64,
    /// When it is removed, in milliseconds since 1970.
    pub expires: u64,
    /// The answer, in the form of whoever keeps it.
    pub body: Arc<[u8]>,
    /// What similar questions are compared with; `None` if there is nothing to compare.
    pub meaning: Option<Meaning>,
}

/// The question of a kept answer, to be compared with similar ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// The key of the group of calls that differ only in their questions.
    pub group: Key,
    /// The question.
    pub question: String,
    /// The space of its vector. Vectors of different spaces are not compared.
    pub space: String,
    /// Its vector.
    pub vector: Vector,
}

/// A kept answer to a similar question.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The key of the answer.
    pub key: Key,
    /// The question.
    pub question: String,
    /// The cosine of the questions' vectors.
    pub similarity: f32,
}

/// Which answers are erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only those of this owner; `None` for all owners.
    pub owner: Option<String>,
    /// Only those of this model; `None` for all models.
    pub model: Option<String>,
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Answers.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Keys of owners of whom nothing is left.
    pub keys: u64,
}

/// The answers of one owner to calls of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The owner.
    #[serde(rename = "tenant")]
    pub owner: String,
    /// The model.
    pub model: String,
    /// Answers.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// All that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Answers.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Answers that were removed because a bound was reached.
    pub evicted: u64,
}

/// The state of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What is kept.
    #[serde(flatten)]
    pub totals: Totals,
    /// Questions that the store did not answer.
    pub failures: u64,
    /// Why it did not answer the last one; `None` if it did.
    pub reason: Option<String>,
}

/// The reason why the store has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read or written now.
    #[error("the store of answers failed: {0}")]
    Failed(String),
    /// It is not a store of answers, has another key, or its data cannot be read.
    #[error("the store of answers is damaged: {0}")]
    Damaged(String),
}

impl Entry {
    /// Returns the bytes that it counts for.
    pub fn size(&self) -> u64 {
        /// What a store needs besides.
        const OVERHEAD: usize = 160;
        let meaning = self.meaning.as_ref().map_or(0, |meaning| {
            meaning.question.len() + meaning.space.len() + 2 * meaning.vector.dimensions()
        });
        let size = self.body.len() + self.model.len() + meaning + OVERHEAD;
        u64::try_from(size).unwrap_or(u64::MAX)
    }
}

impl Meaning {
    /// Returns the bytes of a question and of the key of its answer, without the group.
    pub fn to_bytes(&self, key: Key) -> Vec<u8> {
        let mut bytes = key.0.to_vec();
        for text in [&self.space, &self.question] {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&self.vector.to_bytes());
        bytes
    }

    /// Reads the bytes of a question of a group, and of the key of its answer.
    pub fn from_bytes(bytes: &[u8], group: Key) -> Option<(Key, Self)> {
        let (key, rest) = bytes.split_first_chunk::<32>()?;
        let (space, rest) = read_text(rest)?;
        let (question, rest) = read_text(rest)?;
        let vector = Vector::from_bytes(rest).ok()?;
        let meaning = Self {
            group,
            question,
            space,
            vector,
        };
        Some((Key(*key), meaning))
    }
}

fn read_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}
