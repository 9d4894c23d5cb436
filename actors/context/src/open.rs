//! Opens the store that the settings describe.

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    context_parts::{ContextParts, OpenStore},
    limits::ContextLimits,
    memory::MemoryStore,
    settings::{ContextSettings, StoreKind},
    sqlite::{BadKey, Keyring, SqliteFile},
    store::{SessionStore, StoreError},
};

/// The reason why sessions cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ContextStartError {
    /// A key cannot be used.
    #[error("{place} of `context.{setting}` {reason}")]
    Key {
        /// The variable or the file.
        place: String,
        /// The setting that names it.
        setting: &'static str,
        /// What is wrong with its value.
        reason: BadKey,
    },
    /// The store cannot be used.
    #[error("`context.path`: {0}")]
    Store(#[from] StoreError),
}

impl ContextStartError {
    /// Returns the setting that is to blame, below `context`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Key { setting, .. } => setting,
            Self::Store(_) => "path",
        }
    }
}

/// The values of the variables that hold keys.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The value of `key_env`: the key that encrypts, as hexadecimal digits. Without it the file is not encrypted.
    pub key: Option<String>,
    /// The value of `old_keys_env`: keys that only decrypt, separated by white space or commas.
    pub old_keys: Option<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Returns the parts of the context manager after a check of the whole store. A store that cannot be read now, for
/// example because another process holds its lock, is not an error: its sessions are unavailable until it can be read.
///
/// # Errors
/// See [`ContextStartError`].
pub fn parts(
    settings: &ContextSettings,
    secrets: &Secrets,
) -> Result<ContextParts, ContextStartError> {
    let limits = ContextLimits {
        sessions_max: settings.sessions_max,
        owner_bytes_max: settings.owner_bytes_max.0,
        turns_max: settings.turns_max,
        page_bytes_max: settings.page_bytes_max.0,
        idle_expiry: settings.idle_expiry.0,
        age_max: settings.age_max.0,
        answer_timeout: settings.answer_timeout.0,
        ..ContextLimits::default()
    };
    Ok(ContextParts {
        open: open(settings, secrets, &limits)?,
        limits,
        clock: Arc::new(unix_millis),
        former_owners: Vec::new(),
    })
}

fn open(
    settings: &ContextSettings,
    secrets: &Secrets,
    limits: &ContextLimits,
) -> Result<OpenStore, ContextStartError> {
    match settings.store {
        StoreKind::Memory => {
            let store = Arc::new(MemoryStore::default());
            Ok(Arc::new(move || {
                Ok(Arc::clone(&store) as Arc<dyn SessionStore>)
            }))
        }
        StoreKind::Sqlite => {
            let keyring = master_key(settings, secrets)?;
            let file = SqliteFile::new(settings.path.clone(), keyring, limits.lock_wait());
            match file.check() {
                Err(StoreError::Failed(reason)) => {
                    let path = settings.path.display();
                    tracing::error!(%path, reason, "the session store cannot be read now");
                }
                checked => checked?,
            }
            Ok(Arc::new(move || {
                Ok(Arc::new(file.open()?) as Arc<dyn SessionStore>)
            }))
        }
    }
}

/// Checks the keys of the store without opening it.
///
/// # Errors
/// Returns [`ContextStartError::Key`] if the store is a file and its keys cannot be used.
pub fn check_keys(settings: &ContextSettings, secrets: &Secrets) -> Result<(), ContextStartError> {
    match settings.store {
        StoreKind::Memory => Ok(()),
        StoreKind::Sqlite => master_key(settings, secrets).map(drop),
    }
}

/// Returns the master keys; `None` if the file is not encrypted.
///
/// # Errors
/// Returns [`ContextStartError::Key`] if they cannot be used.
pub fn master_key(
    settings: &ContextSettings,
    secrets: &Secrets,
) -> Result<Option<Keyring>, ContextStartError> {
    let wrong = |(setting, place), reason| ContextStartError::Key {
        place,
        setting,
        reason,
    };
    let wrong_old = |reason| {
        let (variable, file) = (&settings.old_keys_env, settings.old_keys_file.as_deref());
        wrong(
            place(("old_keys_env", variable), ("old_keys_file", file)),
            reason,
        )
    };
    let old = secrets
        .old_keys
        .as_deref()
        .filter(|old| !old.trim().is_empty());
    match (&secrets.key, old) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong_old(BadKey::NoCurrent)),
        (Some(key), old) => {
            let current = Keyring::from_hex(key);
            let current = current.map_err(|reason| {
                let (variable, file) = (&settings.key_env, settings.key_file.as_deref());
                wrong(place(("key_env", variable), ("key_file", file)), reason)
            })?;
            let all = current.with_old(old.unwrap_or_default());
            Ok(Some(all.map_err(wrong_old)?))
        }
    }
}

/// Returns the setting that names the place of a key, and that place.
fn place(
    (of_variable, variable): (&'static str, &str),
    (of_file, file): (&'static str, Option<&Path>),
) -> (&'static str, String) {
    match file {
        Some(file) => (of_file, format!("the file `{}`", file.display())),
        None => (
            of_variable,
            format!("the environment variable `{variable}`"),
        ),
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
