//! What the context manager needs, from the settings and the environment.

use std::path::PathBuf;

use kebne_context::{BadKey, ContextParts, Keyring, Secrets};

use crate::{
    gateway::StartError,
    settings::{ContextSettings, Environment, Settings, secret_file},
};

/// Reads the keys of the session store. An error comes with the setting that names the variable.
pub(super) fn secrets(
    context: &ContextSettings,
    environment: &dyn Environment,
) -> Result<Secrets, (&'static str, String)> {
    let files = (&context.key_file, &context.old_keys_file);
    let variables = (&*context.key_env, &*context.old_keys_env);
    secrets_of(files, variables, environment)
}

/// Reads the key and the old keys of a store from their files or else from their variables. An error comes with the setting.
pub(super) fn secrets_of(
    files: (&Option<PathBuf>, &Option<PathBuf>),
    variables: (&str, &str),
    environment: &dyn Environment,
) -> Result<Secrets, (&'static str, String)> {
    type Place<'a, T> = (&'static str, T);
    let of = |(of_file, file): Place<'_, &Option<PathBuf>>,
              (setting, variable): Place<'_, &str>| {
        if let Some(path) = file {
            let secret = secret_file::read(path).map(Some);
            return secret.map_err(|error| (of_file, error.to_string()));
        }
        let value = environment.get(variable);
        value.map_err(|error| (setting, error.to_string()))
    };
    Ok(Secrets {
        key: of(("key_file", files.0), ("key_env", variables.0))?,
        old_keys: of(("old_keys_file", files.1), ("old_keys_env", variables.1))?,
    })
}

/// Returns the master keys of sessions; `None` without encryption.
pub(super) fn master_key(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<Option<Keyring>, StartError> {
    let secrets = secrets(&settings.context, environment)
        .map_err(|(key, reason)| StartError::Key { key, reason })?;
    Ok(kebne_context::master_key(&settings.context, &secrets)?)
}

/// Returns the keys of a file that are read as [`secrets_of`] reads them. An error comes with the setting that is to blame.
pub(crate) fn keyring_of(
    files: (&Option<PathBuf>, &Option<PathBuf>),
    variables: (&str, &str),
    environment: &dyn Environment,
) -> Result<Option<Keyring>, (&'static str, String)> {
    let secrets = secrets_of(files, variables, environment)?;
    let named = |of_file, of_variable, is_file| if is_file { of_file } else { of_variable };
    let key = named("key_file", "key_env", files.0.is_some());
    let old_keys = named("old_keys_file", "old_keys_env", files.1.is_some());
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

/// Returns what the context manager needs. Sessions belong to the tenant of a key. Files of earlier versions name the key's
/// hash instead.
pub(super) fn context_parts(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<ContextParts, StartError> {
    let secrets = secrets(&settings.context, environment)
        .map_err(|(key, reason)| StartError::Key { key, reason })?;
    let mut parts = kebne_context::parts(&settings.context, &secrets)?;
    let keys = settings.server.keys.iter();
    parts.former_owners = keys
        .map(|key| (key.hash.clone(), key.tenant().to_owned()))
        .collect();
    Ok(parts)
}
