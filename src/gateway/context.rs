//! What the context manager needs, from the settings and the environment.

use std::path::PathBuf;

use kebne_context::{ContextParts, Secrets};

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
