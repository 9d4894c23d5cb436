//! Ollama: a server of the `OpenAI` dialect that loads its model inside the request.
//!
//! None of its statuses shows that a model is not loaded. Only the first token is late, by seconds or minutes, and
//! every call that arrives meanwhile occupies a place in its queue. `GET /api/ps` shows it before the call: if the
//! model is not among the loaded ones, the backend is cold, and the lane makes one call that wakes it and holds the
//! others. A server that has answered within `asleep_after` is not asked.

use std::{borrow::Cow, time::Duration};

use kebne_control::Outcome;
use kebne_lane::{Answer, Attempt, Failure};
use kebne_wire::splice;
use serde::Deserialize;

use crate::{
    backend::{BuildError, openai::OpenAiBackend, upstream::Upstream},
    llm::{ModelRequest, ModelResponse},
    memory::ByteBudget,
    settings::{BackendSettings, Environment},
};

/// The timeout of the list of loaded models, which a server returns at once from memory. After it, the call is made
/// without the list.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// The bytes of the list that are read; a model takes less than 1 KiB.
const LIST_SIZE_MAX: usize = 256 << 10;
/// The tag of a name without one.
const DEFAULT_TAG: &str = ":latest";

/// A client of one server.
#[derive(Debug)]
pub struct OllamaBackend {
    openai: OpenAiBackend,
}

/// The loaded models.
#[derive(Deserialize)]
struct Loaded {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
}

impl OllamaBackend {
    /// Creates the client of the settings.
    ///
    /// # Errors
    /// Returns an error if the key's variable is not set or the value of a setting is not possible.
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        let openai = OpenAiBackend::build(settings, environment)?;
        Ok(Self { openai })
    }

    /// Returns the server.
    pub(crate) fn upstream(&self) -> &Upstream {
        self.openai.upstream()
    }

    /// Charges whole answers to a budget.
    pub(crate) fn charge_answers_to(&mut self, answers: &ByteBudget) {
        self.openai.charge_answers_to(answers);
    }

    /// Makes one attempt.
    ///
    /// # Errors
    /// Returns a [`Failure`] with its class. After the first event, a loss is reported in the stream instead.
    pub async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        let upstream = self.openai.upstream();
        if !attempt.wake && attempt.request.direct.is_none() && !upstream.is_proven() {
            let own = splice::model_of(&attempt.request);
            let model = self.openai.model().unwrap_or(&own);
            if self.is_loaded(model).await == Some(false) {
                let message = format!("`{model}` is not among the loaded models");
                let failure = Failure::new(Outcome::Cold { estimated: None }, message);
                let mut failure = failure.safe_to_repeat();
                upstream.report(&mut failure, &attempt.request.request_id);
                return Err(failure);
            }
        }
        self.openai.attempt(attempt).await
    }

    /// Returns `true` if the server has loaded the model; `None` if the answer does not show it.
    async fn is_loaded(&self, model: &str) -> Option<bool> {
        let upstream = self.openai.upstream();
        let asked = upstream.get("/api/ps", LIST_SIZE_MAX);
        let list = tokio::time::timeout(ASK_TIMEOUT, asked).await.ok()??;
        let loaded: Loaded = serde_json::from_slice(&list).ok()?;
        let is_it = |name: &str| is_same(name, model);
        let mut models = loaded.models.iter();
        Some(models.any(|loaded| is_it(&loaded.name) || is_it(&loaded.model)))
    }
}

/// Returns `true` if two names are those of the same model. Case does not matter, and a name without a tag has the
/// default tag.
fn is_same(one: &str, other: &str) -> bool {
    with_tag(one).eq_ignore_ascii_case(&with_tag(other))
}

fn with_tag(name: &str) -> Cow<'_, str> {
    // A colon before a slash belongs to the host of a registry.
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        return name.into();
    }
    format!("{name}{DEFAULT_TAG}").into()
}

#[cfg(test)]
mod tests;
