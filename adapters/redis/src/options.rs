//! How the server is reached.

use std::{fmt, time::Duration};

use redis::{ConnectionInfo, IntoConnectionInfo as _};

/// How the server is reached, and under which names things are kept there.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// The address, such as `redis://127.0.0.1:6379/0`. It may hold no password.
    pub url: String,
    /// The user; `None` for the default one.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The begin of all names of keys.
    pub prefix: String,
    /// The longest wait for an answer.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            user: None,
            password: None,
            prefix: "kebne:".to_owned(),
            timeout: Duration::from_millis(500),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The reason why an address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for OptionsError {}

impl OptionsError {
    pub(crate) fn unusable() -> Self {
        // The reason of the client is not shown, because it may quote the address.
        Self("is not an address of Redis".to_owned())
    }
}

impl Options {
    /// Returns the address and the credentials for the client.
    ///
    /// # Errors
    /// Returns an error if the address is not one of Redis, or holds a password.
    pub(crate) fn info(&self) -> Result<ConnectionInfo, OptionsError> {
        if !self.url.starts_with("redis://") && !self.url.starts_with("redis+unix://") {
            let message = "must begin with `redis://` or `redis+unix://`";
            return Err(OptionsError(message.to_owned()));
        }
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|_| OptionsError::unusable())?;
        let mut settings = info.redis_settings().clone();
        if settings.password().is_some() {
            let message = "must hold no password; use `password_env` or `password_file`";
            return Err(OptionsError(message.to_owned()));
        }
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        Ok(info.set_redis_settings(settings))
    }

    /// Checks the address without a connection.
    ///
    /// # Errors
    /// Returns an error if the address is not one of Redis, or holds a password.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.info().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<(), OptionsError> {
        Options {
            url: url.to_owned(),
            ..Options::default()
        }
        .check()
    }

    #[test]
    fn an_address_is_checked_and_its_password_is_not_repeated() {
        checked("redis://127.0.0.1:7000/3").unwrap();
        checked("redis+unix:///run/redis.sock").unwrap();
        for wrong in [
            "",
            "http://127.0.0.1",
            "redis://:hunter2@127.0.0.1",
            "redis://a:hunter2@x:notaport/",
        ] {
            let error = checked(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let options = Options {
            password: Some("hunter2".to_owned()),
            ..Options::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
