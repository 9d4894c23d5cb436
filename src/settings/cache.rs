//! The references from caches to models.

use crate::settings::{Settings, SettingsError, join};

/// Returns an error for each model that is to judge answers and does not exist.
pub(super) fn unknown_judges(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let known = || settings.models.iter().map(|model| model.name.as_str());
    let mut errors = Vec::new();
    for (index, model) in settings.models.iter().enumerate() {
        let Some(judge) = model.cache.semantic.judge.as_deref() else {
            continue;
        };
        if !known().any(|name| name == judge) {
            let at = join(path, &format!("models[{index}].cache.semantic.judge"));
            let error = SettingsError::new(at, format!("there is no model `{judge}`"));
            errors.push(error.with_allowed(known()).suggesting(judge));
        }
    }
    errors
}
