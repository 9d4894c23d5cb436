//! The backends of the gateway. Each uses one dialect with one model server and classifies the answers.
//!
//! An attempt results in one answer or one [`Failure`]. A backend does not retry, queue or count calls. The lane does
//! this; if a backend did it too, the load would multiply.

mod agent;
pub mod anthropic;
mod events;
pub(crate) mod failure;
pub mod function;
pub mod huggingface;
#[cfg(feature = "mcp")]
pub mod mcp;
pub mod ollama;
mod one_chunk;
pub mod openai;
pub(crate) mod owned;
mod pump;
pub mod reason;
#[cfg(feature = "lab")]
pub mod simulated;
pub(crate) mod upstream;
pub(crate) mod wake;

use std::sync::Arc;

use kebne_agents::Agents;
use kebne_lane::{Answer, Attempt, Backend, Failure};

use crate::{
    backend::upstream::CheckFailed,
    llm::{ModelRequest, ModelResponse},
    memory::ByteBudget,
    settings::{BackendKind, BackendSettings, Environment},
};
pub use agent::AgentBackend;
pub use anthropic::AnthropicBackend;
pub use function::{Function, FunctionBackend};
pub use huggingface::HuggingFaceBackend;
#[cfg(feature = "mcp")]
pub use mcp::McpBackend;
pub use ollama::OllamaBackend;
pub use openai::OpenAiBackend;
pub use owned::OwnedBackend;
#[cfg(feature = "lab")]
pub use simulated::SimulatedBackend;

/// The hidden command of this program that becomes a server.
pub(crate) const LAUNCH: &str = "launch";

/// One backend of the gateway.
#[derive(Debug)]
pub enum ModelBackend {
    /// A model inside this process.
    #[cfg(feature = "lab")]
    Simulated(Arc<SimulatedBackend>),
    /// A client of a server of the `OpenAI` dialect.
    OpenAi(Box<OpenAiBackend>),
    /// A client of Ollama.
    Ollama(Box<OllamaBackend>),
    /// A client of a text-generation inference server.
    HuggingFace(Box<HuggingFaceBackend>),
    /// A client of a server of the Messages API.
    Anthropic(Box<AnthropicBackend>),
    /// A client of a function.
    Function(Box<FunctionBackend>),
    /// A client of an MCP server.
    #[cfg(feature = "mcp")]
    Mcp(Box<McpBackend>),
    /// An agent inside this process.
    Agent(Box<AgentBackend>),
    /// A client of a server that the gateway starts and stops.
    Owned(Box<OwnedBackend<ModelBackend>>),
}

/// The reason why a backend cannot be created from its settings.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The environment variable for the API key is not set.
    #[error("backend `{backend}`: `api_key_env`: {}", not_set(variable))]
    NoKey {
        /// The backend.
        backend: String,
        /// The variable.
        variable: String,
    },
    /// The value of a setting is not possible; validated settings never cause this.
    #[error("backend `{backend}`: `{key}`: {reason}")]
    Setting {
        /// The backend.
        backend: String,
        /// The key.
        key: &'static str,
        /// The reason.
        reason: String,
    },
}

impl BuildError {
    /// Returns the key of the setting, below that of the backend.
    pub fn key(&self) -> &'static str {
        match self {
            Self::NoKey { .. } => "api_key_env",
            Self::Setting { key, .. } => key,
        }
    }

    /// Returns what is wrong, without the names of the backend and the key.
    pub fn reason(&self) -> String {
        match self {
            Self::NoKey { variable, .. } => not_set(variable),
            Self::Setting { reason, .. } => reason.clone(),
        }
    }
}

/// Describes a variable that is not set. The text is quoted only if it has the usual form of a name, such as
/// `MODEL_KEY`, because it may be the key itself.
fn not_set(variable: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if variable.contains('_') && variable.bytes().all(usual) {
        return format!("the environment variable `{variable}` is not set");
    }
    "the environment variable is not set; the value must be the name of a variable such as `MODEL_KEY`, not the key"
        .to_owned()
}

