//! What others than the actor of a run write into it: decisions of humans, the wish to cancel it, and its end if its actor has failed.

use crate::{
    handle::{AgentError, Agents, manager::Wake},
    live::Live,
    run::{Decision, Ending, Event, Run, RunEvent, RunState, WaitsFor},
    store::{Appended, Lease, StoreError},
};

/// How often a decision is tried again because the run goes on meanwhile.
const DECIDE_AGAIN: usize = 50;

impl Agents {
    /// Decides on a call that waits for a human. Returns the run.
    ///
    /// # Errors
    /// [`AgentError::NotWaiting`] if the call does not wait, and [`AgentError::HasEnded`] for a run that has ended.
    pub async fn decide(
        &self,
        owner: &str,
        id: &str,
        call: &str,
        decision: Decision,
    ) -> Result<Run, AgentError> {
        self.add(owner, id, |run| {
            if run.ended.is_some() {
                return Err(AgentError::HasEnded);
            }
            let waiting = run.waiting();
            let waits = waiting.iter().find(|(open, _)| open.id == call);
            let (_, why) = waits.ok_or_else(|| AgentError::NotWaiting(call.to_owned()))?;
            let is_question = *why == WaitsFor::Answer;
            if is_question && decision.approved && decision.answer.is_none() {
                return Err(AgentError::NeedsAnswer);
            }
            Ok(Some(RunEvent::Decided {
                call: call.to_owned(),
                decision: decision.clone(),
            }))
        })
        .await
    }

    /// Cancels a run: it ends soon. One that has ended stays as it is. Returns the run.
    ///
    /// # Errors
    /// As [`Agents::run`].
    pub async fn cancel(&self, owner: &str, id: &str, by: &str) -> Result<Run, AgentError> {
        self.add(owner, id, |run| {
            let is_over = run.ended.is_some() || run.cancelled_by.is_some();
            Ok((!is_over).then(|| RunEvent::CancelAsked { by: by.to_owned() }))
        })
        .await
    }

    /// Writes an event of somebody other than the actor of the run.
    async fn add(
        &self,
        owner: &str,
        id: &str,
        event: impl Fn(&Run) -> Result<Option<RunEvent>, AgentError>,
    ) -> Result<Run, AgentError> {
        for _ in 0..DECIDE_AGAIN {
            let mut events = self.events(owner, id, 0).await?;
            let missing = || StoreError::NotFound("run");
            let mut run = Run::of(id.into(), owner.into(), &events).ok_or_else(missing)?;
            let Some(what) = event(&run)? else {
                return Ok(run);
            };
            let (known, at) = (run.seq, self.now());
            let written = self.store().add((owner, id), known, (at, what.clone()));
            if written.await? {
                let event = Event {
                    seq: known + 1,
                    at,
                    what,
                };
                run.apply(&event);
                events.push(event);
                self.noted(id, owner, &events);
                self.followers().tell(id, Live::Written(run.seq));
                self.manager().await?.post(Wake(id.into()));
                return Ok(run);
            }
        }
        Err(StoreError::Failed("the run changes too fast".to_owned()).into())
    }

    /// Ends a run whose actor has stopped and that it has not given back.
    pub(crate) async fn settle(&self, lease: &Lease) {
        let store = self.store();
        let head = store.head(&lease.owner, &lease.id).await;
        let Ok(head) = head else {
            return;
        };
        if head.state != RunState::Running {
            return;
        }
        let what = RunEvent::Ended {
            ending: Ending::Crashed,
            text: "the agent has failed too often".to_owned(),
            code: None,
        };
        let events = vec![(self.now(), what)];
        if let Ok(Appended::Done(events)) = store.append(lease, 0, events).await {
            self.noted(&lease.id, &lease.owner, &events);
            self.followers()
                .tell(&lease.id, Live::Written(head.seq + 1));
        }
    }
}
