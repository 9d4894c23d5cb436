//! What the program offers to agents.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{Model, ModelError},
    run::{Began, Event, Run},
    spec::AgentSpec,
    tool::Tool,
};

/// A run, as the program needs it to find models and tools.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// The run.
    pub run: Arc<str>,
    /// The owner.
    pub owner: Arc<str>,
    /// How it began.
    pub began: Arc<Began>,
    /// The agent that has the conversation now.
    pub spec: Arc<AgentSpec>,
}

/// What the program offers to agents.
pub trait Host: Send + Sync {
    /// Returns the model of an agent.
    ///
    /// # Errors
    /// Returns an error if there is none, which ends the run.
    fn model(&self, of: &RunContext) -> Result<Arc<dyn Model>, ModelError>;

    /// Returns a tool by its name; `None` if there is none, which the agent is then not offered. An agent with collections is offered [`crate::SEARCH`].
    fn tool(&self, name: &str, of: &RunContext) -> Option<Arc<dyn Tool>>;

    /// Returns an agent that all owners share; `None` if there is none of this name.
    fn agent(&self, name: &str) -> Option<AgentSpec>;

    /// Takes note of an event that this process has written, and of the run behind it. It must not wait.
    fn noted(&self, _run: &Run, _event: &Event) {}
}

/// A host of a program that has few models and tools, which all agents share.
#[derive(Clone, Default)]
pub struct Kit {
    models: BTreeMap<String, Arc<dyn Model>>,
    tools: BTreeMap<String, Arc<dyn Tool>>,
    agents: BTreeMap<String, AgentSpec>,
}

impl Kit {
    /// Adds a model.
    #[must_use]
    pub fn model(mut self, name: &str, model: impl Model + 'static) -> Self {
        self.models.insert(name.to_owned(), Arc::new(model));
        self
    }

    /// Adds a tool, under the name of its description.
    #[must_use]
    pub fn tool(mut self, tool: impl Tool + 'static) -> Self {
        let name = tool.spec().name.clone();
        self.tools.insert(name, Arc::new(tool));
        self
    }

    /// Adds an agent.
    #[must_use]
    pub fn agent(mut self, spec: AgentSpec) -> Self {
        self.agents.insert(spec.name.clone(), spec);
        self
    }
}

impl Host for Kit {
    fn model(&self, of: &RunContext) -> Result<Arc<dyn Model>, ModelError> {
        let name = &of.spec.model;
        let missing = || ModelError::last(format!("there is no model `{name}`"));
        self.models.get(name).cloned().ok_or_else(missing)
    }

    fn tool(&self, name: &str, _of: &RunContext) -> Option<Arc<dyn Tool>> {
        self.tools.get(name).cloned()
    }

    fn agent(&self, name: &str) -> Option<AgentSpec> {
        self.agents.get(name).cloned()
    }
}

impl std::fmt::Debug for Kit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Kit")
            .field("models", &self.models.keys())
            .field("tools", &self.tools.keys())
            .field("agents", &self.agents.keys())
            .finish()
    }
}
