//! The references between agents, models and routes, and the backends and models that agents become.

use std::{collections::BTreeSet, time::Duration};

use kebne_agents::AgentSpec;
use kebne_control::Law;

use crate::settings::{
    BackendKind, BackendSettings, HumanDuration, LaneSettings, ModelSettings, PrewarmSettings,
    Replicas, Settings, SettingsError, join, routes::service_names,
};

/// The time by which the time of an attempt is longer than that of a run, so that the run ends first.
const MARGIN: Duration = Duration::from_secs(30);
/// Agents do not fall asleep.
const IDLE_AFTER: HumanDuration = HumanDuration(Duration::from_hours(24 * 365));

/// Returns an error for each name that is used twice, and for each model, route or agent that an agent names and that does not exist.
pub(super) fn contradictions(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let mut errors = Vec::new();
    let mut taken = others(settings);
    let agents: BTreeSet<&str> = settings
        .agents
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let running = running(settings);
    for (index, agent) in settings.agents.iter().enumerate() {
        let at = |key: &str| join(path, &format!("agents[{index}].{key}"));
        if !taken.insert(agent.name.clone()) {
            let message = format!(
                "`{}` is the name of a backend, a model, a function, a route or another agent, too",
                agent.name
            );
            errors.push(SettingsError::new(at("name"), message));
        }
        if let Some(message) = unknown_model(settings, agent, (&agents, &running)) {
            errors.push(SettingsError::new(at("model"), message));
        }
        let functions = || settings.functions.iter().map(|one| one.name.as_str());
        // Which tools a server has is known only when it is there.
        let is_of_mcp = |name: &str| {
            let mut servers = settings.mcp_servers.iter();
            servers.any(|server| name.starts_with(&server.prefix()))
        };
        let unknown = agent
            .tools
            .iter()
            .find(|name| !functions().any(|one| one == *name) && !is_of_mcp(name));
        if let Some(name) = unknown {
            let message = format!("there is no function or MCP server for `{name}`");
            let error = SettingsError::new(at("tools"), message);
            errors.push(error.with_allowed(functions()).suggesting(name));
        }
        for (key, names) in [("agents", &agent.agents), ("hand_offs", &agent.hand_offs)] {
            let unknown = names.iter().find(|name| !agents.contains(name.as_str()));
            if let Some(name) = unknown {
                let error = SettingsError::new(at(key), format!("there is no agent `{name}`"));
                let known = agents.iter().copied();
                errors.push(error.with_allowed(known).suggesting(name));
            }
        }
    }
    errors.extend(mixed(settings, path));
    for (index, backend) in settings.backends.iter().enumerate() {
        if backend.kind == BackendKind::Agent && !agents.contains(backend.name.as_str()) {
            let at = join(path, &format!("backends[{index}].name"));
            let message = format!("there is no agent `{}`", backend.name);
            errors.push(SettingsError::new(at, message));
        }
    }
    errors
}

/// Returns an error for each model of an agent that has other backends too. What an agent uses is charged call by call, so a call that another
/// backend answered would be charged to nobody.
fn mixed(settings: &Settings, path: &str) -> Vec<SettingsError> {
    let is_agent = |name: &str| {
        let mut backends = settings.backends.iter();
        backends.any(|backend| backend.name == name && backend.kind == BackendKind::Agent)
            || settings.agents.iter().any(|agent| agent.name == name)
    };
    let mut errors = Vec::new();
    for (index, model) in settings.models.iter().enumerate() {
        let agent = model.backend_names().find(|name| is_agent(name));
        let Some(agent) = agent.filter(|_| !model.backend_names().all(|name| is_agent(name)))
        else {
            continue;
        };
        let message = format!(
            "`{agent}` is an agent, and a model of an agent has no backends of other kinds"
        );
        let at = join(path, &format!("models[{index}].backends"));
        errors.push(SettingsError::new(at, message));
    }
    errors
}

