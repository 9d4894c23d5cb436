//! Blocks of thinking in a Messages request.

use serde_json::Value;

/// Returns `true` for a block of thinking that proves its origin.
pub(super) fn is_signed(block: &Value) -> bool {
    let proof = match block["type"].as_str() {
        Some("thinking") => &block["signature"],
        Some("redacted_thinking") => &block["data"],
        _ => &Value::Null,
    };
    proof.as_str().is_some_and(|proof| !proof.is_empty())
}
