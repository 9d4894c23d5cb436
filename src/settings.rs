//! The settings of the program: types, layers, and errors.
//!
//! Values come in three layers: the defaults of the types, a TOML file, and environment variables such as
//! `KEBNE__SERVER__LISTEN`. A file that is not TOML is reported with the place of its first error. Otherwise all
//! unknown keys and wrong values are reported at once, each with its place, its path and the allowed values. If there
//! are none, all contradictions are reported. There is no global state, and only [`environment`] reads the process
//! environment.

mod agents;
pub mod alerts;
pub mod backend;
pub mod base_url;
mod cache;
pub mod change;
pub mod client_header;
pub mod consume;
pub mod cost;
pub mod discovery;
pub mod embedder;
pub mod environment;
pub mod error_status;
pub mod events;
pub mod fallback;
pub mod function_events;
pub mod functions;
mod guards;
pub mod health;
pub mod hooks;
pub mod kafka;
pub mod load;
pub mod log;
pub mod mcp;
pub mod model;
pub mod nats;
pub mod network;
pub mod prewarm;
pub mod redis;
pub mod replicas;
pub mod retrieval;
pub mod routes;
mod schema;
pub mod secret_file;
pub mod server;
pub mod telemetry;
pub mod tls;
pub mod token_budget;

use std::collections::{BTreeMap, BTreeSet};

use kebne_answer_cache::CacheStoreKind;
use kebne_context::StoreKind;
use kebne_servers::Port;
use serde::{Deserialize, Serialize};

pub use alerts::{AlertSettings, WebhookSettings};
pub use backend::{Api, BackendKind, BackendSettings};
pub use base_url::BaseUrl;
pub use change::{Change, ChangedKey, CompareError, KeptKey};
pub use client_header::ClientHeader;
pub use consume::ConsumeSettings;
pub use cost::CostSettings;
pub use discovery::DiscoverySettings;
pub use embedder::EmbedderSettings;
pub use environment::{Environment, NotUtf8, ProcessEnvironment};
pub use error_status::ErrorStatus;
pub use events::{BusKind, EventsSettings};
pub use fallback::{FallbackAfter, FallbackSettings};
pub use function_events::FunctionEventsSettings;
pub use health::HealthSettings;
pub use hooks::{HookSettings, HooksSettings};
pub use kafka::KafkaSettings;
pub use kebne_accounts::{AccountsSettings, AccountsStore};
pub use kebne_agents::{AgentSpec, AgentStoreSettings};
pub use kebne_answer_cache::CacheSettings;
pub use kebne_cache::CacheRules;
pub use kebne_collections::CollectionsSettings;
pub use kebne_context::{ContextSettings, PromptSettings, PromptStoreSettings};
pub use kebne_functions::FunctionSettings;
pub use kebne_guard::GuardSettings;
pub use kebne_jobs::JobsSettings;
#[cfg(feature = "lab")]
pub use kebne_lab::simulate::SimulationSettings;
pub use kebne_lane::LaneSettings;
pub use kebne_routing::RouteSettings;
pub use kebne_servers::{ProcessSettings, ServersSettings};
pub use kebne_settings::{
    ByteCount, HumanDuration, Origin, SettingsError, SettingsErrors, Validate, join, validate_each,
};
pub use kebne_shares::{ShareBy, ShareSettings};
pub use load::Loaded;
pub use log::{AuditLogSettings, LogFormat, LogSettings, RequestLogSettings};
pub use mcp::{
    McpHold, McpOauthSettings, McpProtocol, McpServerSettings, McpSettings, ModelToolsSettings,
    ToolLoopSettings,
};
pub use model::ModelSettings;
pub use nats::NatsSettings;
pub use network::Network;
pub use prewarm::{PrewarmOperation, PrewarmSettings};
pub use redis::RedisSettings;
pub use replicas::{Affinity, Balance, Replicas};
pub use retrieval::RetrievalSettings;
pub use server::ServerSettings;
pub use telemetry::TelemetrySettings;
pub use token_budget::TokenBudgetSettings;

