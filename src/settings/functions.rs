//! The references to functions, and the backends and models that functions become.

use std::{collections::BTreeSet, sync::Arc};

use kebne_functions::FunctionSettings;
use kebne_settings::validate_each;
use serde::{Serialize, Serializer};

use crate::settings::{
    BackendKind, BackendSettings, BaseUrl, ErrorStatus, LaneSettings, ModelSettings, Replicas,
    Settings, SettingsError, Validate, join, mcp, repeated,
};

/// Returns the settings with a backend and a model for each function and each MCP server, so that they have lanes as all backends have. Those that were made
/// of functions before are made anew.
pub fn with_functions(settings: &Settings) -> Settings {
    let mut extended = settings.clone();
    extended.backends.retain(|backend| !backend.is_made());
    extended.models.retain(|model| !model.is_made);
    if extended.functions.is_empty() && extended.mcp_servers.is_empty() {
        return extended;
    }
    if extended.models.is_empty() {
        // Without models, each backend is offered under its own name.
        let backends = extended.backends.iter();
        extended.models = backends.map(|backend| model(&backend.name, &[])).collect();
    }
    for function in &settings.functions {
        extended.backends.push(backend(function));
        extended
            .models
            .push(model(&function.name, &function.guards));
    }
    for server in &settings.mcp_servers {
        extended.backends.push(mcp::backend(server));
        extended.models.push(model(&server.name, &server.guards));
    }
    extended
}

/// Returns the place in the settings of the function that became a backend.
pub fn place_of_function(settings: &Settings, backend: &BackendSettings) -> Option<String> {
    let function = backend.function.as_ref()?;
    let mut functions = settings.functions.iter();
    let index = functions.position(|one| one.name == function.name)?;
    Some(format!("functions[{index}]"))
}

/// Returns the key of a function for a key of its backend.
pub fn key_of_function(key: &str) -> &str {
    match key {
        "base_url" => "url",
        other => other,
    }
}

fn model(name: &str, guards: &[String]) -> ModelSettings {
    ModelSettings {
        name: name.to_owned(),
        backends: vec![Replicas::from(name)],
        guards: guards.to_vec(),
        is_made: true,
        ..ModelSettings::default()
    }
}

fn backend(function: &FunctionSettings) -> BackendSettings {
    let limits = LaneSettings::default();
    BackendSettings {
        name: function.name.clone(),
        kind: BackendKind::Function,
        base_url: Some(BaseUrl::new(&function.url)),
        model: Some(function.name.clone()),
        api_key_env: function.api_key_env.clone(),
        api_key_file: function.api_key_file.clone(),
        api_key_header: function.api_key_header.clone(),
        headers: function.headers.clone(),
        ca_file: function.ca_file.clone(),
        cold_statuses: function
            .cold_statuses
            .iter()
            .filter_map(|status| ErrorStatus::new(*status))
            .collect(),
        answer_size_max: function.answer_size_max,
        limits: LaneSettings {
            limit_initial: limits.limit_initial.min(function.concurrency),
            limit_max: function.concurrency,
            queue_max: function.queue_max,
            attempt_timeout: function.timeout,
            first_token_timeout: function.timeout,
            wake_timeout: function.wake_timeout,
            cold_wait_max: function.cold_wait_max,
            ..limits
        },
        function: Some(Arc::new(function.clone())),
        ..BackendSettings::default()
    }
}

/// Returns the errors of the functions: in themselves, in their backends, and in what they name.
pub(super) fn contradictions(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let all = join(path, "functions");
    let mut errors = validate_each(&settings.functions, &all);
    let names: Vec<&str> = settings
        .functions
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    errors.extend(repeated(&names, &all, "name"));
    let taken = taken(settings);
    let guards = || settings.guards.iter().map(|guard| guard.name.as_str());
    for (index, function) in settings.functions.iter().enumerate() {
        let at = format!("{all}[{index}]");
        if taken.contains(&function.name) {
            let message = format!(
                "`{}` is the name of a backend, a model or a route, too",
                function.name
            );
            errors.push(SettingsError::new(join(&at, "name"), message));
        }
        for name in function
            .guards
            .iter()
            .filter(|name| !guards().any(|one| one == *name))
        {
            let error = SettingsError::new(
                join(&at, "guards"),
                format!("there is no guard named `{name}`"),
            );
            errors.push(error.with_allowed(guards()).suggesting(name));
        }
        if !function.on.is_empty() && !settings.events.enabled {
            let message = "needs `events.enabled = true`: no events are emitted";
            errors.push(SettingsError::new(join(&at, "on"), message));
        }
        let own: BTreeSet<String> = errors.iter().map(|error| error.path.clone()).collect();
        let made = backend(function).validate("").into_iter();
        let made = made.map(|mut error| {
            error.path = join(&at, key_of_function(&error.path));
            error
        });
        // What a function and its backend both check is reported once, and the bounds of lanes are those of the function.
        let bounds = join(&at, "limits");
        errors.extend(
            made.filter(|error| !own.contains(&error.path) && !error.path.starts_with(&bounds)),
        );
    }
    errors
}

