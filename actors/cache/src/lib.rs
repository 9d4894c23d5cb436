#![doc = include_str!("../README.md")]

mod actor;
#[cfg(any(test, feature = "testkit"))]
pub mod contract;
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
pub use store::{Bounds, COMPARED_MAX, CacheStore, GROUPS_MAX, OpenStore, nearest};

#[cfg(test)]
mod tests;
