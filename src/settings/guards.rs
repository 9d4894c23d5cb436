//! The references to guards in other sections, and from guards to models.

use crate::settings::{Settings, SettingsError, join};

/// Returns an error for each guard that is named and does not exist.
pub(super) fn unknown_guards(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let known = || settings.guards.iter().map(|guard| guard.name.as_str());
    let keys = settings.server.keys.iter().enumerate();
    let keys = keys.map(|(index, key)| (format!("server.keys[{index}]"), &key.guards));
    let groups = settings.accounts.groups.iter().enumerate();
    let groups = groups.map(|(index, group)| (format!("accounts.groups[{index}]"), &group.guards));
    let models = settings.models.iter().enumerate();
    let models = models.map(|(index, model)| (format!("models[{index}]"), &model.guards));
    let mut errors = Vec::new();
    for (at, names) in keys.chain(groups).chain(models) {
        for name in names.iter().filter(|name| !known().any(|one| one == *name)) {
            let message = format!("there is no guard named `{name}`");
            let error = SettingsError::new(join(path, &format!("{at}.guards")), message);
            errors.push(error.with_allowed(known()).suggesting(name));
        }
    }
    for (index, guard) in settings.guards.iter().enumerate() {
        let Some(name) = &guard.check.model else {
            continue;
        };
        let mut models: Vec<&str> = settings
            .models
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        if models.is_empty() {
            models = settings
                .backends
                .iter()
                .map(|one| one.name.as_str())
                .collect();
        }
        if !models.contains(&name.as_str()) {
            let at = join(path, &format!("guards[{index}].check.model"));
            let error = SettingsError::new(at, format!("there is no model `{name}`"));
            errors.push(error.with_allowed(models).suggesting(name));
        }
    }
    errors
}
