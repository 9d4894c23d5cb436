//! An agent as a model: a call runs it and gets its final text as the answer.
//!
//! The run is cancelled if the caller leaves. It is never repeated, and what it uses is charged by the calls that it makes itself.

mod dialect;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use kebne_agents::{AgentError, Agents, Ending, Run, Start, StoreError};
use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::request::OnBehalf;
use serde_json::json;

use crate::{
    backend::one_chunk,
    llm::{Endpoint, ModelRequest, ModelResponse, Usage, whole_answer},
    unix_time,
};

/// The header of answers with the id of the run.
const RUN: HeaderName = HeaderName::from_static("x-kebne-run");
/// The beginning of the ids of calls that wake a backend.
const WAKE_ID: &str = "prewarm-";
/// What is reported of the use of a run to the account of the outer call: nothing, because the calls of the run are charged one by one.
const CHARGED_INSIDE: Usage = Usage {
    input: Some(0),
    output: Some(0),
    cached: None,
    cache_written: None,
    image_input: None,
    audio_input: None,
    image_output: None,
    audio_output: None,
};

/// A backend that runs an agent.
#[derive(Debug)]
pub struct AgentBackend {
    name: Arc<str>,
    /// `None` while the settings are only checked.
    agents: Option<Agents>,
}

/// Cancels a run that nobody waits for any more.
struct Attended {
    agents: Agents,
    owner: String,
    id: String,
    is_over: bool,
}

impl Drop for Attended {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (agents, owner, id) = (self.agents.clone(), self.owner.clone(), self.id.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = agents.cancel(&owner, &id, "its caller, who has left").await {
                    tracing::debug!(run = id, %error, "a run was not cancelled");
                }
            });
        }
    }
}

impl AgentBackend {
    /// Creates the backend of an agent.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            agents: None,
        }
    }

    /// Connects what runs agents.
    pub(crate) fn connect(&mut self, agents: &Agents) {
        self.agents = Some(agents.clone());
    }

    /// Makes one attempt: a run.
    ///
    /// # Errors
    /// Returns the failure of an invalid call, or that of a run that has no final text.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        if request.request_id.starts_with(WAKE_ID) {
            let body = dialect::whole(&self.name, "", "ready", CHARGED_INSIDE);
            return Ok(whole_answer(body, CHARGED_INSIDE));
        }
        if request.endpoint != Endpoint::Chat {
            return Err(refused("model", "an agent takes only chat calls"));
        }
        let asked = dialect::read(&request.body).map_err(|(param, why)| refused(param, &why))?;
        let (Some(agents), Some(behalf)) = (&self.agents, &request.on_behalf) else {
            let message = "an agent is run only by calls of callers";
            return Err(refused("model", message));
        };
        let run = self.run(agents, behalf, asked.messages).await?;
        let (id, text) = (run.id.as_ref(), run.output().unwrap_or_default());
        let usage = Usage {
            input: Some(run.usage.input_tokens),
            output: Some(run.usage.output_tokens),
            ..CHARGED_INSIDE
        };
        let mut answer = if request.stream {
            let events =
                dialect::events((&self.name, id), text, asked.wants_usage.then_some(usage));
            one_chunk::stream(events, CHARGED_INSIDE, &attempt)
        } else {
            let body = dialect::whole(&self.name, id, text, usage);
            whole_answer(body, CHARGED_INSIDE)
        };
        if let Ok(id) = HeaderValue::from_str(id) {
            answer.response.headers.insert(RUN, id);
        }
        Ok(answer)
    }

    /// Runs the agent until it has a final text.
    async fn run(
        &self,
        agents: &Agents,
        behalf: &OnBehalf,
        messages: Vec<kebne_agents::Message>,
    ) -> Result<Run, Failure> {
        let start = Start {
            agent: self.name.to_string(),
            messages,
            caller: behalf.key.clone(),
            ..Start::default()
        };
        let id = agents.start(&behalf.owner, start).await;
        let id = id.map_err(|error| not_started(&error))?;
        let mut attended = Attended {
            agents: agents.clone(),
            owner: behalf.owner.clone(),
            id,
            is_over: false,
        };
        let run = agents.when_resting(&behalf.owner, &attended.id).await;
        attended.is_over = true;
        let run = run.map_err(|error| {
            let message = format!("the run of the agent cannot be read: {error}");
            Failure::new(Outcome::Unusable, message)
        })?;
        match &run.ended {
            Some((_, Ending::Completed, _)) => Ok(run),
            Some((_, ending, why)) => {
                let message = format!(
                    "the agent ended without an answer: {}: {why}",
                    ending.name()
                );
                Err(unanswered(&run.id, ending.name(), &message))
            }
            None => {
                let message = format!(
                    "the agent waits for a human; decide on the call in the run `{}`, which then goes on",
                    run.id
                );
                Err(unanswered(&run.id, "waiting", &message))
            }
        }
    }
}

/// A call that the agent does not take.
fn refused(param: &str, message: &str) -> Failure {
    let mut failure = Failure::new(Outcome::Client, message).with_status(400);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": param, "code": "agent_refused",
    }});
    failure.body = Some(Bytes::from(error.to_string()));
    failure.safe_to_repeat = true;
    failure
}

/// A run that was not started: nothing was done.
fn not_started(error: &AgentError) -> Failure {
    let message = error.to_string();
    match error {
        AgentError::TooLarge(_) => refused("messages", &message),
        AgentError::Store(StoreError::Full(..)) => Failure::new(Outcome::Limit, message),
        _ => {
            let mut failure = Failure::new(Outcome::Unusable, message);
            failure.safe_to_repeat = true;
            failure
        }
    }
}

/// A run without a final text. It is the caller's to see why: another attempt would be another run.
fn unanswered(run: &str, ending: &str, message: &str) -> Failure {
    let mut failure = Failure::new(Outcome::Client, message).with_status(422);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": "agent_without_answer",
        "run": run, "ending": ending,
    }});
    failure.body = Some(Bytes::from(error.to_string()));
    failure
}

/// Returns the time of an answer.
fn created() -> u64 {
    unix_time::seconds()
}
