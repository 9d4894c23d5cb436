//! An agent as a model: a call runs it and gets its final text as the answer.
//!
//! The run is cancelled if the caller leaves. It is never repeated: a job that is tried again continues its run. And what it uses is charged by the calls that it makes itself.

mod dialect;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use kebne_agents::{AgentError, Agents, Ending, Run, Start, StoreError};
use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::request::OnBehalf;
use serde_json::json;

use crate::{
    backend::{failure::with_headers, one_chunk, reason},
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

    /// Runs the agent until it has a final text. The run ends with this future, but for that of a job when the process stops.
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
            origin: behalf.origin.clone(),
            ..Start::default()
        };
        let attended = agents.attend(&behalf.owner, start, behalf.job.as_deref());
        let attended = attended.await.map_err(|error| not_run(&error))?;
        let run = attended.when_resting().await;
        let run = run.map_err(|error| not_run(&error))?;
        match &run.ended {
            Some((_, Ending::Completed, _)) => Ok(run),
            Some((_, ending, why)) => Err(unanswered(&run, *ending, why)),
            None => {
                let message = format!(
                    "the agent waits for a human; decide on the call in the run `{}`, which then goes on",
                    run.id
                );
                let (code, ending) = (reason::AGENT_WITHOUT_ANSWER, "waiting");
                Err(failed(&run.id, (422, code), &message, ending))
            }
        }
    }
}

/// A call that the agent does not take.
fn refused(param: &str, message: &str) -> Failure {
    let code = reason::AGENT_REFUSED;
    let failure = Failure::new(Outcome::Client, message);
    let mut failure = failure.with_status(400).because(code);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": param, "code": code,
    }});
    failure.body = Some(Bytes::from(error.to_string()));
    failure.safe_to_repeat = true;
    failure
}

/// A run that was not started, or that cannot be read. It is this process that refuses, not a backend that fails.
fn not_run(error: &AgentError) -> Failure {
    let message = error.to_string();
    match error {
        AgentError::TooLarge(_) => refused("messages", &message),
        AgentError::Store(StoreError::Full(..)) => {
            let failure = Failure::new(Outcome::Client, message);
            failure.because(reason::AGENTS_FULL).shed()
        }
        AgentError::Store(StoreError::Damaged(_)) => {
            Failure::new(Outcome::Unusable, message).because(reason::AGENTS_DAMAGED)
        }
        AgentError::Store(StoreError::Failed(_)) | AgentError::Actor(_) => {
            let failure = Failure::new(Outcome::Unusable, message);
            failure.because(reason::AGENTS_UNAVAILABLE).shed()
        }
        // The agent was removed from the settings, or the run was erased.
        _ => refused("model", &message),
    }
}

/// A run that has ended without a final text. It is the caller's to see why: another attempt would be another run. What refuses the key at the model of
/// the agent refuses the call.
fn unanswered(run: &Run, ending: Ending, why: &str) -> Failure {
    let name = ending.name();
    let message = format!("the agent ended without an answer: {name}: {why}");
    let code = run.code.as_deref();
    let code = code.filter(|_| ending == Ending::Failed);
    let kind = match code.unwrap_or_default() {
        reason::LOOP => return Failure::new(Outcome::Unusable, message).because(reason::LOOP),
        reason::NOT_ALLOWED => (403, reason::NOT_ALLOWED),
        reason::QUOTA => (429, reason::QUOTA),
        _ => (422, reason::AGENT_WITHOUT_ANSWER),
    };
    failed(&run.id, kind, &message, name)
}

/// A run without an answer, with its id.
fn failed(run: &str, kind: (u16, &'static str), message: &str, ending: &str) -> Failure {
    let (status, code) = kind;
    let failure = Failure::new(Outcome::Client, message);
    let mut failure = failure.with_status(status).because(code);
    let error = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": code,
        "run": run, "ending": ending,
    }});
    failure.body = Some(Bytes::from(error.to_string()));
    let headers = HeaderValue::from_str(run).map(|run| HeaderMap::from_iter([(RUN, run)]));
    with_headers(failure, headers.unwrap_or_default())
}

/// Returns the time of an answer.
fn created() -> u64 {
    unix_time::seconds()
}
