//! The references between routes, models and services, and the backends and models that services of routes become.

use std::collections::BTreeSet;

use kebne_routing::{RouteRuleSettings, RouteSettings, ServiceSettings};

use crate::settings::{
    BackendKind, BackendSettings, BaseUrl, ModelSettings, Replicas, Settings, SettingsError,
    Validate, agents, join,
};

/// The names that settings use, to check routes against.
struct Names<'s> {
    /// Models, their aliases, the services of routes, and agents.
    models: BTreeSet<String>,
    agents: BTreeSet<&'s str>,
    /// Agents, and the models that lead to one.
    running: BTreeSet<&'s str>,
    routes: BTreeSet<&'s str>,
    functions: BTreeSet<&'s str>,
}

/// Returns an error for each name that is used twice, and for each model that a route names and that does not exist.
pub(super) fn contradictions(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let mut errors = Vec::new();
    let mut taken = own_models(settings);
    let backends: BTreeSet<&str> = settings
        .backends
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let mut routes = BTreeSet::new();
    for (index, route) in settings.routes.iter().enumerate() {
        let at = join(path, &format!("routes[{index}].name"));
        if taken.contains(&route.name) {
            let message = format!("`{}` is the name of a model, too", route.name);
            errors.push(SettingsError::new(at, message));
        } else if !routes.insert(route.name.as_str()) {
            let message = format!("`{}` is used more than once", route.name);
            errors.push(SettingsError::new(at, message));
        }
    }
    let agents: BTreeSet<&str> = settings
        .agents
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    for (at, route, rule, service) in services(settings) {
        let at = join(path, &at);
        let name = route.service_name(rule).unwrap_or_default();
        let of_others = [&backends, &routes, &agents];
        let is_taken = of_others.iter().any(|names| names.contains(name.as_str()));
        if is_taken || !taken.insert(name.clone()) {
            let message = format!(
                "`{name}` is the name of a backend, a model, a route, an agent or another service, too"
            );
            errors.push(SettingsError::new(join(&at, "name"), message));
        }
        let made = backend(name, service);
        errors.extend(of_backend(&made, &at));
    }
    taken.extend(agents.iter().map(|name| (*name).to_owned()));
    let functions = settings.functions.iter();
    let names = Names {
        models: taken,
        routes,
        agents,
        running: agents::running(settings),
        functions: functions.map(|one| one.name.as_str()).collect(),
    };
    for (index, route) in settings.routes.iter().enumerate() {
        errors.extend(names.unknown(route, &join(path, &format!("routes[{index}]"))));
        errors.extend(names.misused_agents(route, &join(path, &format!("routes[{index}]"))));
        errors.extend(unguarded(
            settings,
            route,
            &join(path, &format!("routes[{index}]")),
        ));
    }
    errors
}

/// Returns the settings with a backend and a model for each service of a route and for each agent, so that they have lanes as all backends
/// have. Settings that have them stay as they are.
pub fn with_services(settings: &Settings) -> Settings {
    let mut extended = settings.clone();
    for (_, route, rule, service) in services(settings) {
        let name = route.service_name(rule).unwrap_or_default();
        if settings.backends.iter().any(|known| known.name == name) {
            continue;
        }
        // Without models, each backend is offered under its own name.
        if !settings.models.is_empty() {
            extended.models.push(ModelSettings {
                name: name.clone(),
                backends: vec![Replicas::from(name.as_str())],
                ..ModelSettings::default()
            });
        }
        extended.backends.push(backend(name, service));
    }
    agents::with_agents(&extended)
}

/// Returns the place in the settings of the backend of a service or an agent, for errors that name the backend by its place in
/// [`with_services`]; `None` for backends of the settings themselves.
pub fn place_of_service(settings: &Settings, backend: usize) -> Option<String> {
    let number = backend.checked_sub(settings.backends.len())?;
    let services: Vec<String> = services(settings).map(|(at, ..)| at).collect();
    match services.get(number) {
        Some(at) => Some(at.clone()),
        None => agents::place_of(settings, number - services.len()),
    }
}

type Service<'s> = (
    String,
    &'s RouteSettings,
    &'s RouteRuleSettings,
    &'s ServiceSettings,
);

