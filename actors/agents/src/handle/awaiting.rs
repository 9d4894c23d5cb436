//! Callers that wait for their runs: a run ends with its caller, unless the caller is a job, which asks again.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::{
    handle::{AgentError, Agents, Start, child_id, new_id},
    run::{Awaited, Run},
    store::StoreError,
};

/// The time between two looks at a run while the store fails.
const AGAIN: Duration = Duration::from_millis(500);
/// The name in the ids of runs of jobs.
const JOB: &str = "job";

type Creating = JoinHandle<Result<(), AgentError>>;

/// A caller that waits for a run. When it is dropped before the run has ended or waits for a human, the run is cancelled; that of a job goes on if
/// the process stops.
#[derive(Debug)]
pub struct Attendance {
    agents: Agents,
    owner: String,
    id: String,
    survives: bool,
    /// The run is being created. That goes on when the caller leaves, so that it is known what there is to cancel.
    creating: Option<Creating>,
    is_over: bool,
}

impl Agents {
    /// Starts a run for a caller that waits for it. With the id of a `job` it is the run of that job: a second call continues it.
    ///
    /// # Errors
    /// As [`Agents::start`].
    pub async fn attend(
        &self,
        owner: &str,
        start: Start,
        job: Option<&str>,
    ) -> Result<Attendance, AgentError> {
        let id = match job {
            Some(job) => child_id(&format!("{JOB}/{owner}"), job),
            None => new_id()?,
        };
        let awaited = Awaited {
            run: id.clone(),
            survives: job.is_some(),
        };
        self.awaited_runs().insert(id.clone());
        let (agents, of) = (self.clone(), owner.to_owned());
        let created = id.clone();
        let creating = tokio::spawn(async move {
            let start = agents.start_as(&of, &created, start, Some(awaited));
            start.await
        });
        let mut attendance = Attendance {
            agents: self.clone(),
            owner: owner.to_owned(),
            id,
            survives: job.is_some(),
            creating: Some(creating),
            is_over: false,
        };
        attendance.created().await?;
        Ok(attendance)
    }

    /// Returns `true` if a caller of this process waits for a run.
    pub fn is_awaited(&self, run: &str) -> bool {
        self.awaited_runs().contains(run)
    }

    fn awaited_runs(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0
            .awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attendance {
    /// Returns the id of the run.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the run has ended or waits for a human. While the store fails it is asked again.
    ///
    /// # Errors
    /// Returns an error if the run is gone, or cannot be read at all.
    pub async fn when_resting(mut self) -> Result<Run, AgentError> {
        loop {
            match self.agents.when_resting(&self.owner, &self.id).await {
                Err(AgentError::Store(StoreError::Failed(error))) => {
                    tracing::debug!(run = self.id, error, "the run cannot be read now");
                    tokio::time::sleep(AGAIN).await;
                }
                rested => {
                    self.is_over = rested.is_ok();
                    return rested;
                }
            }
        }
    }

    /// Waits until the run is created.
    async fn created(&mut self) -> Result<(), AgentError> {
        let Some(creating) = &mut self.creating else {
            return Ok(());
        };
        let created = creating.await;
        self.creating = None;
        let created =
            created.unwrap_or_else(|lost| Err(StoreError::Failed(lost.to_string()).into()));
        // What was not created is not cancelled. One that the store may have created all the same ends when its lease has passed.
        self.is_over = created.is_err();
        created
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.agents.awaited_runs().remove(&self.id);
        if self.is_over {
            return;
        }
        if self.survives && self.agents.0.is_draining.load(Relaxed) {
            // It is given back, and goes on in the next process.
            return self.agents.drain();
        }
        let (agents, owner) = (self.agents.clone(), std::mem::take(&mut self.owner));
        let (id, creating) = (std::mem::take(&mut self.id), self.creating.take());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Some(creating) = creating
                && !matches!(creating.await, Ok(Ok(())))
            {
                return;
            }
            if let Err(error) = agents.cancel(&owner, &id, "its caller, who has left").await {
                tracing::debug!(run = id, %error, "a run was not cancelled");
            }
        });
    }
}
