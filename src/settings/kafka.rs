//! The brokers of Kafka.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{ByteCount, HumanDuration, SettingsError, Validate, join};

/// The way in which a user is authenticated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaslMechanism {
    /// SASL PLAIN, which sends the password.
    Plain,
    /// SASL SCRAM with SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SASL SCRAM with SHA-512.
    #[default]
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
}

/// Settings of the brokers of Kafka and of the topics that the gateway creates there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// The addresses of some of the brokers of one cluster. Default `["127.0.0.1:9092"]`.
    pub servers: Vec<String>,
    /// Whether connections use TLS. Default `false`.
    pub tls: bool,
    /// The file with the certificates, in PEM, of the authorities that are trusted; needs `tls`. Default none: those that browsers trust are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The user, if the brokers want one (SASL). Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The environment variable with the password of the user. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// The file with the password, in place of `password_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The way in which the user is authenticated: `plain`, `scram_sha_256` or `scram_sha_512`. Default `scram_sha_512`.
    pub mechanism: SaslMechanism,
    /// The topic of events. Default `kebne.events`.
    pub topic: String,
    /// The partitions of a topic that the gateway creates; 1 to 10000. Default 8.
    pub partitions: u16,
    /// The brokers that keep a copy of a topic that the gateway creates; 1 to 10. Default 1.
    pub replicas: u16,
    /// The age after which messages leave a topic that the gateway creates; zero for never. Default 7d.
    pub age_max: HumanDuration,
    /// The bytes that each partition of a topic that the gateway creates may have; then its oldest messages leave. At least 1MiB. Default 1GiB.
    pub bytes_max: ByteCount,
    /// The time in which a message with the same id is not published again; so much of a topic is read before the first message is published. 1s to 1d.
    /// Default 10m.
    pub duplicate_window: HumanDuration,
    /// The time in which the brokers must answer; 100ms to 1min. Default 5s.
    pub timeout: HumanDuration,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:9092".to_owned()],
            tls: false,
            ca_file: None,
            user: None,
            password_env: None,
            password_file: None,
            mechanism: SaslMechanism::default(),
            topic: "kebne.events".to_owned(),
            partitions: 8,
            replicas: 1,
            age_max: HumanDuration(Duration::from_hours(7 * 24)),
            bytes_max: ByteCount::from_mib(1024),
            duplicate_window: HumanDuration(Duration::from_mins(10)),
            timeout: HumanDuration(Duration::from_secs(5)),
        }
    }
}

/// Returns `true` if a text can be the name of a topic.
pub(super) fn is_topic(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(text, "" | "." | "..") && text.len() <= 249 && text.bytes().all(fits)
}

/// Returns `true` if a text is a host and a port.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'@' | b',');
    !host.is_empty() && host.bytes().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl Validate for KafkaSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let fits = !self.servers.is_empty() && self.servers.iter().all(|one| is_address(one));
        // Addresses are not quoted, because they may hold a password.
        let message = "must be addresses such as `127.0.0.1:9092`, without a scheme and a user";
        require(fits, "servers", message);
        let fits = self.ca_file.is_none() || self.tls;
        require(fits, "ca_file", "needs `tls = true`");
        let has_password = self.password_env.is_some() || self.password_file.is_some();
        require(
            self.user.is_some() == has_password,
            "user",
            "needs `password_env` or `password_file`, and they need it",
        );
        let message = "must be 1 to 249 letters, digits, `.`, `_` and `-`";
        require(is_topic(&self.topic), "topic", message);
        let fits = (1..=10_000).contains(&self.partitions);
        require(fits, "partitions", "must be 1 to 10000");
        let fits = (1..=10).contains(&self.replicas);
        require(fits, "replicas", "must be 1 to 10");
        let fits = self.bytes_max >= ByteCount::from_mib(1);
        require(fits, "bytes_max", "must be at least 1MiB");
        let windows = Duration::from_secs(1)..=Duration::from_hours(24);
        let fits = windows.contains(&self.duplicate_window.0);
        require(fits, "duplicate_window", "must be 1s to 1d");
        let times = Duration::from_millis(100)..=Duration::from_mins(1);
        let fits = times.contains(&self.timeout.0);
        require(fits, "timeout", "must be 100ms to 1min");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named() {
        assert_eq!(KafkaSettings::default().validate("kafka"), []);
        let wrong = KafkaSettings {
            servers: vec!["me:secret@host:9092".to_owned()],
            ca_file: Some(PathBuf::from("ca.pem")),
            user: Some("me".to_owned()),
            topic: "a/b".to_owned(),
            partitions: 0,
            replicas: 0,
            bytes_max: ByteCount::from_kib(1),
            duplicate_window: HumanDuration(Duration::ZERO),
            timeout: HumanDuration(Duration::ZERO),
            ..KafkaSettings::default()
        };
        let errors = wrong.validate("kafka");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = [
            "servers",
            "ca_file",
            "user",
            "topic",
            "partitions",
            "replicas",
            "bytes_max",
            "duplicate_window",
            "timeout",
        ];
        assert_eq!(paths, keys.map(|key| format!("kafka.{key}")));
        assert!(errors.iter().all(|error| !error.message.contains("secret")));
    }

    #[test]
    fn servers_are_hosts_with_ports() {
        for (text, fits) in [
            ("127.0.0.1:9092", true),
            ("[::1]:9092", true),
            ("kafka-1.example:1", true),
            ("kafka", false),
            (":9092", false),
            ("a:0", false),
            ("a:70000", false),
            ("kafka://a:9092", false),
            ("a:1,b:1", false),
        ] {
            assert_eq!(is_address(text), fits, "{text}");
        }
    }
}
