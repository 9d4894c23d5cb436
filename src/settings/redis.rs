//! The server of Redis or Valkey.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// The reason why a build cannot use Redis.
pub(crate) const NOT_BUILT: &str =
    "this build has no Redis: it was made without the feature `redis`";

/// Settings of the server of Redis or Valkey in which several gateways keep what they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// The address, with the number of the database: `redis://HOST:PORT/0`, or `redis+unix:///PATH`. It may hold no password. Default
    /// `redis://127.0.0.1:6379/0`.
    pub url: String,
    /// The user. Default none, which is the server's default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The environment variable with the password. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// The file with the password, in place of `password_env`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The begin of the names of all keys, so that several installations can use one server. Default `kebne:`.
    pub prefix: String,
    /// The time in which the server must answer; 50ms to 10s. Default 500ms.
    pub timeout: HumanDuration,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            user: None,
            password_env: None,
            password_file: None,
            prefix: "kebne:".to_owned(),
            timeout: HumanDuration(Duration::from_millis(500)),
        }
    }
}

impl Validate for RedisSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let schemes = ["redis://", "redis+unix://"];
        let rest = schemes
            .iter()
            .find_map(|scheme| self.url.strip_prefix(scheme));
        let fits = rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@'));
        // The address is not quoted, because it may hold a password.
        let message = "must be an address such as `redis://127.0.0.1:6379/0`, without a user; see `user` and `password_env`";
        require(fits, "url", message);
        let both = self.password_env.is_some() && self.password_file.is_some();
        let message = "must not be set with `password_env`: there is one password";
        require(!both, "password_file", message);
        let has_password = self.password_env.is_some() || self.password_file.is_some();
        let message = "needs `password_env` or `password_file`";
        require(self.user.is_none() || has_password, "user", message);
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
        let fits = (1..=100).contains(&self.prefix.len()) && self.prefix.bytes().all(fits);
        let message = "must be 1 to 100 printable characters of ASCII, without braces";
        require(fits, "prefix", message);
        let times = Duration::from_millis(50)..=Duration::from_secs(10);
        let fits = times.contains(&self.timeout.0);
        require(fits, "timeout", "must be 50ms to 10s");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named_and_a_password_is_not_repeated() {
        assert!(RedisSettings::default().validate("redis").is_empty());
        let wrong: RedisSettings = toml::from_str(
            "url = 'redis://:hunter2@h'\nuser = 'u'\nprefix = '{a}'\ntimeout = '1ms'",
        )
        .unwrap();
        let errors = wrong.validate("redis");
        let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            ["redis.url", "redis.user", "redis.prefix", "redis.timeout"]
        );
        assert!(
            errors
                .iter()
                .all(|error| !error.to_string().contains("hunter2"))
        );
        let both: RedisSettings =
            toml::from_str("password_env = 'A'\npassword_file = 'b'").unwrap();
        let errors = both.validate("redis");
        assert_eq!(errors[0].path, "redis.password_file");
    }
}
