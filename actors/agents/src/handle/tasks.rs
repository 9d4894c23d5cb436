//! Tasks that agents give to agents: each is a run with an id that follows from its call.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    handle::{AgentError, Agents},
    host::RunContext,
    message::Message,
    run::{Began, Budget},
    spec::AgentSpec,
};

/// A task for another agent.
pub(crate) struct NewTask {
    pub(crate) other: AgentSpec,
    pub(crate) budget: Budget,
    pub(crate) arguments: Value,
}

impl Agents {
    /// Starts the run of a task, unless it was started before.
    pub(crate) async fn start_task(
        &self,
        id: &str,
        of: &RunContext,
        messages: Vec<Message>,
        task: NewTask,
    ) -> Result<(), AgentError> {
        let began = Began {
            budget: Budget::of(&task.other).within(task.budget),
            messages,
            remembered: 0,
            session: None,
            caller: of.began.caller.clone(),
            parent: Some(of.run.to_string()),
            depth: of.began.depth + 1,
            spec: task.other,
            origin: of.began.origin.clone(),
            awaited: of.began.awaited.clone(),
        };
        self.create(&of.owner, id.to_owned(), began, None).await
    }
}

/// Returns the id of the run of a task, which follows from the call, so that a repeated call finds it.
pub(crate) fn child_id(run: &str, call: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(run);
    digest.update([0]);
    digest.update(call);
    format!("run_{}", hex::encode(&digest.finalize()[..16]))
}