/// `config/kebne.toml`: every key with its default and documentation.
pub const DEFAULTS: &str = include_str!("../config/kebne.toml");

/// The root of the settings tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The HTTP service: address, keys, bounds, drain.
    pub server: ServerSettings,
    /// The log: level filter and format.
    pub log: LogSettings,
    /// Traces for OpenTelemetry.
    pub telemetry: TelemetrySettings,
    /// Events: what is emitted, and where it goes.
    pub events: EventsSettings,
    /// Calls that come from a broker.
    pub consume: ConsumeSettings,
    /// Sessions: store, bounds, expiry.
    pub context: ContextSettings,
    /// Collections of documents: store, bounds.
    pub collections: CollectionsSettings,
    /// Jobs and batches: store, bounds, times.
    pub jobs: JobsSettings,
    /// The store of kept answers.
    pub cache: CacheSettings,
    /// What makes vectors of texts.
    pub embedder: EmbedderSettings,
    /// Searches: how what is found is brought into its order.
    pub retrieval: RetrievalSettings,
    /// How the tokens of a context window are divided.
    pub token_budget: TokenBudgetSettings,
    /// Alerts: thresholds, webhook, actions.
    pub alerts: AlertSettings,
    /// The money of prices and budgets.
    pub cost: CostSettings,
    /// The accounts of keys: file and groups.
    pub accounts: AccountsSettings,
    /// The budget of the processes that the gateway starts.
    pub servers: ServersSettings,
    /// The leases by which several gateways share their backends.
    pub share: ShareSettings,
    /// The server of Redis or Valkey for what several gateways share.
    pub redis: RedisSettings,
    /// Backends, one lane each; at least one.
    #[serde(serialize_with = "functions::own_backends")]
    pub backends: Vec<BackendSettings>,
    /// Models that callers may request. If empty, each backend is offered under its own name.
    #[serde(serialize_with = "functions::own_models")]
    pub models: Vec<ModelSettings>,
    /// Functions: code behind URLs that callers, routes and events call.
    pub functions: Vec<FunctionSettings>,
    /// Where events wait for functions.
    pub function_events: FunctionEventsSettings,
    /// Servers of the Model Context Protocol, whose tools are offered at `/mcp`.
    pub mcp_servers: Vec<McpServerSettings>,
    /// What holds for all of these servers, and for the endpoint `/mcp`.
    pub mcp: McpSettings,
    /// Where versions and outcomes of prompts are kept.
    pub prompt_store: PromptStoreSettings,
    /// Where runs of agents, and agents that callers create, are kept.
    pub agent_store: AgentStoreSettings,
    /// Names that callers use as models, behind which rules choose the model.
    pub routes: Vec<RouteSettings>,
    /// Agents that all callers may run; each is also a model.
    pub agents: Vec<AgentSpec>,
    /// Named prompt templates.
    pub prompts: Vec<PromptSettings>,
    /// Named checks on what models are asked and what they answer.
    pub guards: Vec<GuardSettings>,
    /// The model that `kebne simulate` serves.
    #[cfg(feature = "lab")]
    pub simulation: SimulationSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            log: LogSettings::default(),
            telemetry: TelemetrySettings::default(),
            events: EventsSettings::default(),
            consume: ConsumeSettings::default(),
            context: ContextSettings::default(),
            collections: CollectionsSettings::default(),
            jobs: JobsSettings::default(),
            cache: CacheSettings::default(),
            embedder: EmbedderSettings::default(),
            retrieval: RetrievalSettings::default(),
            token_budget: TokenBudgetSettings::default(),
            alerts: AlertSettings::default(),
            cost: CostSettings::default(),
            accounts: AccountsSettings::default(),
            servers: ServersSettings::default(),
            share: ShareSettings::default(),
            redis: RedisSettings::default(),
            backends: default_backends(),
            models: default_models(),
            functions: Vec::new(),
            function_events: FunctionEventsSettings::default(),
            mcp_servers: Vec::new(),
            mcp: McpSettings::default(),
            prompt_store: PromptStoreSettings::default(),
            agent_store: AgentStoreSettings::default(),
            routes: Vec::new(),
            agents: Vec::new(),
            prompts: Vec::new(),
            guards: Vec::new(),
            #[cfg(feature = "lab")]
            simulation: SimulationSettings::default(),
        }
    }
}

