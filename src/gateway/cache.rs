//! What the cache of answers needs, from the settings and the environment.

use std::sync::Arc;

use kebne_actors::ActorRef;
use kebne_answer_cache::{
    AnswerCache, CacheParts, CacheSettings, CacheStoreKind, Keyring, OpenStore,
};

#[cfg(not(feature = "redis"))]
use crate::settings::redis;
use crate::{
    gateway::{StartError, context::keyring_of},
    settings::{Environment, Settings},
    sharing::ShareError,
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
    let cache = match settings.cache.store {
        CacheStoreKind::Memory | CacheStoreKind::Sqlite => AnswerCache::new(supervisor, parts),
        CacheStoreKind::Redis => {
            let open = open_shared(settings, environment, parts.keyring.clone())?;
            AnswerCache::with_store(supervisor, parts, open)
        }
    };
    match cache.check() {
        Err(error @ kebne_answer_cache::StoreError::Failed(_)) => {
            tracing::error!(%error, "the cache cannot be read now");
        }
        checked => checked.map_err(|error| failed("path", error.to_string()))?,
    }
    Ok(cache)
}

/// Returns what opens the store that several gateways share. The server need not be there yet.
#[cfg(feature = "redis")]
fn open_shared(
    settings: &Settings,
    environment: &dyn Environment,
    keyring: Option<Keyring>,
) -> Result<OpenStore, ShareError> {
    use kebne_answer_cache::{Bounds, CacheStore, StoreError};

    let options = crate::redis::options(&settings.redis, environment)?;
    let bounds = Bounds::of(&settings.cache);
    Ok(Arc::new(move || {
        let store = kebne_redis::RedisAnswers::new(&options, keyring.clone(), bounds);
        let store = store.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Box::new(store) as Box<dyn CacheStore>)
    }))
}

#[cfg(not(feature = "redis"))]
fn open_shared(
    _settings: &Settings,
    _environment: &dyn Environment,
    _keyring: Option<Keyring>,
) -> Result<OpenStore, ShareError> {
    // The check of the settings refuses it before.
    Err(ShareError::new("cache.store", redis::NOT_BUILT))
}
