//! What the cache of answers needs, from the settings and the environment.

use std::sync::Arc;

use kebne_actors::ActorRef;
use kebne_answer_cache::{AnswerCache, CacheParts, CacheSettings, CacheStoreKind, Keyring};

use crate::{
    gateway::{StartError, context::keyring_of},
    settings::{Environment, Settings},
    supervisor::Supervisor,
    unix_time,
};

/// Returns the keys of the store of answers. An error comes with the setting that is to blame.
pub(super) fn keyring(
    settings: &CacheSettings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    if settings.store == CacheStoreKind::Memory {
        return Ok(None);
    }
    let files = (&settings.key_file, &settings.old_keys_file);
    let variables = (&*settings.key_env, &*settings.old_keys_env);
    keyring_of(files, variables, environment)
}

/// Creates the handle of the cache. A file that cannot be opened now costs misses; one with another key is an error.
pub(super) fn start(
    supervisor: &ActorRef<Supervisor>,
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<AnswerCache, StartError> {
    let failed = |key, reason| StartError::Cache { key, reason };
    let keyring = keyring(&settings.cache, environment);
    let parts = CacheParts {
        settings: settings.cache.clone(),
        keyring: keyring.map_err(|(key, reason)| failed(key, reason))?,
        clock: Arc::new(unix_time::millis),
    };
    let cache = AnswerCache::new(supervisor, parts);
    match cache.check() {
        Err(error @ kebne_answer_cache::StoreError::Failed(_)) => {
            tracing::error!(%error, "the cache cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    Ok(cache)
}
