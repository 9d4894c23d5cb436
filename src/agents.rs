//! What the gateway offers to agents: its models, its functions, the tools of MCP servers, the search in collections, and the agents of the settings.
//!
//! The loop itself is the crate `kebne-agents`, which knows neither HTTP nor dialects.

mod caller;
mod events;
mod function;
mod model;
mod search;
mod session;
mod streamed;
mod view;

use std::sync::{Arc, Weak};

use kebne_actors::AskError;
use kebne_agents::{
    AgentSpec, Event, Host, Model, ModelError, Run, RunContext, RunEvent, SEARCH, Tool,
};

use crate::{settings::Settings, state::State};

use function::FunctionTool;
use model::GatewayModel;
use search::Search;

pub(crate) use session::history;
pub(crate) use view::{shown_agent, shown_event, shown_head, shown_run};

/// Offers what the service has to agents; does not keep it alive.
pub(crate) struct AgentHost(Weak<State>);

impl AgentHost {
    /// Offers what a service has to its agents, and has runs go on that an earlier process left.
    ///
    /// # Errors
    /// Returns an error if the actors do not start.
    pub(crate) async fn connect(state: &Arc<State>, settings: &Settings) -> Result<(), AskError> {
        let host = Self(Arc::downgrade(state));
        let has_runs = settings.agent_store.path.exists();
        state.agents.connect(Arc::new(host), has_runs).await
    }
}

impl Host for AgentHost {
    fn model(&self, of: &RunContext) -> Result<Arc<dyn Model>, ModelError> {
        Ok(Arc::new(GatewayModel::new(self.0.clone(), of)))
    }

    fn tool(&self, name: &str, of: &RunContext) -> Option<Arc<dyn Tool>> {
        if name == SEARCH && !of.spec.collections.is_empty() {
            return Some(Arc::new(Search::new(self.0.clone(), of)));
        }
        let function = FunctionTool::new(self.0.clone(), name, of);
        #[cfg(feature = "mcp")]
        let function = function.or_else(|| FunctionTool::of_mcp(self.0.clone(), name, of));
        function.map(|function| Arc::new(function) as Arc<dyn Tool>)
    }

    fn agent(&self, name: &str) -> Option<AgentSpec> {
        self.0.upgrade()?.agent_specs.of(name)
    }

    fn noted(&self, run: &Run, event: &Event) {
        if let Some(state) = self.0.upgrade() {
            events::emit(&state.events, run, event);
            if matches!(event.what, RunEvent::Ended { .. }) {
                session::keep(state, run);
            }
        }
    }
}
