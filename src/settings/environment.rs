//! The process environment behind a trait, so that a test never reads or changes the real one.

use std::collections::BTreeMap;

/// Where environment variables come from.
pub trait Environment {
    /// Returns one variable, or `None` when it is not set or not UTF-8.
    fn get(&self, name: &str) -> Option<String>;
    /// Returns all variables whose names start with `prefix`, by name.
    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String>;
}

/// The environment that the process was started with.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let readable = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        readable
            .filter(|(name, _)| name.starts_with(prefix))
            .collect()
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        BTreeMap::get(self, name).cloned()
    }

    fn with_prefix(&self, prefix: &str) -> BTreeMap<String, String> {
        let matching = self.iter().filter(|(name, _)| name.starts_with(prefix));
        matching
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
