//! Conversations: the stores that keep them, the counting of their tokens, and prompts made from templates.
//!
//! The rules of sessions are in `kebne_actors::context_manager`, the shape of chat messages in `kebne_wire::turn`;
//! here are the file and its encryption, the tokenizer and the templates.

mod database;
pub mod prompts;
mod seal;
mod sqlite;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use kebne_actors::context_manager::{
    ContextLimits, ContextParts, MemoryStore, OpenStore,
    store::{SessionStore, StoreError},
};

use crate::settings::{ContextSettings, Environment, context::StoreKind};

pub use seal::{BadKey, Sealer};
pub use sqlite::SqliteStore;

/// Why sessions cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ContextStartError {
    /// The key in the environment is none.
    #[error("the environment variable `{variable}` of `context.key_env` {reason}")]
    Key {
        /// The variable.
        variable: String,
        /// What is wrong with its value.
        reason: BadKey,
    },
    /// The store cannot be used.
    #[error("`context.path`: {0}")]
    Store(#[from] StoreError),
}

/// Returns what the context manager needs, after looking at the store once.
///
/// # Errors
/// See [`ContextStartError`].
pub fn parts(
    settings: &ContextSettings,
    environment: &dyn Environment,
) -> Result<ContextParts, ContextStartError> {
    Ok(ContextParts {
        open: open(settings, environment)?,
        limits: ContextLimits {
            sessions_max: settings.sessions_max,
            turns_max: settings.turns_max,
            idle_expiry: settings.idle_expiry.0,
            age_max: settings.age_max.0,
            ..ContextLimits::default()
        },
        clock: Arc::new(unix_millis),
    })
}

fn open(
    settings: &ContextSettings,
    environment: &dyn Environment,
) -> Result<OpenStore, ContextStartError> {
    match settings.store {
        StoreKind::Memory => {
            let store = Arc::new(MemoryStore::default());
            Ok(Arc::new(move || {
                Ok(Arc::clone(&store) as Arc<dyn SessionStore>)
            }))
        }
        StoreKind::Sqlite => {
            let sealer = match environment.get(&settings.key_env) {
                None => None,
                Some(text) => Some(Sealer::from_hex(&text).map_err(|reason| {
                    let variable = settings.key_env.clone();
                    ContextStartError::Key { variable, reason }
                })?),
            };
            SqliteStore::check(&settings.path, sealer.clone())?;
            let path = settings.path.clone();
            Ok(Arc::new(move || {
                let store = SqliteStore::open(path.clone(), sealer.clone())?;
                Ok(Arc::new(store) as Arc<dyn SessionStore>)
            }))
        }
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
