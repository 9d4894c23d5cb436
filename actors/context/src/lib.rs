//! Conversations: the actor [`ContextManager`], the trait of the stores that keep sessions, and the default store in an `SQLite`
//! file.
//!
//! [`ContextHandle`] creates, reads, changes and lists sessions and appends turns; [`ContextManager`] applies the rules
//! (access by owner, expiry, token budget); a [`store::SessionStore`] holds the data. [`tokens`] counts tokens,
//! [`prompts`] renders templates. This crate does not depend on HTTP.

mod access;
mod context_manager;
mod context_parts;
mod handle;
mod health;
mod limits;
mod memory;
mod messages;
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
pub use memory::MemoryStore;
pub use open::{ContextStartError, Secrets, check_keys, parts};
pub use prompts::PromptSettings;
pub use settings::{ContextSettings, StoreKind};
pub use sqlite::{BadKey, Keyring, SqliteFile, SqliteStore};
pub use store::Change;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
