//! The servers of NATS.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{ByteCount, HumanDuration, SettingsError, Validate, join};

/// Settings of the servers of NATS and of the streams that the gateway creates there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// The addresses of the servers of one cluster; `tls://` with TLS. Default `["nats://127.0.0.1:4222"]`.
    pub servers: Vec<String>,
    /// The environment variable with the token that the servers want. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
    /// The file with the token, in place of `token_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The user, if the servers want a password. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The environment variable with the password of the user. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// The file with the password, in place of `password_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The stream of events. Default `KEBNE_EVENTS`.
    pub stream: String,
    /// What stands before the topics of events in their subjects. Default `kebne.events`.
    pub subject: String,
    /// The servers that keep a copy of a stream that the gateway creates; 1 to 5. Default 1.
    pub replicas: usize,
    /// The age after which messages leave a stream that the gateway creates; zero for never. Default 7d.
    pub age_max: HumanDuration,
    /// The bytes that a stream that the gateway creates may have; then its oldest messages leave. At least 1MiB. Default 1GiB.
    pub bytes_max: ByteCount,
    /// The time in which a stream that the gateway creates drops what is published again with the same id; 1s to 1d. Default 10m.
    pub duplicate_window: HumanDuration,
    /// The time in which the servers must answer; 100ms to 1min. Default 5s.
    pub timeout: HumanDuration,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            token_env: None,
            token_file: None,
            user: None,
            password_env: None,
            password_file: None,
            stream: "KEBNE_EVENTS".to_owned(),
            subject: "kebne.events".to_owned(),
            replicas: 1,
            age_max: HumanDuration(Duration::from_hours(7 * 24)),
            bytes_max: ByteCount::from_mib(1024),
            duplicate_window: HumanDuration(Duration::from_mins(10)),
            timeout: HumanDuration(Duration::from_secs(5)),
        }
    }
}

/// Returns `true` if a text can be the name of a stream or of a subscription.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= 64 && text.bytes().all(fits)
}

/// Returns `true` if a text can be a subject; with wildcards if `is_filter` is set.
pub(super) fn is_subject(text: &str, is_filter: bool) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let last = parts.len() - 1;
    text.len() <= 200
        && parts.iter().enumerate().all(|(place, part)| match *part {
            "*" => is_filter,
            ">" => is_filter && place == last,
            part => {
                let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'*' && byte != b'>';
                !part.is_empty() && part.bytes().all(fits)
            }
        })
}

impl Validate for NatsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let is_address = |text: &String| {
            let rest = ["nats://", "tls://"]
                .iter()
                .find_map(|scheme| text.strip_prefix(scheme));
            rest.is_some_and(|rest| {
                !rest.is_empty()
                    && rest
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'@')
            })
        };
        let fits = !self.servers.is_empty() && self.servers.iter().all(is_address);
        // Addresses are not quoted, because they may hold a password.
        let message = "must be addresses such as `nats://127.0.0.1:4222`, without a user; see `user` and `token_env`";
        require(fits, "servers", message);
        let has_password = self.password_env.is_some() || self.password_file.is_some();
        require(
            self.user.is_some() == has_password,
            "user",
            "needs `password_env` or `password_file`, and they need it",
        );
        let message = "must be 1 to 64 letters, digits, `_` and `-`";
        require(is_name(&self.stream), "stream", message);
        let message = "must be parts of printable ASCII between dots, without `*` and `>`";
        require(is_subject(&self.subject, false), "subject", message);
        require(
            (1..=5).contains(&self.replicas),
            "replicas",
            "must be 1 to 5",
        );
        let fits = self.bytes_max >= ByteCount::from_mib(1);
        require(fits, "bytes_max", "must be at least 1MiB");
        let windows = Duration::from_secs(1)..=Duration::from_hours(24);
        let fits = windows.contains(&self.duplicate_window.0);
        require(fits, "duplicate_window", "must be 1s to 1d");
        // The server refuses a stream that forgets messages before their ids.
        let age = self.age_max.0;
        let fits = age.is_zero() || age >= self.duplicate_window.0;
        require(
            fits,
            "age_max",
            "must be zero or at least `duplicate_window`",
        );
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
        assert_eq!(NatsSettings::default().validate("nats"), []);
        let wrong = NatsSettings {
            servers: vec!["nats://me:secret@host".to_owned()],
            user: Some("me".to_owned()),
            stream: "a.b".to_owned(),
            subject: "a.*".to_owned(),
            replicas: 0,
            age_max: HumanDuration(Duration::from_secs(1)),
            bytes_max: ByteCount::from_kib(1),
            timeout: HumanDuration(Duration::ZERO),
            ..NatsSettings::default()
        };
        let errors = wrong.validate("nats");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        let keys = [
            "servers",
            "user",
            "stream",
            "subject",
            "replicas",
            "bytes_max",
            "age_max",
            "timeout",
        ];
        assert_eq!(paths, keys.map(|key| format!("nats.{key}")));
        assert!(errors.iter().all(|error| !error.message.contains("secret")));
    }

    #[test]
    fn only_filters_have_wildcards() {
        for (text, is_filter, fits) in [
            ("a.b-c", false, true),
            ("a.*", false, false),
            ("a.*.b", true, true),
            ("a.>", true, true),
            ("a.>.b", true, false),
            ("a..b", true, false),
            ("a b", true, false),
            ("", false, false),
        ] {
            assert_eq!(is_subject(text, is_filter), fits, "{text}");
        }
    }
}
