//! What an agent can do: the trait [`Tool`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::work::Work;

/// Something that an agent can have done. Functions, collections and remote tools implement it.
pub trait Tool: Send + Sync {
    /// Describes the tool.
    fn spec(&self) -> &ToolSpec;

    /// Does it once. The future is dropped if the run ends meanwhile, or if the time for a call is over.
    fn call<'a>(&'a self, call: &'a Call) -> Work<'a, Result<String, ToolError>>;
}

/// The description of a tool, for the model and for the loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
    /// `true` if it changes nothing, so that it may be repeated.
    pub read_only: bool,
    /// `true` if it does the same thing once however often it is called with the same [`Call::key`].
    pub idempotent: bool,
}

/// One call of a tool.
#[derive(Clone, Debug)]
pub struct Call {
    /// The run.
    pub run: Arc<str>,
    /// The owner of the run.
    pub owner: Arc<str>,
    /// Who has started the run, as the program names it.
    pub caller: Arc<str>,
    /// The id of the call.
    pub id: String,
    /// The key of the call, the same when the call is repeated after a crash and another one for each other call.
    pub key: String,
    /// The arguments, a JSON object.
    pub arguments: Value,
}

/// The reason why a call has no result. The model reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

impl ToolSpec {
    /// Creates the description of a tool that changes something and takes no arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            parameters: serde_json::json!({"type": "object", "properties": {}}),
            ..Self::default()
        }
    }

    /// Sets the JSON schema of the arguments.
    #[must_use]
    pub fn parameters(mut self, parameters: Value) -> Self {
        self.parameters = parameters;
        self
    }

    /// Declares that the tool changes nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Declares that the tool is idempotent by the key of the call.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Returns `true` if a call whose result is unknown may be made again.
    pub fn is_repeatable(&self) -> bool {
        self.read_only || self.idempotent
    }
}

/// A tool made of a function that answers at once.
pub struct FnTool<F> {
    spec: ToolSpec,
    function: F,
}

impl<F> FnTool<F>
where
    F: Fn(&Value) -> Result<String, String> + Send + Sync + 'static,
{
    /// Creates the tool.
    pub fn new(spec: ToolSpec, function: F) -> Self {
        Self { spec, function }
    }
}

impl<F> Tool for FnTool<F>
where
    F: Fn(&Value) -> Result<String, String> + Send + Sync + 'static,
{
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Call) -> Work<'a, Result<String, ToolError>> {
        Box::pin(async { (self.function)(&call.arguments).map_err(ToolError) })
    }
}

impl<F> std::fmt::Debug for FnTool<F> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FnTool")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
