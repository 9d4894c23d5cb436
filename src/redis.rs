//! The server of Redis or Valkey, from the settings.

use kebne_redis::{Options, RedisConnection};

use crate::settings::{Environment, RedisSettings, secret_file};

/// The server cannot be reached with the settings.
#[derive(Debug)]
pub(crate) struct RedisStartError {
    /// The setting below `redis`.
    pub(crate) key: &'static str,
    /// The reason.
    pub(crate) reason: String,
}

/// Returns a connection, which is made when it is first used.
pub(crate) fn connect(
    settings: &RedisSettings,
    environment: &dyn Environment,
) -> Result<RedisConnection, RedisStartError> {
    let options = options(settings, environment)?;
    RedisConnection::new(&options).map_err(|error| RedisStartError {
        key: "url",
        reason: error.to_string(),
    })
}

/// Returns how the server is reached.
pub(crate) fn options(
    settings: &RedisSettings,
    environment: &dyn Environment,
) -> Result<Options, RedisStartError> {
    Ok(Options {
        url: settings.url.clone(),
        user: settings.user.clone(),
        password: password(settings, environment)?,
        prefix: settings.prefix.clone(),
        timeout: settings.timeout.0,
    })
}

fn password(
    settings: &RedisSettings,
    environment: &dyn Environment,
) -> Result<Option<String>, RedisStartError> {
    let wrong = |key: &'static str| move |reason: String| RedisStartError { key, reason };
    if let Some(path) = &settings.password_file {
        let secret = secret_file::read(path).map(Some);
        return secret
            .map_err(|error| error.to_string())
            .map_err(wrong("password_file"));
    }
    let Some(variable) = &settings.password_env else {
        return Ok(None);
    };
    let secret = environment.get(variable).map_err(|error| error.to_string());
    let secret = secret.map_err(wrong("password_env"))?;
    let missing = || format!("the variable `{variable}` is not set");
    secret
        .ok_or_else(missing)
        .map(Some)
        .map_err(wrong("password_env"))
}
