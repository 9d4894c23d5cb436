//! The earlier responses that a call continues.

use kebne_context::store::Turn;
use kebne_wire::{mcp::McpItems, responses::KeptView};
use serde_json::Value;

/// Earlier responses that are sent with a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The turns, oldest first.
    pub(super) turns: Vec<Turn>,
    /// The number of earlier responses that were left out because they do not fit.
    pub left_out: usize,
}

impl History {
    /// Returns the number of responses that are sent.
    pub fn turns(&self) -> usize {
        self.turns.len()
    }

    /// Returns the requests and responses as chat messages, or `None` if one contains an item that chat does not have.
    pub fn messages(&self) -> Option<Vec<Value>> {
        fn read(kept: &KeptView<'_>) -> Option<Vec<Value>> {
            kept.messages()
        }
        self.joined(read)
    }

    /// Returns the requests and responses as items of the Responses API, or `None` if an earlier version of this
    /// program kept a part of them as chat messages only.
    pub fn items(&self) -> Option<Vec<Value>> {
        fn read(kept: &KeptView<'_>) -> Option<Vec<Value>> {
            kept.items()
        }
        self.joined(read)
    }

    /// Returns the calls on which callers were asked to decide, and the servers whose tools were listed.
    pub fn mcp_items(&self) -> McpItems {
        let mut items = McpItems::default();
        for turn in &self.turns {
            if let Some(kept) = KeptView::read(&turn.content.messages) {
                items.extend(kept.mcp_items());
            }
        }
        items
    }

    /// Returns the number of bytes that are kept of them.
    pub fn size(&self) -> usize {
        let sizes = self.turns.iter().map(|turn| turn.content.messages.len());
        sizes.sum()
    }

    fn joined(&self, read: impl Fn(&KeptView<'_>) -> Option<Vec<Value>>) -> Option<Vec<Value>> {
        let mut joined = Vec::new();
        for turn in &self.turns {
            joined.extend(read(&KeptView::read(&turn.content.messages)?)?);
        }
        Some(joined)
    }
}