impl ModelBackend {
    /// Creates the backend of the settings. It must be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(
        settings: &BackendSettings,
        environment: &dyn Environment,
    ) -> Result<Self, BuildError> {
        match settings.kind {
            #[cfg(feature = "lab")]
            BackendKind::Simulated => {
                let profile = settings.simulation.profile();
                Ok(Self::Simulated(Arc::new(SimulatedBackend::new(profile))))
            }
            BackendKind::OpenAi => {
                let backend = OpenAiBackend::build(settings, environment)?;
                Ok(Self::OpenAi(Box::new(backend)))
            }
            BackendKind::Ollama => {
                let backend = OllamaBackend::build(settings, environment)?;
                Ok(Self::Ollama(Box::new(backend)))
            }
            BackendKind::HuggingFace => {
                let backend = HuggingFaceBackend::build(settings, environment)?;
                Ok(Self::HuggingFace(Box::new(backend)))
            }
            BackendKind::Anthropic => {
                let backend = AnthropicBackend::build(settings, environment)?;
                Ok(Self::Anthropic(Box::new(backend)))
            }
            BackendKind::Function => {
                let backend = FunctionBackend::build(settings, environment)?;
                Ok(Self::Function(Box::new(backend)))
            }
            #[cfg(feature = "mcp")]
            BackendKind::Mcp => {
                let backend = McpBackend::build(settings, environment)?;
                Ok(Self::Mcp(Box::new(backend)))
            }
            #[cfg(not(feature = "mcp"))]
            BackendKind::Mcp => Err(BuildError::Setting {
                backend: settings.name.clone(),
                key: "kind",
                reason: crate::settings::mcp::NOT_BUILT.to_owned(),
            }),
            BackendKind::Agent => Ok(Self::Agent(Box::new(AgentBackend::new(&settings.name)))),
        }
    }

    /// Has the backend of an agent run it.
    #[must_use]
    pub fn with_agents(mut self, agents: &Agents) -> Self {
        if let Self::Agent(backend) = &mut self {
            backend.connect(agents);
        }
        self
    }

    /// Charges the whole answers of this backend to `answers`.
    #[must_use]
    pub fn with_answer_budget(mut self, answers: &ByteBudget) -> Self {
        match &mut self {
            #[cfg(feature = "lab")]
            Self::Simulated(_) => {}
            Self::OpenAi(backend) => backend.charge_answers_to(answers),
            Self::Ollama(backend) => backend.charge_answers_to(answers),
            Self::HuggingFace(backend) => backend.charge_answers_to(answers),
            Self::Anthropic(backend) => backend.charge_answers_to(answers),
            Self::Function(backend) => backend.charge_answers_to(answers),
            // What it answers is bounded by its settings.
            #[cfg(feature = "mcp")]
            Self::Mcp(_) => {}
            // What it answers is in the store of agents, which bounds it.
            Self::Agent(_) => {}
            // Its client was made with a budget.
            Self::Owned(_) => {}
        }
        self
    }
}

impl ModelBackend {
    /// Asks a path of the server, from its root, whether it answers with success.
    ///
    /// # Errors
    /// Returns why it did not, without secrets.
    pub(crate) async fn check(&self, path: &str) -> Result<(), CheckFailed> {
        match self.client() {
            #[cfg(feature = "lab")]
            Self::Simulated(_) => Ok(()),
            Self::OpenAi(backend) => backend.upstream().check(path).await,
            Self::Ollama(backend) => backend.upstream().check(path).await,
            Self::HuggingFace(backend) => backend.upstream().check(path).await,
            Self::Anthropic(backend) => backend.upstream().check(path).await,
            Self::Function(backend) => backend.upstream().check(path).await,
            #[cfg(feature = "mcp")]
            Self::Mcp(_) => Ok(()),
            Self::Agent(_) => Ok(()),
            Self::Owned(_) => Err(CheckFailed::without_answer("it has no client".to_owned())),
        }
    }

    /// Returns the function that this backend calls, if it is one.
    pub(crate) fn function(&self) -> Option<&Arc<Function>> {
        match self {
            Self::Function(backend) => Some(backend.function()),
            _ => None,
        }
    }

    /// Returns the MCP server that this backend calls, if it is one.
    #[cfg(feature = "mcp")]
    pub(crate) fn mcp(&self) -> Option<&McpBackend> {
        match self {
            Self::Mcp(backend) => Some(backend),
            _ => None,
        }
    }

    /// Returns the client of the server.
    fn client(&self) -> &Self {
        match self {
            Self::Owned(owned) => owned.client(),
            client => client,
        }
    }
}

impl Backend for ModelBackend {
    type Request = ModelRequest;
    type Response = ModelResponse;

    async fn attempt(
        &self,
        attempt: Attempt<ModelRequest>,
    ) -> Result<Answer<ModelResponse>, Failure> {
        match self {
            #[cfg(feature = "lab")]
            Self::Simulated(backend) => backend.attempt(attempt).await,
            Self::OpenAi(backend) => backend.attempt(attempt).await,
            Self::Ollama(backend) => backend.attempt(attempt).await,
            Self::HuggingFace(backend) => backend.attempt(attempt).await,
            Self::Anthropic(backend) => backend.attempt(attempt).await,
            Self::Function(backend) => backend.attempt(attempt).await,
            #[cfg(feature = "mcp")]
            Self::Mcp(backend) => backend.attempt(attempt).await,
            Self::Agent(backend) => backend.attempt(attempt).await,
            Self::Owned(backend) => backend.attempt(attempt).await,
        }
    }
}

#[cfg(test)]
mod wire;
