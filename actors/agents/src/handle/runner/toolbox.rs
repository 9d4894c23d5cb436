//! The tools that an agent is offered.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use crate::{
    handle::Agents,
    host::RunContext,
    run::CallKind,
    spec::{ASK_HUMAN, ASK_PREFIX, AgentSpec, HAND_PREFIX, SEARCH},
    tool::{Tool, ToolSpec},
};

/// The tools of an agent, by their names.
#[derive(Default)]
pub(super) struct Toolbox(BTreeMap<String, Offered>);

/// One tool.
#[derive(Clone)]
pub(super) enum Offered {
    /// A tool of the program.
    Tool(Arc<dyn Tool>),
    /// A human is asked.
    Human(ToolSpec),
    /// Another agent is given a task.
    Task(ToolSpec, AgentSpec),
    /// The conversation is handed to another agent.
    Hand(AgentSpec),
}

impl Toolbox {
    /// Finds the tools of an agent. One that does not exist is left out, and logged.
    pub(super) async fn of(agents: &Agents, of: &RunContext) -> Self {
        let spec = &of.spec;
        let mut offered = BTreeMap::new();
        let search = (!spec.collections.is_empty()).then_some(SEARCH);
        for name in spec.tools.iter().map(String::as_str).chain(search) {
            if let Some(tool) = agents.host().tool(name, of) {
                offered.insert(tool.spec().name.clone(), Offered::Tool(tool));
            } else {
                tracing::warn!(agent = spec.name, tool = name, "there is no such tool");
            }
        }
        if spec.ask_human {
            offered.insert(ASK_HUMAN.to_owned(), Offered::Human(human()));
        }
        let may_give_tasks = of.began.depth < agents.settings().depth_max;
        for name in spec.agents.iter().filter(|_| may_give_tasks) {
            if let Some(other) = found(agents, of, name).await {
                let tool = format!("{ASK_PREFIX}{name}");
                offered.insert(tool.clone(), Offered::Task(task(tool, &other), other));
            }
        }
        for name in &spec.hand_offs {
            if let Some(other) = found(agents, of, name).await {
                offered.insert(format!("{HAND_PREFIX}{name}"), Offered::Hand(other));
            }
        }
        Self(offered)
    }

    /// Returns the descriptions of the tools.
    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        let specs = self.0.iter().map(|(name, offered)| match offered {
            Offered::Tool(tool) => tool.spec().clone(),
            Offered::Human(spec) | Offered::Task(spec, _) => spec.clone(),
            Offered::Hand(other) => {
                let what = format!("Hands the conversation to the agent `{}`.", other.name);
                ToolSpec::new(name, format!("{what} {}", other.description))
            }
        });
        specs.collect()
    }

    pub(super) fn of_name(&self, name: &str) -> Option<&Offered> {
        self.0.get(name)
    }

    pub(super) fn kind(&self, name: &str) -> CallKind {
        match self.0.get(name) {
            None => CallKind::Missing,
            Some(Offered::Hand(_)) => CallKind::HandOff,
            Some(_) => CallKind::Tool {
                is_repeatable: self.is_repeatable(name),
            },
        }
    }

    /// Returns `true` if a call of a tool may be made again.
    pub(super) fn is_repeatable(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Offered::Tool(tool)) => tool.spec().is_repeatable(),
            // The run of a task has an id that follows from the call, so it is found again.
            _ => true,
        }
    }
}

async fn found(agents: &Agents, of: &RunContext, name: &str) -> Option<AgentSpec> {
    match agents.find(&of.owner, name).await {
        Ok(Some(spec)) => Some(spec),
        Ok(None) => {
            tracing::warn!(agent = of.spec.name, other = name, "there is no such agent");
            None
        }
        Err(error) => {
            tracing::warn!(agent = of.spec.name, other = name, %error, "an agent cannot be read");
            None
        }
    }
}

fn human() -> ToolSpec {
    let what =
        "Asks a human a question and returns the answer. Use it if you cannot go on without one.";
    let parameters = json!({
        "type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"],
    });
    ToolSpec::new(ASK_HUMAN, what)
        .parameters(parameters)
        .read_only()
}

fn task(tool: String, other: &AgentSpec) -> ToolSpec {
    let what = format!(
        "Gives a task to the agent `{}` and returns its result.",
        other.name
    );
    let parameters = json!({
        "type": "object",
        "properties": {"task": {"type": "string", "description": "All that the agent must know. It sees nothing else."}},
        "required": ["task"],
    });
    ToolSpec::new(tool, format!("{what} {}", other.description))
        .parameters(parameters)
        .idempotent()
}
