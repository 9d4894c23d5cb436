//! Agents in a program that has neither a parent nor a file for them.

use std::sync::Arc;

use actix::{Actor, Handler};
use kebne_actors::{ActorSystem, AskError, Context, Props, Spawn, Strategy};

use crate::{
    handle::{Agents, AgentsParts},
    host::Host,
    memory::MemoryStore,
    settings::AgentStoreSettings,
};

impl AgentsParts {
    /// Returns what agents need that do not survive their process.
    pub fn in_memory() -> Self {
        let millis = || {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        Self {
            settings: AgentStoreSettings::default(),
            store: Arc::new(MemoryStore::default()),
            clock: Arc::new(millis),
        }
    }
}

/// The parent of agents in a program that has none for them.
struct Root;

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Root {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

impl Agents {
    /// Creates the handle of agents whose parent is an actor of their own, and connects what the program offers.
    ///
    /// # Errors
    /// Returns an error if the system stops.
    pub async fn in_system(
        system: &ActorSystem,
        parts: AgentsParts,
        host: impl Host + 'static,
    ) -> Result<Self, AskError> {
        let root = Props::new(|| Root).supervise(Strategy::resume());
        let agents = Self::new(&system.spawn(root, "agents"), parts);
        agents.connect(Arc::new(host), true).await?;
        Ok(agents)
    }
}
