//! What the context manager needs, from the settings and the environment.

use kebne_context::{ContextParts, Secrets};

use crate::{
    gateway::StartError,
    settings::{ContextSettings, Environment, NotUtf8, Settings},
};

/// Reads the keys of the session store. An error comes with the setting that names the variable.
pub(super) fn secrets(
    context: &ContextSettings,
    environment: &dyn Environment,
) -> Result<Secrets, (&'static str, NotUtf8)> {
    let of = |setting, variable: &str| {
        let value = environment.get(variable);
        value.map_err(|error| (setting, error))
    };
    Ok(Secrets {
        key: of("key_env", &context.key_env)?,
        old_keys: of("old_keys_env", &context.old_keys_env)?,
    })
}

/// Returns what the context manager needs. Sessions belong to the tenant of a key. Files of earlier versions name the key's
/// hash instead.
pub(super) fn context_parts(
    settings: &Settings,
    environment: &dyn Environment,
) -> Result<ContextParts, StartError> {
    let secrets = secrets(&settings.context, environment).map_err(|(_, error)| error)?;
    let mut parts = kebne_context::parts(&settings.context, &secrets)?;
    let keys = settings.server.keys.iter();
    parts.former_owners = keys
        .map(|key| (key.hash.clone(), key.tenant().to_owned()))
        .collect();
    Ok(parts)
}
