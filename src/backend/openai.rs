//! Any server of the `OpenAI` dialect: `OpenAI`, vLLM, TGI, Ollama, llama.cpp's server and their like.
//!
//! The caller's body goes upstream as it came (but for the model's name) and the answer comes back as it is (but for
//! lines that SDKs cannot bear). A stream that the caller did not ask usage for is not changed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kebne_control::{Outcome, QuotaHints};
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::{
    classify::classify_event,
    one_chunk::of_answer,
    quota, splice,
    sse::{Framer, Problem},
};
use reqwest::Response;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    backend::{
        BuildError, one_chunk, pump,
        pump::EventSource,
        upstream::{Call, Upstream, broke_off},
    },
    llm::{ModelRequest, ModelResponse},
    settings::{BackendSettings, Environment},
};

/// Time that the end of a body may take after `[DONE]`: read to its end, the connection can be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(50);

/// Chunks held back at the head of a stream at most: one per choice is usual, and few callers want several.
const PREAMBLES_MAX: usize = 8;

/// A client of one server.
#[derive(Debug)]
pub struct OpenAiBackend {
    upstream: Upstream,
    model: Option<String>,
}

impl OpenAiBackend {
    /// Makes the client that the settings describe.
    ///
    /// # Errors
    /// When the key's variable is not set, or a setting has no such value.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        Ok(Self {
            upstream: Upstream::build(settings, environment)?,
            model: settings.model.clone(),
        })
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// A [`Failure`] with its class; once a first event was there, the loss comes in the stream instead.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let request = &attempt.request;
        let call = Call {
            path: request.endpoint.path(),
            body: splice::body_for(request, self.model.as_deref()),
            request_id: &request.request_id,
            stream: request.stream,
            wake: attempt.wake,
        };
        let response = self.upstream.send(call).await?;
        let quota = quota::hints(response.headers(), std::time::SystemTime::now());
        let mut answer = if request.stream && is_event_stream(&response) {
            self.streamed(response, &attempt).await?
        } else {
            self.whole(response, &attempt).await?
        };
        self.upstream.worked();
        answer.quota = quota;
        Ok(answer)
    }

    /// Reads a whole answer, and makes one chunk of it when the caller wants a stream that the server did not send.
    async fn whole(
        &self,
        response: Response,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let quota = quota::hints(response.headers(), std::time::SystemTime::now());
        let body = self.upstream.read(response).await?;
        let tokens = check(&body, quota)?;
        if attempt.request.stream {
            let chunks = of_answer(attempt.request.endpoint, &attempt.request.body, &body);
            let chunks = chunks.ok_or_else(|| unreadable(&body))?;
            return Ok(one_chunk::stream(chunks, tokens, attempt));
        }
        let mut answer = Answer::complete(ModelResponse::Whole(body));
        answer.tokens = tokens;
        Ok(answer)
    }

    /// Waits for the first event and leaves the rest to the tail.
    async fn streamed(
        &self,
        response: Response,
        attempt: &Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let mut source = Events {
            response,
            framer: Framer::new(self.upstream.event_size_max()),
            ended: false,
            started: false,
        };
        let first = source.head().await?;
        source.started = true;
        Ok(pump::stream(
            first,
            source,
            attempt.idle_timeout,
            attempt.cancelled.clone(),
        ))
    }
}

/// The events of one answer.
struct Events {
    response: Response,
    framer: Framer,
    /// The bytes have come to their end.
    ended: bool,
    /// The first event is with the caller: an error can no longer be a refusal.
    started: bool,
}

