//! Everything that can be set, as types that were checked once.
//!
//! Values come in three layers: the embedded defaults (`config/kebne.toml` itself), a file, and environment
//! variables such as `KEBNE__SERVER__LISTEN`. Reading stops at the first layer that cannot be parsed, but
//! every wrong key and every contradiction in it is reported at once, with its path and what is allowed.
//! Nothing here keeps global state and nothing but [`environment`] touches the process environment.

pub mod backend;
pub mod context;
pub mod environment;
pub mod error;
pub mod lane;
pub mod load;
pub mod log;
pub mod model;
pub mod prewarm;
pub mod prompts;
pub mod server;
pub mod simulation;
pub mod units;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use backend::{BackendKind, BackendSettings};
pub use context::ContextSettings;
pub use environment::{Environment, ProcessEnvironment};
pub use error::{SettingsError, SettingsErrors};
pub use lane::LaneSettings;
pub use load::{Loaded, Origin};
pub use log::{LogFormat, LogSettings};
pub use model::ModelSettings;
pub use prewarm::{PrewarmOperation, PrewarmSettings};
pub use prompts::PromptSettings;
pub use server::ServerSettings;
pub use simulation::SimulationSettings;
pub use units::{ByteCount, HumanDuration};

/// The defaults as the program carries them; also the documentation of every key.
pub const DEFAULTS: &str = include_str!("../config/kebne.toml");

/// Checks a section against itself; what spans sections is checked by [`Settings`].
pub trait Validate {
    /// Returns every contradiction and every value out of range below `path`, for example `backends[0]`.
    fn validate(&self, path: &str) -> Vec<SettingsError>;
}

/// The root of the settings tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The HTTP service: address, keys, bounds, drain.
    pub server: ServerSettings,
    /// The log: level filter and format.
    pub log: LogSettings,
    /// Sessions: store, bounds, expiry.
    pub context: ContextSettings,
    /// Backends, one lane each; at least one.
    pub backends: Vec<BackendSettings>,
    /// Models callers may ask for. When empty, each backend is offered under its own name.
    pub models: Vec<ModelSettings>,
    /// Named prompt templates.
    pub prompts: Vec<PromptSettings>,
    /// The model that `kebne simulate` serves.
    pub simulation: SimulationSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            log: LogSettings::default(),
            context: ContextSettings::default(),
            backends: vec![BackendSettings::default()],
            models: vec![ModelSettings::default()],
            prompts: Vec::new(),
            simulation: SimulationSettings::default(),
        }
    }
}

impl Validate for Settings {
    fn validate(&self, path: &str) -> Vec<SettingsError> {
        let mut errors = self.server.validate(&join(path, "server"));
        errors.extend(self.log.validate(&join(path, "log")));
        errors.extend(self.context.validate(&join(path, "context")));
        errors.extend(self.simulation.validate(&join(path, "simulation")));
        errors.extend(validate_each(&self.backends, &join(path, "backends")));
        errors.extend(validate_each(&self.models, &join(path, "models")));
        errors.extend(validate_each(&self.prompts, &join(path, "prompts")));
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
        errors
    }

    /// Checks that each model's name and alias is taken once and that its backends exist.
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
            for (position, backend) in model.backends.iter().enumerate() {
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

/// Validates each element of a list under its index.
fn validate_each<T: Validate>(items: &[T], path: &str) -> Vec<SettingsError> {
    let with_index = items.iter().enumerate();
    with_index
        .flat_map(|(index, item)| item.validate(&format!("{path}[{index}]")))
        .collect()
}

/// Reports every value that stands in the list more than once.
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

/// Appends a key to a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
