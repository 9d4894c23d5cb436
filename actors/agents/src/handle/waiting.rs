//! Waits for runs, and follows them.

use std::time::Duration;

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::timeout,
};

use crate::{
    handle::{AgentError, Agents},
    live::Live,
    run::{Run, RunState},
};

/// The longest time between two looks at a run: another process may carry it out.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Agents {
    /// Returns what happens in a run of this process from now on.
    pub fn follow(&self, id: &str) -> broadcast::Receiver<Live> {
        self.followers().follow(id)
    }

    /// Waits until a run has ended.
    ///
    /// # Errors
    /// Returns an error if the owner has no such run, or the store fails.
    pub async fn when_ended(&self, owner: &str, id: &str) -> Result<Run, AgentError> {
        self.when(owner, id, |state| state == RunState::Ended).await
    }

    /// Waits until a run has ended or waits for a human.
    ///
    /// # Errors
    /// As [`Agents::when_ended`].
    pub async fn when_resting(&self, owner: &str, id: &str) -> Result<Run, AgentError> {
        self.when(owner, id, |state| state != RunState::Running)
            .await
    }

    async fn when(
        &self,
        owner: &str,
        id: &str,
        is_there: impl Fn(RunState) -> bool,
    ) -> Result<Run, AgentError> {
        let mut live = self.follow(id);
        loop {
            if is_there(self.head(owner, id).await?.state) {
                return self.run(owner, id).await;
            }
            let written = async {
                loop {
                    match live.recv().await {
                        Ok(Live::Text(_)) => {}
                        Ok(Live::Written(_)) | Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            timeout(LOOK_EVERY, written).await.ok();
        }
    }
}