/// Returns the names of the services of all routes, which are models too.
pub(super) fn service_names(settings: &Settings) -> impl Iterator<Item = String> + '_ {
    services(settings).filter_map(|(_, route, rule, _)| route.service_name(rule))
}

/// Returns the services of all routes with their places.
fn services(settings: &Settings) -> impl Iterator<Item = Service<'_>> {
    let routes = settings.routes.iter().enumerate();
    routes.flat_map(|(of_route, route)| {
        let rules = route.rules.iter().enumerate();
        rules.filter_map(move |(of_rule, rule)| {
            let at = format!("routes[{of_route}].rules[{of_rule}].service");
            Some((at, route, rule, rule.service.as_ref()?))
        })
    })
}

fn backend(name: String, service: &ServiceSettings) -> BackendSettings {
    let model = service.model.clone().unwrap_or_else(|| name.clone());
    BackendSettings {
        name,
        kind: BackendKind::OpenAi,
        base_url: Some(BaseUrl::new(&service.url)),
        model: Some(model),
        api_key_env: service.api_key_env.clone(),
        ..BackendSettings::default()
    }
}

/// Returns the errors of the backend of a service, at the keys of the service.
fn of_backend(backend: &BackendSettings, at: &str) -> Vec<SettingsError> {
    let errors = backend.validate("").into_iter().map(|mut error| {
        let key = if error.path == "base_url" {
            "url"
        } else {
            &error.path
        };
        error.path = join(at, key);
        error
    });
    errors.collect()
}

/// Returns the names and aliases of the models of the settings.
fn own_models(settings: &Settings) -> BTreeSet<String> {
    let aliases = settings.models.iter().flat_map(|model| &model.aliases);
    let names = settings.model_names().into_iter().map(str::to_owned);
    names.chain(aliases.cloned()).collect()
}

impl Names<'_> {
    /// Returns an error for each agent of a route that does not exist, and for each, or model that leads to one, that is named where a model is asked
    /// without a caller.
    fn misused_agents(&self, route: &RouteSettings, at: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut refuse = |key: &str, name: &str| {
            let is = if self.agents.contains(name) {
                "is an agent"
            } else {
                "leads to an agent"
            };
            let message = format!("`{name}` {is}, which is run only by calls of callers");
            errors.push(SettingsError::new(join(at, key), message));
        };
        if let Some(name) = route
            .ask_model
            .as_deref()
            .filter(|name| self.running.contains(name))
        {
            refuse("ask_model", name);
        }
        for (index, rule) in route.rules.iter().enumerate() {
            let shadow = rule.shadow.as_ref().map(|shadow| shadow.model.as_str());
            if let Some(name) = shadow.filter(|name| self.running.contains(name)) {
                refuse(&format!("rules[{index}].shadow.model"), name);
            }
        }
        for (index, rule) in route.rules.iter().enumerate() {
            let agent = rule.agent.as_deref().filter(|name| !name.is_empty());
            if let Some(name) = agent.filter(|name| !self.agents.contains(name)) {
                let at = join(at, &format!("rules[{index}].agent"));
                let error = SettingsError::new(at, format!("there is no agent `{name}`"));
                let known = self.agents.iter().copied();
                errors.push(error.with_allowed(known).suggesting(name));
            }
        }
        errors
    }

    /// Returns an error for each model of a route that does not exist, or is a route.
    fn unknown(&self, route: &RouteSettings, at: &str) -> Vec<SettingsError> {
        let mut named = vec![("default".to_owned(), &route.default)];
        let asked = route.ask_model.iter();
        named.extend(asked.map(|model| ("ask_model".to_owned(), model)));
        for (index, rule) in route.rules.iter().enumerate() {
            let key = |key: &str| format!("rules[{index}].{key}");
            named.extend(rule.target.iter().map(|model| (key("target"), model)));
            let canary = rule.canary.iter().map(|canary| &canary.model);
            named.extend(canary.map(|model| (key("canary.model"), model)));
            let shadow = rule.shadow.iter().map(|shadow| &shadow.model);
            named.extend(shadow.map(|model| (key("shadow.model"), model)));
            let last = rule.when.last_targets.iter();
            named.extend(last.map(|model| (key("when.last_targets"), model)));
        }
        let is_last = |key: &str| key.ends_with("last_targets");
        named.retain(|(key, model)| !(is_last(key) && self.functions.contains(model.as_str())));
        // Those that are missing at all have an error of their own.
        named.retain(|(_, model)| !model.is_empty());
        let errors = named.into_iter().filter_map(|(key, model)| {
            if self.models.contains(model) {
                return None;
            }
            if self.routes.contains(model.as_str()) {
                let message = format!("`{model}` is a route, and a route cannot lead to a route");
                return Some(SettingsError::new(join(at, &key), message));
            }
            if self.functions.contains(model.as_str()) {
                let message =
                    format!("`{model}` is a function, not a model: only `function` leads to one");
                return Some(SettingsError::new(join(at, &key), message));
            }
            let message = format!("there is no model `{model}`");
            let error = SettingsError::new(join(at, &key), message);
            let known = self.models.iter().cloned();
            Some(error.with_allowed(known).suggesting(model))
        });
        errors.chain(self.unknown_functions(route, at)).collect()
    }

    /// Returns an error for each function of a route that does not exist.
    fn unknown_functions(&self, route: &RouteSettings, at: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        for (index, rule) in route.rules.iter().enumerate() {
            let name = rule.function.as_deref().filter(|name| !name.is_empty());
            let Some(name) = name.filter(|name| !self.functions.contains(name)) else {
                continue;
            };
            let at = join(at, &format!("rules[{index}].function"));
            let error = SettingsError::new(at, format!("there is no function `{name}`"));
            let known = self.functions.iter().copied();
            errors.push(error.with_allowed(known).suggesting(name));
        }
        errors
    }
}

