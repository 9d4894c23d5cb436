//! The servers of NATS, from the settings.

use kebne_nats::Options;

use crate::{
    brokers::{BrokerSecretError, Secret},
    settings::{Environment, NatsSettings},
};

/// Returns how the servers are reached, and how streams are created.
///
/// # Errors
/// Fails if a secret cannot be read.
pub fn options(
    settings: &NatsSettings,
    environment: &dyn Environment,
) -> Result<Options, BrokerSecretError> {
    let token = Secret {
        table: "events.nats",
        file: ("token_file", settings.token_file.as_deref()),
        variable: ("token_env", settings.token_env.as_deref()),
    };
    let password = Secret {
        table: "events.nats",
        file: ("password_file", settings.password_file.as_deref()),
        variable: ("password_env", settings.password_env.as_deref()),
    };
    Ok(Options {
        servers: settings.servers.clone(),
        token: token.read(environment)?,
        user: settings.user.clone().zip(password.read(environment)?),
        replicas: settings.replicas,
        age_max: settings.age_max.0,
        bytes_max: u64::try_from(settings.bytes_max.as_usize()).unwrap_or(u64::MAX),
        duplicate_window: settings.duplicate_window.0,
        timeout: settings.timeout.0,
        ..Options::default()
    })
}
