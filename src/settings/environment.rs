//! The process environment behind a trait, so that tests neither read nor change the real one.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

/// The error of a variable whose value is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of the environment variable `{0}` is not UTF-8")]
pub struct NotUtf8(pub String);

/// A source of environment variables.
pub trait Environment {
    /// Returns the value of a variable, or `None` if it is not set.
    ///
    /// # Errors
    /// Returns an error if the value is not UTF-8. A secret that cannot be read must not be treated as one that is not
    /// set.
    fn get(&self, name: &str) -> Result<Option<String>, NotUtf8>;

    /// Returns all variables whose names start with `prefix`, by name.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, Result<String, NotUtf8>>;

    /// Returns this program, if it can be started again as another process; `None` by default.
    fn program(&self) -> Option<PathBuf> {
        None
    }
}

/// The environment of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Result<Option<String>, NotUtf8> {
        let value = std::env::var_os(name).map(OsString::into_string);
        value.transpose().map_err(|_| NotUtf8(name.to_owned()))
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, Result<String, NotUtf8>> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with(prefix) {
                let value = value.into_string().map_err(|_| NotUtf8(name.clone()));
                variables.insert(name, value);
            }
        }
        variables
    }

    fn program(&self) -> Option<PathBuf> {
        // It stays valid when the file is replaced by a new version.
        let own = PathBuf::from("/proc/self/exe");
        if own.exists() {
            return Some(own);
        }
        std::env::current_exe().ok()
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Result<Option<String>, NotUtf8> {
        Ok(BTreeMap::get(self, name).cloned())
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, Result<String, NotUtf8>> {
        let matching = self.iter().filter(|(name, _)| name.starts_with(prefix));
        matching
            .map(|(name, value)| (name.clone(), Ok(value.clone())))
            .collect()
    }
}
