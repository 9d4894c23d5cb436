//! Prepares a call of a tool of an MCP server.

use kebne_lane::Repeats;
use kebne_mcp::Fault;
use serde::Deserialize;

use crate::{gateway::Gateway, stages::shape::Shaped, surface::error::ApiError};

/// The tool that a body names.
#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Has only calls repeated whose tool declares that this is harmless.
///
/// # Errors
/// Returns a 404 for a tool that is not offered, and a 403 for one that is held.
pub(super) fn prepare(
    gateway: &Gateway,
    server: &str,
    shaped: &mut Shaped,
) -> Result<(), ApiError> {
    let named: Named = serde_json::from_slice(&shaped.request.body)
        .map_err(|error| ApiError::bad_request(None, format!("the body is not a call: {error}")))?;
    let options = &mut shaped.options;
    match gateway.mcp_tool(server, &named.name) {
        Ok(tool) => {
            if !tool.is_read_only() && !tool.is_idempotent() {
                options.repeats = Repeats::Undone;
            }
            options.hedge &= tool.is_read_only();
        }
        Err(error @ Fault::Held(_)) => return Err(ApiError::tool_held(error.to_string())),
        // The list of a server that is away is not known. Its lane holds the call.
        Err(_) => {
            options.repeats = Repeats::Undone;
            options.hedge = false;
        }
    }
    Ok(())
}