/// Returns an error for each shadow with a guard that the calls it gets copies of have not passed.
fn unguarded(settings: &Settings, route: &RouteSettings, at: &str) -> Vec<SettingsError> {
    let guards = |name: &str| {
        let mut models = settings.models.iter();
        let model = models
            .find(|model| model.name == name || model.aliases.iter().any(|alias| alias == name));
        let mut functions = settings.functions.iter();
        let function = functions.find(|function| function.name == name);
        let of_function = function.map_or(&[][..], |function| &function.guards);
        model.map_or(of_function, |model| &model.guards)
    };
    let mut errors = Vec::new();
    for (index, rule) in route.rules.iter().enumerate() {
        let Some(shadow) = &rule.shadow else {
            continue;
        };
        let targets = [&rule.target, &rule.function, &rule.agent];
        let called = targets.into_iter().flatten();
        let called = called.chain(rule.canary.as_ref().map(|canary| &canary.model));
        let mut called: Vec<&str> = called.map(String::as_str).collect();
        if rule.service.is_some() {
            // A service has no guards of its own.
            called.push("");
        }
        let missing = guards(&shadow.model).iter().find(|guard| {
            let lacks = |model: &&str| !guards(model).contains(guard);
            called.iter().any(lacks)
        });
        if let Some(guard) = missing {
            let message = format!(
                "`{}` has the guard `{guard}`, which the calls that are copied to it have not passed",
                shadow.model
            );
            let at = join(at, &format!("rules[{index}].shadow.model"));
            errors.push(SettingsError::new(at, message));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"http://localhost/v1\"\n\
        [[models]]\nname = \"m\"\naliases = [\"a\"]\nbackends = [\"b\"]\n\
        [[models]]\nname = \"guarded\"\nbackends = [\"b\"]\nguards = [\"g\"]\n[[guards]]\nname = \"g\"\n";

    fn settings(routes: &str) -> Settings {
        toml::from_str(&format!("{BASE}{routes}")).unwrap()
    }

    fn errors(routes: &str) -> Vec<String> {
        let errors = settings(routes).validate("").into_iter();
        errors
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect()
    }

    #[test]
    fn a_route_names_models_that_exist_and_has_a_name_of_its_own() {
        let good = "[[routes]]\nname = \"r\"\ndefault = \"a\"\nask_model = \"m\"\n[[routes.intents]]\nname = \"i\"\nexamples = [\"x\"]\n\
            [[routes.rules]]\nname = \"s\"\nservice = {url = \"http://localhost/v1\"}\n\
            [[routes.rules]]\nname = \"t\"\ntarget = \"r-s\"\n";
        assert_eq!(errors(good), [""; 0]);
        for (routes, expected) in [
            (
                "name = \"m\"\ndefault = \"m\"",
                "routes[0].name: `m` is the name of a model, too",
            ),
            (
                "name = \"a\"\ndefault = \"m\"",
                "routes[0].name: `a` is the name of a model, too",
            ),
            (
                "name = \"r\"\ndefault = \"x\"",
                "routes[0].default: there is no model `x`",
            ),
            (
                "name = \"r\"\ndefault = \"r\"",
                "routes[0].default: `r` is a route, and a route cannot lead to a route",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes]]\nname = \"r\"\ndefault = \"m\"",
                "routes[1].name: `r` is used more than once",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\ntarget = \"m\"\ncanary = {model = \"y\"}",
                "routes[0].rules[0].canary.model: there is no model `y`",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\ntarget = \"m\"\nwhen = {last_targets = [\"y\"]}",
                "routes[0].rules[0].when.last_targets: there is no model `y`",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\ntarget = \"m\"\nshadow = {model = \"guarded\"}",
                "routes[0].rules[0].shadow.model: `guarded` has the guard `g`, which the calls that are copied to it have not passed",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nservice = {url = \"http://localhost/v1\", name = \"b\"}",
                "routes[0].rules[0].service.name: `b` is the name of a backend, a model, a route, an agent or another service, too",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nservice = {url = \"http://localhost/v1\"}\n\
                 [[agents]]\nname = \"r-x\"\nmodel = \"m\"",
                "routes[0].rules[0].service.name: `r-x` is the name of a backend, a model, a route, an agent or another service, too",
            ),
            (
                "name = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nservice = {url = \"nowhere\"}",
                "routes[0].rules[0].service.url: ",
            ),
        ] {
            let found = errors(&format!("[[routes]]\n{routes}"));
            assert!(
                found.len() == 1 && found[0].starts_with(expected),
                "{found:#?}\n{expected}"
            );
        }
        let same = "[[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\ntarget = \"guarded\"\n\
            shadow = {model = \"guarded\"}\n";
        assert_eq!(errors(same), [""; 0]);
        let of_function = "[[functions]]\nname = \"f\"\nurl = \"http://localhost/\"\nguards = [\"g\"]\n\
            [[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nfunction = \"f\"\n\
            shadow = {model = \"guarded\"}\n";
        assert_eq!(errors(of_function), [""; 0]);
    }

    #[test]
    fn a_service_is_a_model_of_keys_agents_and_the_embedder() {
        let hash = "0".repeat(64);
        let all = format!(
            "[[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"s\"\n\
             service = {{url = \"http://localhost/v1\"}}\n\
             [[server.keys]]\nname = \"k\"\nhash = \"{hash}\"\nmodels = [\"r-s\"]\n\
             [[agents]]\nname = \"w\"\nmodel = \"r-s\"\n[embedder]\nmodel = \"r-s\"\n"
        );
        assert_eq!(errors(&all), [""; 0]);
    }

    #[test]
    fn a_key_may_name_a_route() {
        let key = |model: &str| {
            let hash = "0".repeat(64);
            errors(&format!(
                "[[routes]]\nname = \"r\"\ndefault = \"m\"\n[[server.keys]]\nname = \"k\"\nhash = \"{hash}\"\nmodels = [\"{model}\"]\n"
            ))
        };
        assert_eq!(key("r"), [""; 0]);
        assert_eq!(key("x"), ["server.keys[0].models: there is no model `x`"]);
    }

    #[test]
    fn a_service_becomes_a_backend_and_a_model_once() {
        let route = "[[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"s\"\n\
            service = {url = \"http://localhost/v1\", model = \"n\", api_key_env = \"K\"}\n";
        let before = settings(route);
        let after = with_services(&before);
        let backend = after.backends.last().unwrap();
        assert_eq!(
            (backend.name.as_str(), backend.model.as_deref()),
            ("r-s", Some("n"))
        );
        assert_eq!(backend.api_key_env.as_deref(), Some("K"));
        assert_eq!(after.models.last().unwrap().name, "r-s");
        assert_eq!(with_services(&after), after);
        assert_eq!(place_of_service(&before, 0), None);
        let place = "routes[0].rules[0].service".to_owned();
        assert_eq!(place_of_service(&before, 1), Some(place));
        // Without models, each backend is one.
        let mut bare = before;
        bare.models.clear();
        assert!(with_services(&bare).models.is_empty());
    }
}
