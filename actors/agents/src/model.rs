//! What answers an agent: the trait [`Model`].

use std::{sync::Arc, time::Duration};

use kebne_quota::Money;
use serde::{Deserialize, Serialize};

use crate::{
    message::{Message, ToolCall},
    tool::ToolSpec,
    work::Work,
};

/// A model that answers with text or with calls of tools.
pub trait Model: Send + Sync {
    /// Asks the model once. The future is dropped if the run ends meanwhile.
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>>;
}

/// One question to a model.
#[derive(Clone)]
pub struct Ask {
    /// The run.
    pub run: Arc<str>,
    /// The number of the step, from 1.
    pub step: u32,
    /// The conversation, the instructions first.
    pub messages: Vec<Message>,
    /// The tools that it may call.
    pub tools: Vec<ToolSpec>,
    /// The tokens that are left in the budget of the run. An answer should not be longer.
    pub tokens_left: u64,
    /// `true` if somebody reads the text while it is written.
    pub is_followed: bool,
    /// Takes pieces of text as they arrive. A model that does not stream need not use it.
    pub text: TextSink,
}

/// Takes pieces of text.
pub type TextSink = Arc<dyn Fn(&str) + Send + Sync>;

/// The answer of a model. Without calls it ends the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// The calls of tools that it asks for.
    pub calls: Vec<ToolCall>,
    /// What it has used.
    pub usage: Usage,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of input.
    pub input_tokens: u64,
    /// Tokens of output.
    pub output_tokens: u64,
    /// The cost, in units of the currency.
    pub cost: Money,
}

/// The reason why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// The reason, in words that the caller of the run may see.
    pub message: String,
    /// The time after which it may be asked again; `None` if it would fail in the same way.
    pub again_after: Option<Duration>,
    /// The reason for programs; `None` if the message is enough. It is that of a run that ends because of it.
    pub code: Option<String>,
}

impl Reply {
    /// Creates an answer that is only text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Creates an answer that calls one tool.
    pub fn call(id: &str, name: &str, arguments: &serde_json::Value) -> Self {
        Self::calls([(id, name, arguments)])
    }

    /// Creates an answer that calls tools, each given by the id of the call, its name and its arguments.
    pub fn calls<'a>(
        calls: impl IntoIterator<Item = (&'a str, &'a str, &'a serde_json::Value)>,
    ) -> Self {
        let calls = calls.into_iter().map(|(id, name, arguments)| ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_string(),
        });
        Self {
            calls: calls.collect(),
            ..Self::default()
        }
    }

    /// Returns the answer with what it has used.
    #[must_use]
    pub fn using(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        self.usage.input_tokens = input_tokens;
        self.usage.output_tokens = output_tokens;
        self
    }
}

impl Usage {
    /// Returns the tokens of input and output.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Returns the sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost: self.cost.saturating_add(other.cost),
        }
    }
}

impl ModelError {
    /// Creates the error of a model that would fail again.
    pub fn last(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            again_after: None,
            code: None,
        }
    }

    /// Creates the error of a model that may be asked again.
    pub fn again(message: impl Into<String>, after: Duration) -> Self {
        Self {
            message: message.into(),
            again_after: Some(after),
            code: None,
        }
    }

    /// Adds the reason for programs.
    #[must_use]
    pub fn because(mut self, code: Option<String>) -> Self {
        self.code = code;
        self
    }
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ask")
            .field("run", &self.run)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}
