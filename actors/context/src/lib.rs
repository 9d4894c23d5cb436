//! Conversations: the actor [`ContextManager`], the trait of the stores that keep sessions, and the default store in an `SQLite`
//! file.
//!
//! [`ContextHandle`] creates, reads, changes and lists sessions and appends turns; [`ContextManager`] holds the rules (who may
//! see which session, how long it lives, which turns fit a token budget); a [`store::SessionStore`] holds the bytes.
//! [`tokens`] counts tokens, [`prompts`] renders templates. This crate knows no HTTP.

mod context_manager;
mod handle;
mod memory;
mod messages;
mod open;
pub mod prompts;
mod settings;
mod sqlite;
pub mod store;
pub mod tokens;

pub use context_manager::{ContextLimits, ContextManager, ContextParts, OpenStore, WallClock};
pub use handle::{ContextError, ContextHandle};
pub use memory::MemoryStore;
pub use messages::Change;
pub use open::{ContextStartError, parts};
pub use prompts::PromptSettings;
pub use settings::{ContextSettings, StoreKind};
pub use sqlite::{BadKey, Sealer, SqliteStore};

#[cfg(test)]
mod tests;
