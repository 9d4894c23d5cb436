//! The errors of other modules as answers.

use std::time::Duration;

use actix_web::http::StatusCode;
use kebne_agents::{AgentError, StoreError as AgentStoreError};
use kebne_collections::{CollectionError, StoreError as CollectionStoreError, Thing};
use kebne_context::{ContextError, prompts::PromptStoreError, store::StoreError};
use kebne_jobs::{JobError, StoreError as JobStoreError};
use kebne_lane::Ending;
use kebne_monitor::UndoError;
use kebne_wire::{
    request::RequestError,
    translate::{BadAnswer, InvalidField},
    turn::TurnError,
};

use crate::{conversations::ConversationError, reload::ReloadError, surface::error::ApiError};

/// The time after which a queue of jobs may have room again: a few jobs are carried out in it.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(10);

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::bad_request(error.param.as_deref(), error.message)
    }
}

impl From<TurnError> for ApiError {
    fn from(error: TurnError) -> Self {
        Self::bad_request(Some(error.param), error.message)
    }
}

impl From<InvalidField> for ApiError {
    fn from(error: InvalidField) -> Self {
        Self::bad_request(Some(&error.field), error.to_string())
    }
}

impl From<BadAnswer> for ApiError {
    fn from(error: BadAnswer) -> Self {
        // The backend's text is in the log, because it may contain keys or names.
        match error {
            BadAnswer::Incomplete => Self::upstream("the backend's answer is incomplete"),
            BadAnswer::TooLarge(_) => {
                Self::upstream("the backend's answer is larger than this gateway accepts")
            }
            BadAnswer::NotJson(_) | BadAnswer::Lacks(_) | BadAnswer::Contradicts(_) => {
                Self::upstream("the backend's answer cannot be read")
            }
            BadAnswer::Reported(_) => Self::upstream("the backend failed"),
        }
    }
}

impl ApiError {
    /// The settings were not read again, or were refused.
    pub fn reload(error: &ReloadError) -> Self {
        let message = error.to_string();
        match error {
            ReloadError::Settings(_)
            | ReloadError::Contradiction { .. }
            | ReloadError::NoKeys
            | ReloadError::Start(_)
            | ReloadError::Compare(_) => Self::bad_request(None, message).code("settings_refused"),
            ReloadError::NoSource | ReloadError::Stopping => Self::conflict(message),
        }
    }
}

impl From<ConversationError> for ApiError {
    fn from(error: ConversationError) -> Self {
        let message = error.to_string();
        let param = "previous_response_id";
        match error {
            ConversationError::NotFound(_) => {
                let mut error = Self::not_found(message).code("response_not_found");
                error.param = Some(param.to_owned());
                error
            }
            ConversationError::TooLong => {
                Self::bad_request(Some(param), message).code("context_length_exceeded")
            }
            ConversationError::NoMemory => Self::no_memory(),
            ConversationError::TooLarge => Self::bad_request(Some("store"), message),
            ConversationError::NotKept(why) => Self::not_kept(why),
            ConversationError::Context(error) => error.into(),
        }
    }
}

