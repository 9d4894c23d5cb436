//! What collections need, from the settings and the environment.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use kebne_actors::ActorRef;
use kebne_collections::{BadKey, Collections, CollectionsParts, Keyring};

use crate::{
    gateway::{StartError, context::secrets_of},
    settings::{CollectionsSettings, Environment, Settings},
    supervisor::Supervisor,
};

/// Returns the keys of the store of collections. An error comes with the setting that is to blame.
pub(super) fn keyring(
    settings: &CollectionsSettings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    let files = (&settings.key_file, &settings.old_keys_file);
    let variables = (&*settings.key_env, &*settings.old_keys_env);
    let secrets = secrets_of(files, variables, environment)?;
    let named = |of_file, of_variable, is_file| if is_file { of_file } else { of_variable };
    let key = named("key_file", "key_env", settings.key_file.is_some());
    let old_keys = named(
        "old_keys_file",
        "old_keys_env",
        settings.old_keys_file.is_some(),
    );
    let wrong = |key, reason: BadKey| (key, reason.to_string());
    let old = secrets.old_keys.unwrap_or_default();
    match secrets.key {
        Some(text) => {
            let keyring = Keyring::from_hex(&text).map_err(|reason| wrong(key, reason))?;
            let keyring = keyring.with_old(&old);
            keyring.map(Some).map_err(|reason| wrong(old_keys, reason))
        }
        None if old.trim().is_empty() => Ok(None),
        None => Err(wrong(old_keys, BadKey::NoCurrent)),
    }
}

/// Creates the handle of collections, and starts their actors if there is a file.
pub(super) async fn start(
    supervisor: &ActorRef<Supervisor>,
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Collections, StartError> {
    let failed = |key, reason| StartError::Collections { key, reason };
    let keyring = keyring(&settings.collections, environment);
    let tokenizer = settings.context.tokenizer;
    let count = move |text: &str| usize::try_from(tokenizer.count(text)).unwrap_or(usize::MAX);
    let parts = CollectionsParts {
        settings: settings.collections.clone(),
        keyring: keyring.map_err(|(key, reason)| failed(key, reason))?,
        clock: Arc::new(unix_millis),
        count: Arc::new(count),
    };
    let collections = Collections::new(supervisor, parts);
    match collections.check() {
        Err(error @ kebne_collections::StoreError::Failed(_)) => {
            tracing::error!(%error, "collections cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    collections.resume().await?;
    Ok(collections)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
