//! Conversations: the actor [`ContextManager`], the trait of the stores that keep sessions, and the default store in an `SQLite`
//! file.
//!
//! [`ContextHandle`] creates, reads, changes and lists sessions and appends turns; [`ContextManager`] applies the rules
//! (access by owner, expiry, token budget); a [`store::SessionStore`] holds the data. [`tokens`] counts tokens,
//! [`prompts`] renders templates. This crate does not depend on HTTP.

mod access;
pub mod budget;
mod context_manager;
mod context_parts;
mod erasing;
mod handle;
mod health;
mod limits;
mod memorizer;
mod memory;
mod messages;
mod notes;
mod open;
pub mod prompts;
mod renamed;
mod settings;
mod sqlite;
pub mod store;
pub mod tokens;

pub use context_manager::ContextManager;
pub use context_parts::{ContextParts, OpenStore, WallClock};
pub use handle::{ContextError, ContextHandle};
pub use health::StoreHealth;
pub use limits::ContextLimits;
pub use memorizer::{
    Asked, ExtractedFact, FactsTask, Memorizer, MemorizerParts, MemoryCounts, Summarizer,
    SummarizerError, SummaryTask,
};
pub use memory::MemoryStore;
pub use notes::{Fact, FactContent, Summary, SummaryContent};
pub use open::{ContextStartError, Secrets, check_keys, master_key, parts};
pub use prompts::{PromptSettings, PromptStoreSettings};
pub use settings::{ContextSettings, MemorySettings, StoreKind};
pub use sqlite::{BadKey, Keyring, SqliteFile, SqliteStore};
pub use store::{Change, erasure};

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
