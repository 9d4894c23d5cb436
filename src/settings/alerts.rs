//! Alerts: the thresholds of the rules, where they are sent, and what the gateway may do by itself.

use std::{path::PathBuf, time::Duration};

use kebne_monitor::{ActionSettings, RuleSettings};
use serde::{Deserialize, Serialize};

use crate::settings::{
    BaseUrl, Environment, HumanDuration, SettingsError, Validate, join, secret_file,
};

/// The shortest secret of a webhook: half the length that a random one should have.
const SECRET_MIN: usize = 16;

/// Settings of alerts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// The thresholds of the rules.
    pub rules: RuleSettings,
    /// Where alerts are sent.
    pub webhook: WebhookSettings,
    /// What the gateway may do by itself.
    pub actions: ActionSettings,
}

/// Settings of the webhook, under `[alerts.webhook]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// The address to which the opening and closing of each alert is posted. Default none: nothing is sent.
    pub url: Option<BaseUrl>,
    /// The environment variable with the secret that signs what is sent, at least 16 characters; `url` needs it or
    /// `secret_file`. Default none.
    pub secret_env: Option<String>,
    /// The file with this secret, which is read again when the settings are. Not with `secret_env`. Default none.
    pub secret_file: Option<PathBuf>,
    /// Time for one try; `100ms` to `1m`. Default `10s`.
    pub timeout: HumanDuration,
    /// Tries for each event, with a growing wait between them; 1 to 20. Default 8.
    pub tries: u32,
    /// The wait before the second try, which doubles with each further one, up to five minutes; `10ms` to `1m`. Default
    /// `1s`.
    pub backoff: HumanDuration,
    /// Events that may wait for the receiver; further ones are dropped; 1 to 10000. Default 100.
    pub outbox_max: usize,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            url: None,
            secret_env: None,
            secret_file: None,
            timeout: HumanDuration::from_secs(10),
            tries: 8,
            backoff: HumanDuration::from_secs(1),
            outbox_max: 100,
        }
    }
}

impl Validate for AlertSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.rules.validate(&join(path, "rules"));
        errors.extend(self.webhook.validate(&join(path, "webhook")));
        errors.extend(self.actions.validate(&join(path, "actions")));
        errors
    }
}

impl Validate for WebhookSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut require = |fine: bool, key: &str, message: &str| {
            if !fine {
                errors.push(SettingsError::new(join(path, key), message));
            }
        };
        let is_address = |url: &BaseUrl| {
            let url = reqwest::Url::parse(url.expose());
            url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
        };
        let url = self.url.as_ref().is_none_or(is_address);
        let example = "must be an address such as `https://hooks.example/kebne`";
        require(url, "url", example);
        let has_secret = self.secret_env.is_some() || self.secret_file.is_some();
        let message = "or `secret_file` is required with `url`: it names the variable with the secret that signs";
        require(self.url.is_none() || has_secret, "secret_env", message);
        let is_one = self.secret_env.is_none() || self.secret_file.is_none();
        let message = "must not be set with `secret_env`: there is one secret";
        require(is_one, "secret_file", message);
        let (short, long) = (Duration::from_millis(10), Duration::from_mins(1));
        let timeout = (short * 10..=long).contains(&self.timeout.0);
        require(timeout, "timeout", "must be 100ms to 1m");
        let backoff = (short..=long).contains(&self.backoff.0);
        require(backoff, "backoff", "must be 10ms to 1m");
        require((1..=20).contains(&self.tries), "tries", "must be 1 to 20");
        let outbox = (1..=10_000).contains(&self.outbox_max);
        require(outbox, "outbox_max", "must be 1 to 10000");
        errors
    }
}

impl WebhookSettings {
    /// Returns the key of the setting that names the secret.
    pub fn secret_key(&self) -> &'static str {
        match self.secret_file {
            Some(_) => "secret_file",
            None => "secret_env",
        }
    }

    /// Reads the secret from the environment or its file; `None` without a webhook.
    ///
    /// # Errors
    /// Returns the reason why there is no usable secret. It does not contain the secret.
    pub fn secret(&self, environment: &dyn Environment) -> Result<Option<String>, String> {
        if self.url.is_none() {
            return Ok(None);
        }
        let short = |place: &str| {
            format!(
                "the secret in `{place}` is shorter than {SECRET_MIN} characters; `openssl rand -hex 32` prints a good one"
            )
        };
        if let Some(path) = &self.secret_file {
            let secret = secret_file::read(path).map_err(|error| error.to_string())?;
            if secret.len() < SECRET_MIN {
                return Err(short(&path.display().to_string()));
            }
            return Ok(Some(secret));
        }
        let Some(variable) = &self.secret_env else {
            return Ok(None);
        };
        let secret = environment
            .get(variable)
            .map_err(|error| error.to_string())?;
        let secret = secret.map(|secret| secret.trim().to_owned());
        match secret {
            Some(secret) if secret.len() >= SECRET_MIN => Ok(Some(secret)),
            Some(secret) if !secret.is_empty() => Err(short(variable)),
            _ => Err(format!(
                "the environment variable `{variable}` is not set or empty"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_webhook_needs_an_address_and_a_secret_of_some_length() {
        let with = |url: &str, secret_env: Option<&str>| WebhookSettings {
            url: Some(BaseUrl::new(url)),
            secret_env: secret_env.map(str::to_owned),
            ..WebhookSettings::default()
        };
        assert_eq!(WebhookSettings::default().validate("w"), []);
        let fine = with("http://127.0.0.1:9/x?token=abc", Some("HOOK"));
        assert_eq!(fine.validate("w"), []);
        for url in ["", "hooks.example", "file:///etc/passwd", "/relative"] {
            let errors = with(url, Some("HOOK")).validate("w");
            assert_eq!(errors.len(), 1, "{url}");
            assert_eq!(errors[0].path, "w.url");
        }
        assert_eq!(with("http://a", None).validate("w")[0].path, "w.secret_env");
        let environment = |value: &str| BTreeMap::from([("HOOK".to_owned(), value.to_owned())]);
        let secret = "0123456789abcdef";
        assert_eq!(fine.secret(&environment(secret)).unwrap().unwrap(), secret);
        for value in ["", "  ", "short-secret"] {
            let error = fine.secret(&environment(value)).unwrap_err();
            assert!(!error.contains("short-secret"), "{error}");
        }
        let none = WebhookSettings::default();
        assert_eq!(none.secret(&environment("")), Ok(None));
    }
}
