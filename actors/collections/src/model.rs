//! Files, collections and what a collection knows of its files.

pub(crate) mod held;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kebne_actors::AskError;
use kebne_retrieval::{Attributes, ChunkRules};
use serde::{Deserialize, Serialize};

/// The reason why a store did not do what it was asked to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, it has expired, or it belongs to another owner.
    #[error("there is no such {0}")]
    NotFound(Thing),
    /// The thing at which a page begins or ends is not in the list. It names the field of [`PageQuery`].
    #[error("`{0}` must be the id of an item of the list")]
    NotListed(&'static str),
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

/// The reason why a question about collections has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectionError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The actor did not answer; a retry may succeed.
    #[error("the store of collections is unavailable: {0}")]
    NoAnswer(#[from] AskError),
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
    /// A batch of files of a collection.
    Batch,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::File => "file",
            Self::Collection => "vector store",
            Self::Member => "file in this vector store",
            Self::Batch => "batch of files in this vector store",
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
    /// The days after which its files are removed, counted from their addition.
    pub file_days: Option<u32>,
    /// The fields that its owner sets.
    pub details: CollectionDetails,
    /// Its files by their states.
    pub counts: Counts,
    /// The bytes of its chunks and vectors.
    pub bytes: u64,
    /// The chunks that wait for a vector of the embedder: those of files that are read, and those with a vector of another embedder, which
    /// are found by their words meanwhile.
    pub waiting: u64,
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
    /// The new days after which its files are removed, or none.
    pub file_days: Option<Option<u32>>,
}

/// How long a collection and its files are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// The days without use after which the collection is removed.
    pub unused_days: Option<u32>,
    /// The days after which its files are removed, counted from their addition.
    pub file_days: Option<u32>,
}

/// The ages at which files are removed, whatever their owners say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ages {
    /// That of all files.
    pub(crate) document: Option<Duration>,
    /// That of the files of collections that have no such age themselves.
    pub(crate) member: Option<Duration>,
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
    /// Those that were given up before they were read.
    pub cancelled: u64,
}

impl Counts {
    /// Returns the number of all files.
    pub fn total(self) -> u64 {
        self.in_progress + self.completed + self.failed + self.cancelled
    }

    /// Adds files of one state.
    pub(crate) fn add(&mut self, status: Status, count: u64) {
        let of_status = match status {
            Status::InProgress => &mut self.in_progress,
            Status::Completed => &mut self.completed,
            Status::Failed => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
        };
        *of_status += count;
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
    /// It was given up before it was read.
    Cancelled,
}

impl Status {
    /// Returns the name, as in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state of a name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::InProgress,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
        ];
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

/// What the store holds, of all owners together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The collections.
    pub collections: u64,
    /// The files of collections, by their states.
    pub files: Counts,
    /// The chunks of all files.
    pub chunks: u64,
    /// The bytes of the chunks and their vectors.
    pub bytes: u64,
}

/// A batch of files that were added to a collection by one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The id, `vsfb_` and 32 hexadecimal digits.
    pub id: String,
    /// The time of its creation, in milliseconds of Unix time.
    pub created: u64,
    /// `true` if files of it were given up.
    pub is_cancelled: bool,
    /// Its files by their states.
    pub counts: Counts,
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
    /// `true` if there are more: behind the last one, or before the first one on a page with only [`PageQuery::before`].
    pub has_more: bool,
}

/// The wanted part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The most items.
    pub limit: usize,
    /// The id of the item before the first one.
    pub after: Option<String>,
    /// The id of the item behind the last one. Without `after`, the page has the items next to it.
    pub before: Option<String>,
    /// The oldest items come first.
    pub oldest_first: bool,
}

impl PageQuery {
    /// Returns the page of an owner who has nothing.
    pub(crate) fn of_nothing<T>(&self) -> Result<Page<T>, StoreError> {
        match (&self.after, &self.before) {
            (Some(_), _) => Err(StoreError::NotListed("after")),
            (None, Some(_)) => Err(StoreError::NotListed("before")),
            (None, None) => Ok(Page {
                items: Vec::new(),
                has_more: false,
            }),
        }
    }

    /// Returns the numbers of the items at which the page begins and ends, which `find` finds.
    pub(crate) fn bounds(
        &self,
        mut find: impl FnMut(&str) -> Result<i64, StoreError>,
    ) -> Result<(Option<i64>, Option<i64>), StoreError> {
        let mut bound = |name, id: &Option<String>| {
            let number = id.as_deref().map(&mut find).transpose();
            number.map_err(|error| match error {
                StoreError::NotFound(_) => StoreError::NotListed(name),
                error => error,
            })
        };
        Ok((bound("after", &self.after)?, bound("before", &self.before)?))
    }

    /// Returns `true` if the page has the last items before one: then the list is read from there in the reverse order.
    pub(crate) fn is_reverse(&self) -> bool {
        self.before.is_some() && self.after.is_none()
    }

    /// Returns the page of the items that were read, as many as it has and one more if there is one.
    pub(crate) fn page<T>(&self, mut read: Vec<T>) -> Page<T> {
        let has_more = read.len() > self.limit;
        read.truncate(self.limit);
        if self.is_reverse() {
            read.reverse();
        }
        Page {
            items: read,
            has_more,
        }
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
        let parts = self.headings.iter().chain([&self.text]);
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        parts.join("\n")
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
