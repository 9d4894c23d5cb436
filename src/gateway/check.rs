//! Finds what the settings alone do not show: a backend, the certificate or the session store that cannot be made of them
//! in this environment.

#[cfg(feature = "redis")]
use crate::settings::{AccountsStore, ShareBy};
use crate::{
    backend::{ModelBackend, wake},
    gateway::{agents, cache, collections, context::secrets, jobs, owned},
    settings::{BaseUrl, Environment, Settings, SettingsError, functions, mcp, routes},
    tls,
};
#[cfg(feature = "redis")]
use kebne_answer_cache::CacheStoreKind;

/// The port of a process that has not started yet.
const PORT: u16 = 1;
/// The URL of a replica that is not known yet.
const PLACEHOLDER: &str = "http://localhost/v1";

/// Makes what the service is made of, without starting it and without the network, and returns an error for each setting
/// that prevents it.
pub fn check(settings: &Settings, environment: &dyn Environment) -> Vec<SettingsError> {
    let mut errors = Vec::new();
    let completed = settings.completed();
    for (index, backend) in completed.backends.iter().enumerate() {
        let mut backend = backend.clone();
        if backend.process.is_some() {
            match owned::at_port(&backend, PORT) {
                Ok(at_port) => backend = at_port,
                // The checks of the settings have found it.
                Err(_) => continue,
            }
        }
        if backend.discovery.names_urls() {
            // The replicas differ only in their URLs.
            backend.base_url = Some(BaseUrl::new(PLACEHOLDER));
        }
        let made = ModelBackend::build(&backend, environment).map(drop);
        if let Err(error) = made.and_then(|()| wake::call(&backend, settings).map(drop)) {
            let made = functions::place_of_function(settings, &backend);
            let at = match (
                made.or_else(|| mcp::place_of(settings, &backend)),
                routes::place_of_service(settings, index),
            ) {
                (Some(place), _) => {
                    format!("{place}.{}", functions::key_of_function(error.key()))
                }
                (None, Some(place)) => format!("{place}.{}", error.key()),
                (None, None) => format!("backends[{index}].{}", error.key()),
            };
            errors.push(SettingsError::new(at, error.reason()));
        }
    }
    #[cfg(feature = "redis")]
    if uses_redis(settings)
        && let Err(error) = crate::redis::connect(&settings.redis, environment)
    {
        let at = format!("redis.{}", error.key);
        errors.push(SettingsError::new(at, error.reason));
    }
    if let Err(error) = tls::check(&settings.server.tls) {
        let at = format!("server.tls.{}", error.key);
        errors.push(SettingsError::new(at, error.reason));
    }
    if let Err(reason) = settings.alerts.webhook.secret(environment) {
        let key = settings.alerts.webhook.secret_key();
        errors.push(SettingsError::new(format!("alerts.webhook.{key}"), reason));
    }
    if let Err((key, reason)) = collections::keyring(&settings.collections, environment) {
        errors.push(SettingsError::new(format!("collections.{key}"), reason));
    }
    if let Err((key, reason)) = jobs::keyring(&settings.jobs, environment) {
        errors.push(SettingsError::new(format!("jobs.{key}"), reason));
    }
    if let Err((key, reason)) = agents::keyring(&settings.agent_store, environment) {
        errors.push(SettingsError::new(format!("agent_store.{key}"), reason));
    }
    if let Err((key, reason)) = cache::keyring(&settings.cache, environment) {
        errors.push(SettingsError::new(format!("cache.{key}"), reason));
    }
    let context = &settings.context;
    match secrets(context, environment) {
        Err((key, error)) => {
            errors.push(SettingsError::new(format!("context.{key}"), error));
        }
        Ok(secrets) => {
            if let Err(error) = kebne_context::check_keys(context, &secrets) {
                let at = format!("context.{}", error.key());
                errors.push(SettingsError::new(at, error.to_string()));
            }
        }
    }
    errors
}

/// Returns `true` if something is kept in Redis.
#[cfg(feature = "redis")]
fn uses_redis(settings: &Settings) -> bool {
    settings.share.by == ShareBy::Redis
        || settings.accounts.store == AccountsStore::Redis
        || settings.cache.store == CacheStoreKind::Redis
}