impl From<ContextError> for ApiError {
    fn from(error: ContextError) -> Self {
        let message = error.to_string();
        let conflict = |status, code| {
            let error = Self::new(status, "invalid_request_error", message.clone());
            error.code(code).never()
        };
        match error {
            ContextError::Store(StoreError::NoSuchSession) => {
                let mut error = Self::not_found(message).code("session_not_found");
                error.param = Some("x-kebne-session".to_owned());
                error
            }
            ContextError::Store(StoreError::Full) => {
                conflict(StatusCode::TOO_MANY_REQUESTS, "too_many_sessions")
            }
            ContextError::Store(StoreError::BytesFull { .. }) => {
                conflict(StatusCode::TOO_MANY_REQUESTS, "session_bytes_full")
            }
            ContextError::Store(StoreError::TurnsFull) => {
                conflict(StatusCode::CONFLICT, "session_full")
            }
            ContextError::Store(StoreError::FactsFull { .. }) => {
                conflict(StatusCode::CONFLICT, "session_facts_full")
            }
            ContextError::Store(StoreError::Changed) => {
                let error = Self::new(StatusCode::CONFLICT, "invalid_request_error", message);
                error.code("session_changed")
            }
            ContextError::Store(StoreError::Damaged(_)) => {
                Self::internal("the data in the session store cannot be read")
                    .code("session_store_damaged")
                    .detail_of(&message)
                    .never()
            }
            ContextError::Store(StoreError::Failed(_) | StoreError::Busy | StoreError::Lost)
            | ContextError::NoAnswer(_) => {
                let away = StatusCode::SERVICE_UNAVAILABLE;
                let sentence = match error {
                    ContextError::Store(StoreError::Busy) => {
                        "the session store has too many questions now"
                    }
                    _ => "the session store does not answer",
                };
                Self::new(away, "service_unavailable_error", sentence)
                    .code("session_store_unavailable")
                    .detail_of(&message)
                    .after(None)
            }
        }
    }
}

impl From<PromptStoreError> for ApiError {
    fn from(error: PromptStoreError) -> Self {
        let message = error.to_string();
        match error {
            PromptStoreError::NoPrompt(_) | PromptStoreError::NoVersion(..) => {
                Self::not_found(message).code("prompt_not_found")
            }
            PromptStoreError::NoCall => Self::not_found(message).code("call_not_found"),
            PromptStoreError::Twice => Self::conflict(message).code("outcome_reported"),
            PromptStoreError::Full { .. } => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let full = Self::new(status, "invalid_request_error", message);
                full.code("prompt_store_full").never()
            }
            PromptStoreError::Damaged(_) => {
                Self::internal("the data in the store of prompts cannot be read")
                    .code("prompt_store_damaged")
                    .detail_of(&message)
                    .never()
            }
            PromptStoreError::Failed(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                "the store of prompts does not answer",
            )
            .code("prompt_store_unavailable")
            .detail_of(&message)
            .after(None),
        }
    }
}

