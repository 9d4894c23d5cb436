//! The agents of the settings, which a reload changes.

use std::sync::Arc;

use kebne_agents::AgentSpec;

use crate::{current::Current, settings::Settings};

/// The agents of the settings.
#[derive(Debug, Default)]
pub struct AgentSpecs(Current<Vec<AgentSpec>>);

impl AgentSpecs {
    /// Creates the agents of the settings.
    pub fn new(settings: &Settings) -> Self {
        Self(Current::new(settings.agents.clone()))
    }

    /// Has runs from now on be those of other settings.
    pub fn change(&self, settings: &Settings) {
        self.0.replace(settings.agents.clone());
    }

    /// Returns all of them.
    pub fn all(&self) -> Arc<Vec<AgentSpec>> {
        self.0.get()
    }

    /// Returns an agent.
    pub fn of(&self, name: &str) -> Option<AgentSpec> {
        let all = self.0.get();
        all.iter().find(|agent| agent.name == name).cloned()
    }
}
