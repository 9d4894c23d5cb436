//! The brokers of Kafka, from the settings.

use kebne_kafka::{Mechanism, Options, Trust, User};

use crate::{
    brokers::{BrokerSecretError, Secret},
    settings::{Environment, KafkaSettings, kafka::SaslMechanism},
};

/// The header `content-type` of all messages that the gateway publishes: `CloudEvents` in JSON.
const CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// Returns how the brokers are reached, and how topics are created.
///
/// # Errors
/// Fails if a secret cannot be read.
pub fn options(
    settings: &KafkaSettings,
    environment: &dyn Environment,
) -> Result<Options, BrokerSecretError> {
    let password = Secret {
        table: "events.kafka",
        file: ("password_file", settings.password_file.as_deref()),
        variable: ("password_env", settings.password_env.as_deref()),
    };
    let mechanism = match settings.mechanism {
        SaslMechanism::Plain => Mechanism::Plain,
        SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
        SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
    };
    let user = settings.user.clone().zip(password.read(environment)?);
    let trust = settings.ca_file.clone().map_or(Trust::Public, Trust::File);
    Ok(Options {
        servers: settings.servers.clone(),
        tls: settings.tls.then_some(trust),
        user: user.map(|(name, password)| User {
            name,
            password,
            mechanism,
        }),
        partitions: settings.partitions,
        replicas: settings.replicas,
        age_max: settings.age_max.0,
        bytes_max: u64::try_from(settings.bytes_max.as_usize()).unwrap_or(u64::MAX),
        duplicate_window: settings.duplicate_window.0,
        content_type: Some(CONTENT_TYPE.to_owned()),
        timeout: settings.timeout.0,
        ..Options::default()
    })
}
