//! Collects what is wrong with the values of a settings struct.

use std::{fmt::Display, ops::RangeInclusive, path::Path};

use crate::{SettingsError, is_variable_name, join};

/// What is wrong with the settings below a path.
#[derive(Debug)]
pub struct Checks<'a> {
    path: &'a str,
    errors: Vec<SettingsError>,
}

impl<'a> Checks<'a> {
    /// Begins the checks of the settings below `path`.
    pub fn new(path: &'a str) -> Self {
        Self {
            path,
            errors: Vec::new(),
        }
    }

    /// Adds an error for a key unless its value is fine.
    pub fn require(&mut self, fine: bool, key: &str, message: &str) {
        if !fine {
            self.errors
                .push(SettingsError::new(join(self.path, key), message));
        }
    }

    /// Requires a value of a range.
    pub fn within<T: PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        let message = format!("must be {} to {}", range.start(), range.end());
        self.require(range.contains(&value), key, &message);
    }

    /// Requires the path of a store's file (`path`), and names of the variables with its keys (`key_env`, `old_keys_env`).
    pub fn store_file(&mut self, path: &Path, key_env: &str, old_keys_env: &str) {
        self.require(path.file_name().is_some(), "path", "must name a file");
        for (key, name) in [("key_env", key_env), ("old_keys_env", old_keys_env)] {
            // The value is not quoted, because it may be the key.
            let message = "must be the name of an environment variable such as `KEBNE_CONTEXT_KEY`, not a key";
            self.require(is_variable_name(name), key, message);
        }
    }

    /// Returns what was found.
    pub fn into_errors(self) -> Vec<SettingsError> {
        self.errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_names_its_key() {
        let mut checks = Checks::new("jobs");
        checks.within("at_once", 0, 1..=8);
        checks.within("priority", 9, 0..=9);
        checks.require(false, "lease", "must be 1s to 10m");
        let key = "0123456789abcdef".repeat(4);
        checks.store_file(Path::new("/"), &key, "KEBNE_OLD");
        let errors = checks.into_errors();
        let errors: Vec<_> = errors
            .iter()
            .map(|error| (error.path.as_str(), error.message.as_str()))
            .collect();
        assert_eq!(errors[0], ("jobs.at_once", "must be 1 to 8"));
        assert_eq!(errors[1], ("jobs.lease", "must be 1s to 10m"));
        assert_eq!(errors[2], ("jobs.path", "must name a file"));
        assert_eq!(errors[3].0, "jobs.key_env");
        assert!(!errors[3].1.contains(&key), "{}", errors[3].1);
        assert_eq!(errors.len(), 4);
    }
}
