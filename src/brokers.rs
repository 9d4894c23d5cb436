//! What the clients of all brokers need from the settings.

use std::path::Path;

use crate::settings::{Environment, secret_file};

/// A secret of a broker cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{table}.{key}`: {reason}")]
pub struct BrokerSecretError {
    /// The table of the settings.
    table: &'static str,
    /// The setting.
    key: &'static str,
    /// The reason.
    reason: String,
}

/// Where a secret is: the table of the settings and, if they are set, a file, which comes first, and an environment variable, each with the name of its
/// setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret<'a> {
    pub(crate) table: &'static str,
    pub(crate) file: (&'static str, Option<&'a Path>),
    pub(crate) variable: (&'static str, Option<&'a str>),
}

impl Secret<'_> {
    /// Reads the secret; `None` if the settings name none.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or the variable is not set.
    pub(crate) fn read(
        self,
        environment: &dyn Environment,
    ) -> Result<Option<String>, BrokerSecretError> {
        let wrong = |key, reason| BrokerSecretError {
            table: self.table,
            key,
            reason,
        };
        if let (key, Some(path)) = self.file {
            let secret = secret_file::read(path).map(Some);
            return secret.map_err(|error| wrong(key, error.to_string()));
        }
        let (key, Some(variable)) = self.variable else {
            return Ok(None);
        };
        let secret = environment.get(variable);
        let secret = secret.map_err(|error| wrong(key, error.to_string()))?;
        let missing = || wrong(key, format!("the variable `{variable}` is not set"));
        secret.ok_or_else(missing).map(Some)
    }
}