/// Returns the backend of a first run: the simulated model, if it is built in.
#[cfg(feature = "lab")]
fn default_backends() -> Vec<BackendSettings> {
    vec![BackendSettings::default()]
}

#[cfg(feature = "lab")]
fn default_models() -> Vec<ModelSettings> {
    vec![ModelSettings::default()]
}

#[cfg(not(feature = "lab"))]
fn default_backends() -> Vec<BackendSettings> {
    Vec::new()
}

#[cfg(not(feature = "lab"))]
fn default_models() -> Vec<ModelSettings> {
    Vec::new()
}

impl Validate for Settings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.server.validate(&join(path, "server"));
        errors.extend(self.log.validate(&join(path, "log")));
        errors.extend(self.telemetry.validate(&join(path, "telemetry")));
        errors.extend(self.events.validate(&join(path, "events")));
        errors.extend(self.consume.validate(&join(path, "consume")));
        errors.extend(self.context.validate(&join(path, "context")));
        errors.extend(self.collections.validate(&join(path, "collections")));
        errors.extend(self.jobs.validate(&join(path, "jobs")));
        errors.extend(self.cache.validate(&join(path, "cache")));
        errors.extend(self.embedder.validate(&join(path, "embedder")));
        errors.extend(self.retrieval.validate(&join(path, "retrieval")));
        errors.extend(self.token_budget.validate(&join(path, "token_budget")));
        errors.extend(self.alerts.validate(&join(path, "alerts")));
        errors.extend(self.cost.validate(&join(path, "cost")));
        errors.extend(self.accounts.validate(&join(path, "accounts")));
        errors.extend(self.servers.validate(&join(path, "servers")));
        errors.extend(self.share.validate(&join(path, "share")));
        errors.extend(self.redis.validate(&join(path, "redis")));
        #[cfg(feature = "lab")]
        errors.extend(self.simulation.validate(&join(path, "simulation")));
        errors.extend(validate_each(&self.backends, &join(path, "backends")));
        errors.extend(validate_each(&self.models, &join(path, "models")));
        errors.extend(self.prompt_store.validate(&join(path, "prompt_store")));
        errors.extend(self.agent_store.validate(&join(path, "agent_store")));
        errors.extend(self.mcp.validate(&join(path, "mcp")));
        errors.extend(validate_each(&self.routes, &join(path, "routes")));
        errors.extend(validate_each(&self.agents, &join(path, "agents")));
        errors.extend(validate_each(&self.prompts, &join(path, "prompts")));
        errors.extend(validate_each(&self.guards, &join(path, "guards")));
        errors.extend(self.contradictions(path));
        errors
    }
}