/// Returns the names that functions and MCP servers cannot have.
pub(super) fn taken(settings: &Settings) -> BTreeSet<String> {
    let backends = settings
        .backends
        .iter()
        .filter(|backend| !backend.is_made());
    let models = settings.models.iter().filter(|model| !model.is_made);
    let aliases = models
        .clone()
        .flat_map(|model| model.aliases.iter().cloned());
    let services = settings.routes.iter().flat_map(|route| {
        let rules = route.rules.iter();
        rules.filter_map(|rule| route.service_name(rule))
    });
    backends
        .map(|backend| backend.name.clone())
        .chain(models.clone().map(|model| model.name.clone()))
        .chain(aliases)
        .chain(settings.routes.iter().map(|route| route.name.clone()))
        .chain(services)
        .collect()
}

/// Writes backends without those that were made of functions and MCP servers, which are written as these.
pub(super) fn own_backends<S: Serializer>(
    backends: &[BackendSettings],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let own: Vec<_> = backends
        .iter()
        .filter(|backend| !backend.is_made())
        .collect();
    own.serialize(serializer)
}

/// Writes models without those that were made.
pub(super) fn own_models<S: Serializer>(
    models: &[ModelSettings],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let own: Vec<_> = models.iter().filter(|model| !model.is_made).collect();
    own.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"http://localhost/v1\"\n\
        [[models]]\nname = \"m\"\naliases = [\"a\"]\nbackends = [\"b\"]\n[[routes]]\nname = \"r\"\ndefault = \"m\"\n\
        [[routes.rules]]\nname = \"s\"\nservice = {url = \"http://localhost/v1\"}\n";

    fn settings(more: &str) -> Settings {
        toml::from_str(&format!("{BASE}{more}")).unwrap()
    }

    fn errors(more: &str) -> Vec<String> {
        let errors = settings(more).validate("").into_iter();
        errors
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect()
    }

    fn function(name: &str, more: &str) -> String {
        format!("[[functions]]\nname = \"{name}\"\nurl = \"http://localhost/f\"\n{more}")
    }

    #[test]
    fn a_function_has_a_name_of_its_own_and_names_guards_that_exist() {
        assert_eq!(errors(&function("f", "concurrency = 1\n")), [""; 0]);
        for name in ["b", "m", "a", "r", "r-s"] {
            let expected = format!(
                "functions[0].name: `{name}` is the name of a backend, a model or a route, too"
            );
            assert_eq!(errors(&function(name, "")), [expected]);
        }
        let twice = function("f", "") + &function("f", "");
        assert_eq!(
            errors(&twice),
            ["functions[1].name: `f` is used more than once"]
        );
        let guarded = function("f", "guards = [\"g\"]\n");
        assert_eq!(
            errors(&guarded),
            ["functions[0].guards: there is no guard named `g`"]
        );
        let key = "[[server.keys]]\nname = \"k\"\nhash = \"{hash}\"\nmodels = [\"f\"]\n"
            .replace("{hash}", &"0".repeat(64));
        assert_eq!(errors(&(function("f", "") + &key)), [""; 0]);
    }

    #[test]
    fn errors_of_its_backend_name_the_keys_of_the_function() {
        let wrong = "[[functions]]\nname = \"f\"\nurl = \"nowhere\"\napi_key_env = \"A\"\napi_key_file = \"a\"\nconcurrency = 0\n";
        let mut found: Vec<String> = errors(wrong)
            .into_iter()
            .map(|error| error.split(':').next().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "functions[0].api_key_file",
                "functions[0].concurrency",
                "functions[0].url"
            ]
        );
    }

    #[test]
    fn a_function_becomes_a_backend_and_a_model_that_are_not_written() {
        let before = settings(&function("f", "concurrency = 1\ntimeout = \"3s\"\n"));
        let after = with_functions(&before);
        let made = after.backends.last().unwrap();
        assert_eq!(
            (
                made.name.as_str(),
                made.limits.limit_max,
                made.limits.limit_initial
            ),
            ("f", 1, 1)
        );
        assert_eq!(
            place_of_function(&before, made).as_deref(),
            Some("functions[0]")
        );
        assert_eq!(after.models.last().unwrap().name, "f");
        assert_eq!(with_functions(&after), after);
        let written: Settings = toml::from_str(&toml::to_string(&after).unwrap()).unwrap();
        assert_eq!(written, before);
        assert!(after.validate("").is_empty());
        // Without models, each backend is one, and stays one.
        let mut bare = before;
        bare.models.clear();
        let names: Vec<_> = with_functions(&bare)
            .models
            .into_iter()
            .map(|model| model.name)
            .collect();
        assert_eq!(names, ["b", "f"]);
    }
}