/// Returns the names that agents must not have.
fn others(settings: &Settings) -> BTreeSet<String> {
    let backends = settings.backends.iter();
    let backends = backends.filter(|backend| backend.kind != BackendKind::Agent);
    let backends = backends.map(|backend| backend.name.clone());
    let models = settings.models.iter().flat_map(|model| {
        let names = std::iter::once(&model.name).chain(&model.aliases);
        names.cloned()
    });
    let routes = settings.routes.iter().map(|route| route.name.clone());
    let of_agents = settings
        .models
        .iter()
        .filter(|model| is_of_agent(settings, model));
    let of_agents: BTreeSet<String> = of_agents.map(|model| model.name.clone()).collect();
    let functions = settings.functions.iter().map(|one| one.name.clone());
    let all = backends.chain(models).chain(functions).chain(routes);
    let mut names: BTreeSet<String> = all.collect();
    names.retain(|name| !of_agents.contains(name));
    names
}

/// Returns `true` for a model that stands for the agent of the same name.
fn is_of_agent(settings: &Settings, model: &ModelSettings) -> bool {
    let is_it = |name: &String| {
        let mut backends = settings.backends.iter();
        backends.any(|backend| backend.name == *name && backend.kind == BackendKind::Agent)
    };
    let mut names = model.backend_names().peekable();
    names.peek() == Some(&&model.name) && names.all(is_it)
}

/// Returns the names that lead to agents: those of agents, and those of models, and their aliases, that have the backend of an agent, be it as a
/// fallback.
pub(super) fn running(settings: &Settings) -> BTreeSet<&str> {
    let of_kind = settings.backends.iter();
    let of_kind = of_kind.filter(|backend| backend.kind == BackendKind::Agent);
    let agents = settings.agents.iter().map(|one| one.name.as_str());
    let mut names: BTreeSet<&str> = of_kind
        .map(|backend| backend.name.as_str())
        .chain(agents)
        .collect();
    for model in &settings.models {
        let mut backends = model.backend_names();
        if backends.any(|backend| names.contains(backend.as_str())) {
            let all = std::iter::once(&model.name).chain(&model.aliases);
            names.extend(all.map(String::as_str));
        }
    }
    names
}

/// Returns what is wrong with the model of an agent. An agent is not the model of an agent, by whatever name: it would run without an end.
fn unknown_model(
    settings: &Settings,
    agent: &AgentSpec,
    (agents, running): (&BTreeSet<&str>, &BTreeSet<&str>),
) -> Option<String> {
    let name = agent.model.as_str();
    // One that names itself has an error of its own.
    if name.is_empty() || name == agent.name {
        return None;
    }
    if agents.contains(name) {
        return Some(format!("`{name}` is an agent; give it tasks with `agents`"));
    }
    if running.contains(name) {
        let message = format!("the model `{name}` leads to an agent; give it tasks with `agents`");
        return Some(message);
    }
    let leads = |name: Option<&str>| name.is_some_and(|name| running.contains(name));
    if let Some(route) = settings.routes.iter().find(|route| route.name == name) {
        let of_rule = |rule: &kebne_routing::RouteRuleSettings| {
            let canary = rule.canary.as_ref().map(|canary| canary.model.as_str());
            leads(rule.agent.as_deref()) || leads(rule.target.as_deref()) || leads(canary)
        };
        let leads = route.rules.iter().any(of_rule) || leads(Some(&route.default));
        return leads.then(|| format!("the route `{name}` leads to an agent"));
    }
    let mut aliases = settings.models.iter().flat_map(|model| &model.aliases);
    let is_known = settings.model_names().contains(&name)
        || aliases.any(|alias| alias == name)
        || service_names(settings).any(|service| service == name);
    (!is_known).then(|| format!("there is no model or route `{name}`"))
}

/// Returns the settings with a backend and a model for each agent, so that agents have lanes as all backends have. Settings that have them
/// stay as they are.
pub(super) fn with_agents(settings: &Settings) -> Settings {
    let mut extended = settings.clone();
    for agent in &settings.agents {
        let is_there = |name: &str| name == agent.name;
        if !extended.backends.iter().any(|known| is_there(&known.name)) {
            extended.backends.push(backend(settings, agent));
        }
        // Without models, each backend is offered under its own name.
        if !settings.models.is_empty() && !extended.models.iter().any(|known| is_there(&known.name))
        {
            extended.models.push(ModelSettings {
                name: agent.name.clone(),
                backends: vec![Replicas::from(agent.name.as_str())],
                ..ModelSettings::default()
            });
        }
    }
    extended
}