impl Settings {
    /// Finds contradictions between sections.
    fn contradictions(&self, path: &str) -> Vec<SettingsError> {
        let backends = join(path, "backends");
        let mut errors = Vec::new();
        if self.backends.is_empty() {
            errors.push(SettingsError::new(
                &backends,
                "at least one backend is needed",
            ));
        }
        let backend_names: Vec<&str> = self.backends.iter().map(|b| b.name.as_str()).collect();
        errors.extend(repeated(&backend_names, &backends, "name"));
        let prompt_names: Vec<&str> = self.prompts.iter().map(|p| p.name.as_str()).collect();
        errors.extend(repeated(&prompt_names, &join(path, "prompts"), "name"));
        errors.extend(self.model_contradictions(&join(path, "models"), &backend_names));
        errors.extend(self.process_contradictions(&backends));
        errors.extend(self.unknown_models_of_keys(path));
        errors.extend(self.unknown_groups_of_keys(path));
        errors.extend(self.unknown_inner_models(path));
        let guard_names: Vec<&str> = self.guards.iter().map(|g| g.name.as_str()).collect();
        errors.extend(repeated(&guard_names, &join(path, "guards"), "name"));
        errors.extend(guards::unknown_guards(self, path));
        errors.extend(cache::unknown_judges(self, path));
        errors.extend(
            self.function_events
                .validate(&join(path, "function_events")),
        );
        errors.extend(functions::contradictions(self, path));
        errors.extend(mcp::contradictions(self, path, &functions::taken(self)));
        errors.extend(routes::contradictions(self, path));
        errors.extend(agents::contradictions(self, path));
        errors.extend(self.shared_files(path));
        if self.share.by == ShareBy::Redis && !cfg!(feature = "redis") {
            let at = join(path, "share.by");
            errors.push(SettingsError::new(at, redis::NOT_BUILT));
        }
        if self.accounts.store == AccountsStore::Redis && !cfg!(feature = "redis") {
            let at = join(path, "accounts.store");
            errors.push(SettingsError::new(at, redis::NOT_BUILT));
        }
        if self.cache.store == CacheStoreKind::Redis && !cfg!(feature = "redis") {
            let at = join(path, "cache.store");
            errors.push(SettingsError::new(at, redis::NOT_BUILT));
        }
        errors
    }

