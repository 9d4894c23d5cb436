//! What can go wrong between a model's name and an answer, and at the start.

use kebne_actors::AskError;
use kebne_context::ContextStartError;
use kebne_control::Outcome;
use kebne_lane::{CallError, PrewarmError};
use kebne_servers::Failing;

use crate::{backend::BuildError, sharing::ShareError};

/// The reason why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No backend of the model takes an input of the call.
    #[error("no backend of the model `{model}` takes `{}` inputs", input.name())]
    UnsupportedInput {
        /// The model.
        model: String,
        /// The input.
        input: kebne_wire::inputs::Input,
    },
    /// No model has this name.
    #[error("the model `{0}` does not exist")]
    UnknownModel(String),
    /// The replicas of the model are discovered, and none is known.
    #[error("no replica of the model `{0}` is known")]
    NoReplica(String),
    /// No backend has this name.
    #[error("the backend `{0}` does not exist")]
    UnknownBackend(String),
    /// The backend's server is not one that the gateway starts and stops.
    #[error(
        "the server of backend `{0}` is not started by the gateway: it has neither `[backends.process]` nor `[backends.hooks]`"
    )]
    NoServer(String),
    /// The backend's lane does not answer its operator.
    #[error("the lane of backend `{0}` does not answer")]
    NoAnswer(String),
    /// The backend was not woken.
    #[error("backend `{backend}`: {error}")]
    Prewarm {
        /// The backend.
        backend: String,
        /// Why not.
        #[source]
        error: PrewarmError,
    },
    /// The server that the gateway starts for the last lane that was tried fails again and again.
    #[error("lane `{lane}`: the model server does not start")]
    ServerFails {
        /// The lane.
        lane: String,
        /// How it fails, and when it is started again.
        failing: Failing,
    },
    /// The last lane that was tried has no answer.
    #[error("lane `{lane}`: {error}")]
    Call {
        /// The lane.
        lane: String,
        /// The reason.
        #[source]
        error: Box<CallError>,
        /// The reason code of the lane's last failed attempt, where it is why the lane does not serve.
        cause: Option<&'static str>,
    },
}

impl GatewayError {
    /// Returns `true` if the call was ended because the process stops.
    pub fn is_cut_off(&self) -> bool {
        let is_cut = |error: &CallError| matches!(error, CallError::Drained | CallError::Stopped);
        matches!(self, Self::Call { error, .. } if is_cut(error))
    }

    /// Returns `true` if the call itself is at fault, so that a retry would fail again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::UnsupportedInput { .. } => true,
            Self::Call { error, .. } => matches!(
                **error,
                CallError::Failed { ref failure, .. } if matches!(failure.outcome, Outcome::Client)
            ),
            // Models and backends come and go with the settings.
            Self::UnknownModel(_)
            | Self::UnknownBackend(_)
            | Self::NoReplica(_)
            | Self::NoServer(_)
            | Self::NoAnswer(_)
            | Self::Prewarm { .. }
            | Self::ServerFails { .. } => false,
        }
    }
}

/// The reason why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A backend cannot be made of its settings.
    #[error(transparent)]
    Backend(#[from] BuildError),
    /// The key of the session file cannot be read.
    #[error("`context.{key}`: {reason}")]
    Key {
        /// The setting that names its place.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// Sessions cannot be kept.
    #[error(transparent)]
    Context(#[from] ContextStartError),
    /// The store of answers cannot be used.
    #[error("`cache.{key}`: {reason}")]
    Cache {
        /// The setting below `cache`.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// Collections cannot be kept.
    #[error("`collections.{key}`: {reason}")]
    Collections {
        /// The setting that is to blame.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// Jobs cannot be kept.
    #[error("`jobs.{key}`: {reason}")]
    Jobs {
        /// The setting that is to blame.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// Runs of agents cannot be kept.
    #[error("`agent_store.{key}`: {reason}")]
    Agents {
        /// The setting that is to blame.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// The leases of shared backends cannot be kept.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// Prompts cannot be kept.
    #[error("`prompt_store.path`: {0}")]
    Prompts(String),
    /// A lane did not start.
    #[error("lane `{lane}`: {error}")]
    Lane {
        /// The lane.
        lane: String,
        /// The reason.
        #[source]
        error: kebne_lane::StartError,
    },
    /// The webhook of alerts cannot be made of its settings.
    #[error("`alerts.webhook`: {0}")]
    Webhook(String),
    /// A guard cannot be made of its settings.
    #[error("`guards`: {0}")]
    Guards(String),
    /// The actor system does not answer.
    #[error("an actor was not started: {0}")]
    Actor(#[from] AskError),
}
