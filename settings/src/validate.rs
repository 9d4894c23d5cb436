//! Validation of settings structs.

use crate::SettingsError;

/// A settings struct that can check its own values.
pub trait Validate {
    /// Returns an error for every value out of range and every contradiction, each with its path below `path`, for
    /// example `backends[0]`.
    fn validate(&self, path: &str) -> Vec<SettingsError>;
}

/// Validates each element of a list; the path of each is `path` with its index.
pub fn validate_each<T: Validate>(items: &[T], path: &str) -> Vec<SettingsError> {
    let with_index = items.iter().enumerate();
    with_index
        .flat_map(|(index, item)| item.validate(&format!("{path}[{index}]")))
        .collect()
}

/// Returns `key` appended to `path`.
pub fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
