//! Files, collections and what a collection knows of its files.

use std::{collections::BTreeMap, sync::Arc};

use kebne_retrieval::{Attributes, ChunkRules};
use serde::{Deserialize, Serialize};

/// The reason why a store did not do what it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, it has expired, or it belongs to another owner.
    #[error("there is no such {0}")]
    NotFound(Thing),
    /// The owner, or a collection, has as many of something as the settings allow.
    #[error("there are already {max} {what} (`collections.{setting}`)")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The setting below `collections`.
        setting: &'static str,
        /// Its value.
        max: u64,
    },
    /// The store is damaged or is not a store, or its key is not the one that is set.
    #[error("{0}")]
    Damaged(String),
    /// The store cannot be used now.
    #[error("the store of collections failed: {0}")]
    Failed(String),
}

/// A kind of stored thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A file.
    File,
    /// A collection.
    Collection,
    /// A file of a collection.
    Member,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::File => "file",
            Self::Collection => "vector store",
            Self::Member => "file in this vector store",
        })
    }
}

/// A file of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The id, `file-` and 32 hexadecimal digits.
    pub id: String,
    /// The time of its creation, in milliseconds of Unix time.
    pub created: u64,
    /// The time at which it is removed, in milliseconds of Unix time.
    pub expires: Option<u64>,
    /// Its size.
    pub bytes: u64,
    /// The name and the purpose.
    pub details: FileDetails,
}

/// The fields of a file that its owner sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDetails {
    /// The name, with an extension that names the format.
    pub name: String,
    /// The purpose, `assistants` or `user_data`.
    pub purpose: String,
}

/// A collection of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The id, `vs_` and 32 hexadecimal digits.
    pub id: String,
    /// The time of its creation, in milliseconds of Unix time.
    pub created: u64,
    /// The time of its last use, in milliseconds of Unix time, exact to a minute.
    pub used: u64,
    /// The days without use after which it is removed.
    pub expires_after_days: Option<u32>,
    /// The fields that its owner sets.
    pub details: CollectionDetails,
    /// Its files by their states.
    pub counts: Counts,
    /// The bytes of its chunks and vectors.
    pub bytes: u64,
}

/// The fields of a collection that its owner sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionDetails {
    /// The name.
    pub name: String,
    /// The description.
    #[serde(default)]
    pub description: Option<String>,
    /// The owner's own notes.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

/// A change of a collection; a field that is `None` keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionChange {
    /// The new name.
    pub name: Option<String>,
    /// The new notes, which replace the old.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The new days until it expires, or none.
    pub expires_after_days: Option<Option<u32>>,
}

/// Files of a collection by their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those whose text is not found yet.
    pub in_progress: u64,
    /// Those whose text is found.
    pub completed: u64,
    /// Those that cannot be read.
    pub failed: u64,
}

impl Counts {
    /// Returns the number of all files.
    pub fn total(self) -> u64 {
        self.in_progress + self.completed + self.failed
    }
}

/// The state of a file in a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its text is not found yet.
    InProgress,
    /// Its text is found.
    Completed,
    /// It cannot be read.
    Failed,
}

impl Status {
    /// Returns the name, as in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Returns the state of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::InProgress, Self::Completed, Self::Failed];
        all.into_iter().find(|status| status.name() == name)
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `unsupported_file`, `invalid_file` or `server_error`.
    pub code: String,
    /// The reason in words.
    pub message: String,
}

/// A file in a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The id of the file.
    pub file: String,
    /// The time at which it was added, in milliseconds of Unix time.
    pub created: u64,
    /// The state.
    pub status: Status,
    /// The bytes of its chunks and vectors.
    pub bytes: u64,
    /// The fields that its owner sets, and the failure.
    pub details: MemberDetails,
}

/// What is kept of a file in a collection, encrypted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberDetails {
    /// The attributes that filters compare.
    #[serde(default)]
    pub attributes: Attributes,
    /// How its text is cut.
    #[serde(default)]
    pub rules: Rules,
    /// Why it cannot be read.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// How texts are cut; [`ChunkRules`] as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// See [`ChunkRules::tokens_max`].
    pub tokens_max: usize,
    /// See [`ChunkRules::overlap`].
    pub overlap: usize,
}

impl Default for Rules {
    fn default() -> Self {
        ChunkRules::default().into()
    }
}

impl From<ChunkRules> for Rules {
    fn from(rules: ChunkRules) -> Self {
        Self {
            tokens_max: rules.tokens_max,
            overlap: rules.overlap,
        }
    }
}

impl From<Rules> for ChunkRules {
    fn from(rules: Rules) -> Self {
        Self {
            tokens_max: rules.tokens_max,
            overlap: rules.overlap,
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `true` if there are more.
    pub has_more: bool,
}

/// The wanted part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The most items.
    pub limit: usize,
    /// The id of the item before the first one.
    pub after: Option<String>,
    /// The id of the item behind the last one.
    pub before: Option<String>,
    /// The oldest items come first.
    pub oldest_first: bool,
}

impl PageQuery {
    /// Returns the page of an owner who has nothing.
    pub(crate) fn of_nothing<T>(&self, thing: Thing) -> Result<Page<T>, StoreError> {
        if self.after.is_some() || self.before.is_some() {
            return Err(StoreError::NotFound(thing));
        }
        Ok(Page {
            items: Vec::new(),
            has_more: false,
        })
    }
}

/// A text as it is stored: a chunk and the headings above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkText {
    /// The headings above its beginning, the outermost first.
    #[serde(default, rename = "h", skip_serializing_if = "Vec::is_empty")]
    pub headings: Vec<String>,
    /// The text.
    #[serde(rename = "t")]
    pub text: String,
}

impl ChunkText {
    /// Returns the text with its headings, as it is indexed.
    pub fn indexed(&self) -> String {
        let mut text = self.headings.join("\n");
        text.push('\n');
        text.push_str(&self.text);
        text
    }
}

/// Returns the Unix time in milliseconds.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What became of an imported document.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The name of the document.
    pub name: String,
    /// `true` if the collection had it with the same content.
    pub is_unchanged: bool,
    /// Its file in the collection.
    pub member: Member,
}
