//! What an agent and its model say to each other.

use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// The instructions.
    System {
        /// The text.
        text: String,
    },
    /// What a user says.
    User {
        /// The text.
        text: String,
    },
    /// What the model answered.
    Assistant {
        /// The text; empty if it only calls tools.
        text: String,
        /// The calls of tools.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// The result of a call.
    Tool {
        /// The id of the call.
        call: String,
        /// The result.
        text: String,
    },
}

/// A call of a tool that a model asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id, unique in its run.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments as JSON text, as the model wrote it.
    pub arguments: String,
}

impl Message {
    /// Creates the message of a user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::User { text: text.into() }
    }

    /// Creates an answer without calls.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::Assistant {
            text: text.into(),
            calls: Vec::new(),
        }
    }
}
