//! TLS towards callers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::settings::{HumanDuration, SettingsError, Validate, join};

/// The default of `check_every`: a renewed certificate is in use within a few seconds, and a look costs three calls of
/// the system.
const CHECK_EVERY: HumanDuration = HumanDuration::from_secs(10);

/// TLS towards callers; without a certificate the service speaks HTTP without TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The file with the certificate in PEM, relative to the working directory: that of the service first, then those of
    /// the authorities between it and the root. Empty for HTTP without TLS. Default none.
    pub cert: PathBuf,
    /// The file with the private key of the certificate in PEM. Default none.
    pub key: PathBuf,
    /// The file with certificates of authorities in PEM; each caller must then show a certificate that one of them has
    /// signed. Default none: callers need no certificate.
    pub client_ca: PathBuf,
    /// The time between two looks whether the files have changed, from 100 ms to 1 h. Default `10s`.
    pub check_every: HumanDuration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            check_every: CHECK_EVERY,
        }
    }
}

impl TlsSettings {
    /// Returns `true` if the service speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    /// Returns `true` if callers must show a certificate.
    pub fn asks_callers(&self) -> bool {
        !self.client_ca.as_os_str().is_empty()
    }
}

impl Validate for TlsSettings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, message: &str| {
            errors.push(SettingsError::new(join(path, key), message));
        };
        let has_key = !self.key.as_os_str().is_empty();
        if self.is_on() && !has_key {
            refuse("key", "`cert` needs the file with its private key");
        }
        if has_key && !self.is_on() {
            refuse("cert", "`key` needs the file with its certificate");
        }
        if self.asks_callers() && !self.is_on() {
            refuse("client_ca", "needs `cert` and `key`");
        }
        let every = self.check_every.get().as_secs_f64();
        if !(0.1..=3600.0).contains(&every) {
            refuse("check_every", "must be from 100ms to 1h");
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_its_key_belong_together() {
        for (text, wrong) in [
            ("", vec![]),
            ("cert = 'a'\nkey = 'b'\nclient_ca = 'c'", vec![]),
            ("cert = 'a'", vec!["t.key"]),
            ("key = 'b'", vec!["t.cert"]),
            ("client_ca = 'c'", vec!["t.client_ca"]),
            ("check_every = '10ms'", vec!["t.check_every"]),
        ] {
            let settings: TlsSettings = toml::from_str(text).unwrap();
            let errors = settings.validate("t").into_iter();
            let paths: Vec<String> = errors.map(|error| error.path).collect();
            assert_eq!(paths, wrong, "{text}");
        }
    }
}