impl From<CollectionError> for ApiError {
    fn from(error: CollectionError) -> Self {
        let message = error.to_string();
        match error {
            CollectionError::Store(CollectionStoreError::NotFound(thing)) => {
                Self::not_found(message).code(match thing {
                    Thing::Collection => "vector_store_not_found",
                    Thing::File | Thing::Member => "file_not_found",
                    Thing::Batch => "file_batch_not_found",
                })
            }
            CollectionError::Store(CollectionStoreError::NotListed(name)) => {
                Self::bad_request(Some(name), message)
            }
            CollectionError::Store(CollectionStoreError::Full { .. }) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let full = Self::new(status, "invalid_request_error", message);
                full.code("collections_full").never()
            }
            CollectionError::Store(CollectionStoreError::Damaged(_)) => {
                Self::internal("the data in the store of collections cannot be read")
                    .code("collections_damaged")
                    .detail_of(&message)
                    .never()
            }
            CollectionError::Store(CollectionStoreError::Failed(_))
            | CollectionError::NoAnswer(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                "the store of collections does not answer",
            )
            .code("collections_unavailable")
            .detail_of(&message)
            .after(None),
        }
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        let message = error.to_string();
        match error {
            JobError::Store(JobStoreError::NotFound(thing)) => {
                Self::not_found(message).code(if thing == "batch" {
                    "batch_not_found"
                } else {
                    "job_not_found"
                })
            }
            JobError::Store(JobStoreError::NotListed) => Self::bad_request(Some("after"), message),
            JobError::Store(JobStoreError::Full { .. }) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let full = Self::new(status, "requests", message);
                full.code("jobs_full")
                    .ending_in(Ending::Shed)
                    .after(Some(FULL_RETRY_AFTER))
            }
            JobError::Store(JobStoreError::OtherRequest) => {
                let mut error = Self::conflict(message).code("idempotency_key_reused");
                error.param = Some("idempotency-key".to_owned());
                error.never()
            }
            JobError::Store(JobStoreError::Damaged(_)) => {
                Self::internal("the data in the store of jobs cannot be read")
                    .code("jobs_damaged")
                    .detail_of(&message)
                    .never()
            }
            JobError::Store(JobStoreError::Failed(_)) | JobError::NoAnswer(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "service_unavailable_error",
                "the store of jobs does not answer",
            )
            .code("jobs_unavailable")
            .detail_of(&message)
            .after(None),
        }
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> Self {
        let message = error.to_string();
        match error {
            AgentError::Store(AgentStoreError::NotFound(thing)) => {
                Self::not_found(message).code(if thing == "agent" {
                    "agent_not_found"
                } else {
                    "run_not_found"
                })
            }
            AgentError::NoAgent(_) => Self::not_found(message).code("agent_not_found"),
            AgentError::Store(AgentStoreError::NotListed) => {
                Self::bad_request(Some("after"), message)
            }
            AgentError::Store(AgentStoreError::Full(..)) => Self::agents_full(message),
            AgentError::TooLarge(_) => Self::bad_request(Some("input"), message),
            AgentError::NeedsAnswer => Self::bad_request(Some("answer"), message),
            AgentError::Invalid(error) => {
                let message = format!("`{}` {}", error.path, error.message);
                Self::bad_request(Some(&error.path), message)
            }
            AgentError::NotWaiting(_) => Self::conflict(message).code("call_does_not_wait").never(),
            AgentError::HasEnded => Self::conflict(message).code("run_has_ended").never(),
            AgentError::OfSettings(_) => Self::conflict(message).code("agent_of_settings").never(),
            AgentError::Store(AgentStoreError::Damaged(_)) => Self::agents_damaged(&message),
            AgentError::Store(AgentStoreError::Failed(_)) | AgentError::Actor(_) => {
                Self::agents_unavailable(&message)
            }
        }
    }
}

impl ApiError {
    /// The tenant has as many runs or agents as it may.
    pub fn agents_full(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "requests", message)
            .code("agents_full")
            .ending_in(Ending::Shed)
            .after(Some(FULL_RETRY_AFTER))
    }

    /// What the store of agents holds cannot be read. The detail is for the log.
    pub fn agents_damaged(detail: &str) -> Self {
        Self::internal("the data in the store of agents cannot be read")
            .code("agents_damaged")
            .detail_of(&detail)
            .never()
    }

    /// The store of agents does not answer. The detail is for the log.
    pub fn agents_unavailable(detail: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            "the store of agents does not answer",
        )
        .code("agents_unavailable")
        .detail_of(&detail)
        .after(None)
    }
}

impl ApiError {
    /// A job has not ended, or has ended without an answer.
    pub fn no_response(message: impl Into<String>) -> Self {
        Self::conflict(message).code("job_has_no_response")
    }

    /// The answer to a job is larger than those that are kept.
    pub fn result_too_large(limit: usize) -> Self {
        let message = format!("the answer has more than {limit} bytes (`jobs.result_size_max`)");
        Self::new(StatusCode::BAD_GATEWAY, "server_error", message)
            .code("result_too_large")
            .never()
    }
}

impl From<CollectionStoreError> for ApiError {
    fn from(error: CollectionStoreError) -> Self {
        CollectionError::from(error).into()
    }
}

impl ApiError {
    /// The action of this number cannot be undone.
    pub fn from_undo(error: UndoError, id: &str) -> Self {
        match error {
            UndoError::Unknown => {
                Self::not_found(format!("there is no action `{id}`")).code("action_not_found")
            }
            UndoError::NotActive => {
                let message = format!(
                    "the action `{id}` is not in force: it was only suggested, is over, or was undone"
                );
                Self::new(StatusCode::CONFLICT, "invalid_request_error", message)
                    .code("action_not_active")
            }
        }
    }
}
