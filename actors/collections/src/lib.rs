//! Collections of documents: the actors that keep and read them, the handle [`Collections`], and the store in an `SQLite` file.
//!
//! A file of an owner is added to a collection and read by the `Ingester`: its text is cut into chunks, each with a vector.
//! [`Collections::search`] finds chunks by words and by vectors. This crate does not depend on HTTP.

mod document;
mod embedding;
pub mod erasure;
mod handle;
mod index;
mod ingester;
mod model;
mod progress;
mod query;
mod search;
mod settings;
mod sqlite;

pub use document::{PdfError, PdfReader};
pub use handle::{Collections, CollectionsParts, Document};
pub use kebne_retrieval::{Attribute, Attributes, ChunkRules, Filter};
pub use kebne_seal::{BadKey, Keyring};
pub use model::{
    Batch, ChunkText, Collection, CollectionChange, CollectionDetails, CollectionError, Counts,
    Failure, FileDetails, FileRecord, Imported, Lifetimes, Member, MemberDetails, Page, PageQuery,
    Rules, Status, StoreError, Thing, Totals, WallClock,
};
pub use progress::EmbeddingProgress;
pub use query::{Candidate, Candidates, Coverage, Floor, Found, Query, QueryVectors, Source};
pub use settings::CollectionsSettings;

#[cfg(test)]
mod tests;
