#![doc = include_str!("../README.md")]

mod actor;
mod handle;
mod memory;
mod model;
mod settings;
mod sqlite;
mod store;

pub use handle::{AnswerCache, CacheError, CacheParts};
pub use kebne_seal::{BadKey, Keyring};
pub use memory::MemoryStore;
pub use model::{
    Candidate, Count, Entry, Erased, Health, Meaning, Scope, StoreError, Totals, WallClock,
};
pub use settings::{CacheSettings, CacheStoreKind};
pub use sqlite::{Place, SqliteStore};
pub use store::{Bounds, CacheStore, OpenStore};

#[cfg(test)]
mod tests;
