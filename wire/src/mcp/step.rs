//! The steps with tools of MCP servers that an answer reports.

use serde_json::Value;

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub enum McpStep {
    /// The tools of a server were listed.
    Listed {
        /// The label of the server.
        label: String,
        /// The tools, each with `name`, `description`, `input_schema` and `annotations`.
        tools: Vec<Value>,
        /// Why they could not be listed.
        error: Option<String>,
    },
    /// A call of a tool begins.
    Begun {
        /// The key of the call, unique in its answer.
        call: String,
        /// The label of the server.
        label: String,
        /// The tool.
        name: String,
        /// The arguments as JSON text.
        arguments: String,
        /// The id of the request by which it was approved.
        approval: Option<String>,
    },
    /// A call of a tool has ended.
    Ended {
        /// The key of the call.
        call: String,
        /// How it has ended.
        ending: McpEnding,
    },
    /// A call of a tool waits for an approval of the caller.
    Asked {
        /// The label of the server.
        label: String,
        /// The tool.
        name: String,
        /// The arguments as JSON text.
        arguments: String,
    },
}

/// How a call of a tool has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum McpEnding {
    /// With a result.
    Output(String),
    /// Without one.
    Error(String),
}
