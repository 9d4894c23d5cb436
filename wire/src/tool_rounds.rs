//! A chat call that is answered in several rounds: the model asks for tools, the gateway calls them, the model reads the results.
//!
//! [`Conversation`] makes the request of each round, [`Round`] reads its answer, and [`RoundsAnswer`] makes one chat answer of all rounds. Which tools are
//! called, and by whom, is not decided here.

mod answer;
mod conversation;
mod round;

pub use answer::{Head, RoundsAnswer};
pub use conversation::Conversation;
pub use round::{Round, RoundCall, RoundEnd};

use bytes::Bytes;

use crate::mcp::McpStep;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum RoundsPart {
    /// Events of a chat stream.
    Events(Bytes),
    /// A step with a tool.
    Step(McpStep),
}