/// Returns the place in the settings of the backend of an agent, for errors that name the backend by its place behind those of the settings
/// and of services.
pub(super) fn place_of(settings: &Settings, number: usize) -> Option<String> {
    let is_made = |agent: &&AgentSpec| {
        let mut backends = settings.backends.iter();
        !backends.any(|backend| backend.name == agent.name)
    };
    let made = settings.agents.iter().filter(is_made).nth(number)?;
    let index = settings
        .agents
        .iter()
        .position(|agent| agent.name == made.name)?;
    Some(format!("agents[{index}]"))
}

/// Returns the backend of an agent. Its lane only bounds how many run at once: nothing can be learned about it from outside.
fn backend(settings: &Settings, agent: &AgentSpec) -> BackendSettings {
    let time = HumanDuration(agent.time_max.0.saturating_add(MARGIN));
    let at_once = u32::try_from(settings.agent_store.at_once).unwrap_or(u32::MAX);
    BackendSettings {
        name: agent.name.clone(),
        kind: BackendKind::Agent,
        inputs: Vec::new(),
        prewarm: PrewarmSettings {
            at_start: true,
            ..PrewarmSettings::default()
        },
        limits: LaneSettings {
            law: Law::Fixed,
            limit_initial: at_once,
            limit_max: at_once,
            attempt_timeout: time,
            wake_timeout: time,
            first_token_timeout: time,
            idle_after: IDLE_AFTER,
            attempts_max: 1,
            ..LaneSettings::default()
        },
        ..BackendSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Validate, routes::with_services};

    const BASE: &str = "[[backends]]\nname = \"b\"\nkind = \"openai\"\nbase_url = \"http://localhost/v1\"\n\
        [[models]]\nname = \"m\"\naliases = [\"alias\"]\nbackends = [\"b\"]\n";

    fn settings(text: &str) -> Settings {
        toml::from_str(&format!("{BASE}{text}")).unwrap()
    }

    fn errors(text: &str) -> Vec<String> {
        let errors = settings(text).validate("").into_iter();
        errors
            .map(|error| format!("{}: {}", error.path, error.message))
            .collect()
    }

    #[test]
    fn an_agent_names_what_exists_and_has_a_name_of_its_own() {
        let good = "[[agents]]\nname = \"a\"\nmodel = \"alias\"\nagents = [\"c\"]\n[[agents]]\nname = \"c\"\nmodel = \"r\"\n\
            [[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes]]\nname = \"s\"\ndefault = \"m\"\n\
            [[routes.rules]]\nname = \"x\"\nagent = \"a\"\n";
        assert_eq!(errors(good), [""; 0]);
        for (text, expected) in [
            (
                "[[agents]]\nname = \"m\"\nmodel = \"alias\"\n",
                "agents[0].name: `m` is the name of a backend, a model, a function, a route or another agent, too",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"x\"\n",
                "agents[0].model: there is no model or route `x`",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\nask = [\"x\"]\n",
                "agents[0].ask: the agent has no tool `x`",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\nhand_offs = [\"x\"]\n",
                "agents[0].hand_offs: there is no agent `x`",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\ntools = [\"x\"]\n",
                "agents[0].tools: there is no function or MCP server for `x`",
            ),
            (
                "[[functions]]\nname = \"a\"\nurl = \"http://localhost/\"\n[[agents]]\nname = \"a\"\nmodel = \"m\"\n",
                "agents[0].name: `a` is the name of a backend, a model, a function, a route or another agent, too",
            ),
            (
                "[[routes]]\nname = \"r\"\ndefault = \"m\"\n[[routes.rules]]\nname = \"x\"\nagent = \"m\"\n",
                "routes[0].rules[0].agent: there is no agent `m`",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\nsteps_max = 0\n",
                "agents[0].steps_max: must be 1 to 1000",
            ),
        ] {
            assert_eq!(errors(text), [expected], "{text}");
        }
    }

    #[test]
    fn no_model_of_an_agent_and_no_shadow_leads_to_an_agent() {
        for (text, expected) in [
            (
                "[[agents]]\nname = \"a\"\nmodel = \"c\"\n[[agents]]\nname = \"c\"\nmodel = \"m\"\n",
                "agents[0].model: `c` is an agent; give it tasks with `agents`",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"r\"\n[[routes]]\nname = \"r\"\ndefault = \"m\"\n\
                 [[routes.rules]]\nname = \"x\"\nagent = \"a\"\n",
                "agents[0].model: the route `r` leads to an agent",
            ),
            (
                "[[backends]]\nname = \"a\"\nkind = \"agent\"\n[[models]]\nname = \"n\"\naliases = [\"o\"]\nbackends = [\"a\"]\n\
                 [[agents]]\nname = \"a\"\nmodel = \"n\"\n",
                "agents[0].model: the model `n` leads to an agent; give it tasks with `agents`",
            ),
            (
                "[[models]]\nname = \"n\"\naliases = [\"o\"]\nbackends = [[\"a\"]]\n[[backends]]\nname = \"a\"\nkind = \"agent\"\n\
                 [[agents]]\nname = \"a\"\nmodel = \"o\"\n",
                "agents[0].model: the model `o` leads to an agent; give it tasks with `agents`",
            ),
            (
                "[[models]]\nname = \"n\"\naliases = [\"o\"]\nbackends = [\"a\"]\n[[backends]]\nname = \"a\"\nkind = \"agent\"\n\
                 [[agents]]\nname = \"a\"\nmodel = \"r\"\n[[routes]]\nname = \"r\"\ndefault = \"m\"\n\
                 [[routes.rules]]\nname = \"x\"\ntarget = \"o\"\n",
                "agents[0].model: the route `r` leads to an agent",
            ),
            (
                "[[models]]\nname = \"n\"\naliases = [\"o\"]\nbackends = [\"a\"]\n[[backends]]\nname = \"a\"\nkind = \"agent\"\n\
                 [[agents]]\nname = \"a\"\nmodel = \"m\"\n[[routes]]\nname = \"r\"\ndefault = \"m\"\n\
                 [[routes.rules]]\nname = \"x\"\ntarget = \"m\"\nshadow = {model = \"o\"}\n",
                "routes[0].rules[0].shadow.model: `o` leads to an agent, which is run only by calls of callers",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\n[[routes]]\nname = \"r\"\ndefault = \"m\"\n\
                 [[routes.rules]]\nname = \"x\"\ntarget = \"m\"\nshadow = {model = \"a\"}\n",
                "routes[0].rules[0].shadow.model: `a` is an agent, which is run only by calls of callers",
            ),
            (
                "[[agents]]\nname = \"a\"\nmodel = \"m\"\n[[backends]]\nname = \"a\"\nkind = \"agent\"\n\
                 [[models]]\nname = \"mix\"\nbackends = [\"b\", \"a\"]\n",
                "models[1].backends: `a` is an agent, and a model of an agent has no backends of other kinds",
            ),
        ] {
            assert_eq!(errors(text), [expected], "{text}");
        }
    }

    #[test]
    fn an_agent_becomes_a_backend_and_a_model_once() {
        let before = settings("[[agents]]\nname = \"a\"\nmodel = \"m\"\n");
        let after = with_services(&before);
        let made = after.backends.last().unwrap();
        assert_eq!((made.name.as_str(), made.kind), ("a", BackendKind::Agent));
        assert_eq!(made.limits.attempts_max, 1);
        assert_eq!(after.models.last().unwrap().name, "a");
        assert_eq!(with_services(&after), after);
        assert_eq!(after.validate("").len(), 0, "{:?}", after.validate(""));
        let place = crate::settings::routes::place_of_service(&before, 1);
        assert_eq!(place.as_deref(), Some("agents[0]"));
    }
}