    /// Returns an error for each file that two stores would use.
    fn shared_files(&self, path: &str) -> Vec<SettingsError> {
        let sessions = self.context.store == StoreKind::Sqlite;
        let cache = self.cache.store == CacheStoreKind::Sqlite;
        let has_accounts = self.accounts.store == AccountsStore::Sqlite;
        let has_outbox = self.events.bus != BusKind::Memory;
        let files = [
            ("context.path", sessions.then_some(&self.context.path)),
            ("collections.path", Some(&self.collections.path)),
            ("jobs.path", Some(&self.jobs.path)),
            ("cache.path", cache.then_some(&self.cache.path)),
            ("accounts.path", has_accounts.then_some(&self.accounts.path)),
            ("prompt_store.path", Some(&self.prompt_store.path)),
            ("agent_store.path", Some(&self.agent_store.path)),
            ("mcp.path", Some(&self.mcp.path)),
            (
                "events.outbox.path",
                has_outbox.then_some(&self.events.outbox.path),
            ),
        ];
        let mut users = BTreeMap::new();
        let mut errors = Vec::new();
        for (key, file) in files {
            let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
                continue;
            };
            if let Some(other) = users.insert(file, key) {
                let message = format!("`{}` is the file of `{other}`", file.display());
                errors.push(SettingsError::new(join(path, key), message));
            }
        }
        errors
    }

    /// Returns an error for each process that does not fit on its device, or has the port of another one.
    fn process_contradictions(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut ports = BTreeSet::new();
        for (index, backend) in self.backends.iter().enumerate() {
            let Some(process) = &backend.process else {
                continue;
            };
            let at = |key: &str| format!("{path}[{index}].process.{key}");
            if let Some((key, message)) = self.servers.misfit(process) {
                errors.push(SettingsError::new(at(key), message));
            }
            if let Port::Fixed(port) = process.port
                && !ports.insert(port)
            {
                let message = format!("`{port}` is the port of another process");
                errors.push(SettingsError::new(at("port"), message));
            }
        }
        errors
    }

    /// Returns an error for each model of the embedder and of sessions that does not exist.
    fn unknown_inner_models(&self, path: &str) -> Vec<SettingsError> {
        let memory = &self.context.memory;
        let services: Vec<String> = routes::service_names(self).collect();
        let mut known = self.model_names();
        known.extend(services.iter().map(String::as_str));
        let models = [
            ("embedder.model", &self.embedder.model),
            ("retrieval.rerank_model", &self.retrieval.rerank_model),
            ("context.memory.summary_model", &memory.summary_model),
            ("context.memory.facts_model", &memory.facts_model),
        ];
        let unknown = models.into_iter().filter_map(|(key, model)| {
            let model = model.as_deref().filter(|model| !known.contains(model))?;
            let error = SettingsError::new(join(path, key), format!("there is no model `{model}`"));
            Some(error.with_allowed(known.iter().copied()).suggesting(model))
        });
        unknown.collect()
    }

    /// Returns the models' own names.
    fn model_names(&self) -> Vec<&str> {
        if self.models.is_empty() {
            return self.backends.iter().map(|b| b.name.as_str()).collect();
        }
        self.models.iter().map(|m| m.name.as_str()).collect()
    }

    /// Returns an error for each group of a key that does not exist.
    fn unknown_groups_of_keys(&self, path: &str) -> Vec<SettingsError> {
        let known = || self.accounts.groups.iter().map(|group| group.name.as_str());
        let keys = self.server.keys.iter().enumerate();
        let unknown = keys.filter_map(|(index, key)| {
            let group = key.group.as_deref()?;
            (!known().any(|name| name == group)).then_some((index, group))
        });
        let errors = unknown.map(|(index, group)| {
            let at = join(path, &format!("server.keys[{index}].group"));
            SettingsError::new(at, format!("there is no group named `{group}`"))
                .with_allowed(known())
                .suggesting(group)
        });
        errors.collect()
    }

    /// Returns an error for each model that a key may call and that does not exist.
    fn unknown_models_of_keys(&self, path: &str) -> Vec<SettingsError> {
        let services: Vec<String> = routes::service_names(self).collect();
        let mut known = self.model_names();
        known.extend(services.iter().map(String::as_str));
        known.extend(self.routes.iter().map(|route| route.name.as_str()));
        known.extend(self.functions.iter().map(|one| one.name.as_str()));
        known.extend(self.mcp_servers.iter().map(|one| one.name.as_str()));
        known.extend(self.agents.iter().map(|agent| agent.name.as_str()));
        let mut errors = Vec::new();
        for (index, key) in self.server.keys.iter().enumerate() {
            for name in key.models.iter().flatten() {
                if !known.contains(&name.as_str()) {
                    let at = join(path, &format!("server.keys[{index}].models"));
                    let error = SettingsError::new(at, format!("there is no model `{name}`"));
                    errors.push(error.with_allowed(known.iter().copied()));
                }
            }
        }
        errors
    }

    /// Returns an error for each name or alias of more than one model, and for each backend that does not exist.
    fn model_contradictions(&self, path: &str, backend_names: &[&str]) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        let mut taken = BTreeSet::new();
        for (index, model) in self.models.iter().enumerate() {
            let at = format!("{path}[{index}]");
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                if !taken.insert(name.as_str()) {
                    let message = format!("`{name}` names more than one model");
                    errors.push(SettingsError::new(&at, message));
                }
            }
            let groups = model.backends.iter().enumerate();
            let placed = groups.flat_map(|(at, group)| group.names().map(move |name| (at, name)));
            for (position, backend) in placed {
                if backend_names.contains(&backend.as_str()) {
                    continue;
                }
                errors.push(
                    SettingsError::new(
                        format!("{at}.backends[{position}]"),
                        format!("there is no backend named `{backend}`"),
                    )
                    .with_allowed(backend_names.iter().copied())
                    .suggesting(backend),
                );
            }
        }
        errors
    }
}

impl Settings {
    /// Returns the settings with the backends and models that services of routes, functions and MCP servers become.
    #[must_use]
    pub fn completed(&self) -> Self {
        functions::with_functions(&routes::with_services(self))
    }
}

/// Returns an error for every value that is in the list more than once.
fn repeated(values: &[&str], path: &str, key: &str) -> Vec<SettingsError> {
    let mut seen = BTreeSet::new();
    let mut errors = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if !seen.insert(*value) {
            let message = format!("`{value}` is used more than once");
            errors.push(SettingsError::new(
                format!("{path}[{index}].{key}"),
                message,
            ));
        }
    }
    errors
}

#[cfg(test)]
#[cfg(feature = "lab")]
mod tests;
