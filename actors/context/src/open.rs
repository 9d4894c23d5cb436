//! How the store that the settings name is opened.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    context_manager::{ContextLimits, ContextParts, OpenStore},
    memory::MemoryStore,
    settings::{ContextSettings, StoreKind},
    sqlite::{BadKey, Sealer, SqliteStore},
    store::{SessionStore, StoreError},
};

/// The reason why sessions cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ContextStartError {
    /// The encryption key cannot be used.
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

/// Returns what the context manager needs, after opening the store once to check it. `key` is the encryption key, as
/// hexadecimal digits; without it the file is not encrypted.
///
/// # Errors
/// See [`ContextStartError`].
pub fn parts(
    settings: &ContextSettings,
    key: Option<&str>,
) -> Result<ContextParts, ContextStartError> {
    Ok(ContextParts {
        open: open(settings, key)?,
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

fn open(settings: &ContextSettings, key: Option<&str>) -> Result<OpenStore, ContextStartError> {
    match settings.store {
        StoreKind::Memory => {
            let store = Arc::new(MemoryStore::default());
            Ok(Arc::new(move || {
                Ok(Arc::clone(&store) as Arc<dyn SessionStore>)
            }))
        }
        StoreKind::Sqlite => {
            let sealer = match key {
                None => None,
                Some(text) => Some(Sealer::from_hex(text).map_err(|reason| {
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