impl EventSource for Events {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(problem) = self.framer.problem() {
                return Err(self.lost(problem));
            }
            if self.framer.is_done() {
                return Ok(None);
            }
            if self.ended {
                return Err(Failure::new(
                    Outcome::Fault,
                    "the backend's stream ended before it was done",
                ));
            }
            let chunk = self
                .response
                .chunk()
                .await
                .map_err(|error| broke_off(&error))?;
            let events = if let Some(chunk) = chunk {
                self.framer.push(chunk)
            } else {
                self.ended = true;
                self.framer.end().0
            };
            if events.is_some() {
                return Ok(events);
            }
        }
    }

    fn tokens(&self) -> Option<u32> {
        Some(self.framer.tokens())
    }

    fn is_complete(&self) -> bool {
        self.framer.is_done()
    }

    /// Reads the body to its end, if that is near: then the connection can be used again.
    async fn finish(&mut self) {
        if self.ended {
            return;
        }
        let to_the_end = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        // A server that keeps the body open costs its connection, nothing else.
        self.ended = tokio::time::timeout(DRAIN_TIMEOUT, to_the_end)
            .await
            .is_ok();
    }
}

impl Events {
    /// Waits for the first events that say something. A chunk that only names the role is held back: servers send
    /// it before they have read the prompt, and until there is more the call can still be retried.
    async fn head(&mut self) -> Result<Bytes, Failure> {
        let mut held = BytesMut::new();
        for _ in 0..PREAMBLES_MAX {
            let Some(events) = self.next().await? else {
                break;
            };
            let speaks = !is_preamble(&events);
            if speaks && held.is_empty() {
                return Ok(events);
            }
            held.extend_from_slice(&events);
            if speaks {
                break;
            }
        }
        if held.is_empty() {
            return Err(Failure::new(
                Outcome::Fault,
                "the backend's stream ended before it began",
            ));
        }
        Ok(held.freeze())
    }

    fn lost(&self, problem: &Problem) -> Failure {
        match problem {
            Problem::Error(data) => {
                let outcome = classify_event(data);
                let begun = self.started && outcome.is_refusal();
                let said = String::from_utf8_lossy(&data[..data.len().min(200)]).into_owned();
                let message = format!("the backend reported an error in its stream: {said}");
                let mut failure =
                    Failure::new(if begun { Outcome::Fault } else { outcome }, message);
                if outcome == Outcome::Client {
                    failure = failure.with_status(400);
                    failure.body = Some(data.clone());
                }
                failure
            }
            Problem::TooLarge => Failure::new(
                Outcome::Fault,
                "an event of the backend's stream is too large",
            ),
            Problem::Garbage => Failure::new(
                Outcome::Fault,
                "the backend's stream holds data that are no JSON object",
            ),
        }
    }
}

/// Says whether the events are one chunk of which no choice says anything yet.
fn is_preamble(events: &[u8]) -> bool {
    let Some(data) = events.strip_prefix(b"data:") else {
        return false;
    };
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    let says_nothing = |choice: &Value| {
        let delta = choice["delta"].as_object();
        let silent =
            |(key, value): (&String, &Value)| key == "role" || value.is_null() || value == "";
        choice["finish_reason"].is_null() && delta.is_some_and(|delta| delta.iter().all(silent))
    };
    let choices = chunk["choices"].as_array();
    choices.is_some_and(|choices| !choices.is_empty() && choices.iter().all(says_nothing))
}

/// What is looked at in a whole answer; reading it proves that the rest is JSON.
#[derive(Deserialize)]
struct Looked<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    completion_tokens: Option<u32>,
}

/// Checks that a whole answer is one, and returns its output tokens.
fn check(body: &Bytes, quota: QuotaHints) -> Result<Option<u32>, Failure> {
    let looked: Looked<'_> = serde_json::from_slice(body).map_err(|_| unreadable(body))?;
    if looked.error.is_some() {
        let mut failure = Failure::new(
            classify_event(body),
            "the backend answered with an error under status 200",
        );
        failure.quota = quota;
        failure.body = Some(body.clone());
        return Err(failure);
    }
    Ok(looked.usage.and_then(|usage| usage.completion_tokens))
}

fn unreadable(body: &[u8]) -> Failure {
    let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
    Failure::new(
        Outcome::Fault,
        format!("the backend's answer cannot be read; it begins with `{start}`"),
    )
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests;
