//! The servers of NATS, from the settings.

use kebne_nats::Options;

use crate::settings::{Environment, NatsSettings, secret_file};

/// The secret of the servers cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`events.nats.{key}`: {reason}")]
pub struct NatsSecretError {
    /// The setting.
    key: &'static str,
    /// The reason.
    reason: String,
}

/// Returns how the servers are reached, and how streams are created.
///
/// # Errors
/// Fails if a secret cannot be read.
pub fn options(
    settings: &NatsSettings,
    environment: &dyn Environment,
) -> Result<Options, NatsSecretError> {
    let read = |(of_file, file): (&'static str, &Option<std::path::PathBuf>),
                (of_variable, variable): (&'static str, &Option<String>)| {
        if let Some(path) = file {
            let secret = secret_file::read(path).map(Some);
            return secret.map_err(|error| NatsSecretError {
                key: of_file,
                reason: error.to_string(),
            });
        }
        let Some(variable) = variable else {
            return Ok(None);
        };
        let wrong = |reason| NatsSecretError {
            key: of_variable,
            reason,
        };
        let secret = environment.get(variable);
        let secret = secret.map_err(|error| wrong(error.to_string()))?;
        let missing = || wrong(format!("the variable `{variable}` is not set"));
        secret.ok_or_else(missing).map(Some)
    };
    let token = read(
        ("token_file", &settings.token_file),
        ("token_env", &settings.token_env),
    )?;
    let password = read(
        ("password_file", &settings.password_file),
        ("password_env", &settings.password_env),
    )?;
    Ok(Options {
        servers: settings.servers.clone(),
        token,
        user: settings.user.clone().zip(password),
        replicas: settings.replicas,
        age_max: settings.age_max.0,
        bytes_max: u64::try_from(settings.bytes_max.as_usize()).unwrap_or(u64::MAX),
        duplicate_window: settings.duplicate_window.0,
        timeout: settings.timeout.0,
        ..Options::default()
    })
}
