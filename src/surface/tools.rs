//! Calls of tools of MCP servers: `{"name": …, "arguments": {…}}` in, the result of the tool out. The server is named beside the body.

use std::sync::Arc;

use bytes::Bytes;
use kebne_wire::{Endpoint, PassThrough};

use crate::surface::{Reading, Surface, error::ApiError, functions::FUNCTIONS};

/// The calls that `tools/call` at `/mcp`, and agents, make.
pub static TOOLS: Tools = Tools;

/// The operation on tools.
#[derive(Debug)]
pub struct Tools;

impl Surface for Tools {
    fn name(&self) -> &'static str {
        "mcp"
    }

    fn has_turns(&self) -> bool {
        false
    }

    fn calls_functions(&self) -> bool {
        true
    }

    fn calls_tools(&self) -> bool {
        true
    }

    fn read(
        &self,
        body: Bytes,
        content_type: Option<&str>,
        request_id: Arc<str>,
    ) -> Result<Reading, ApiError> {
        let mut reading = FUNCTIONS.read(body, content_type, request_id)?;
        reading.parsed.request.endpoint = Endpoint::PassThrough(PassThrough::Tool);
        Ok(reading)
    }

    fn error_body(&self, error: &ApiError, request_id: &str) -> Bytes {
        FUNCTIONS.error_body(error, request_id)
    }

    fn error_event(&self, error: &ApiError, request_id: &str) -> Bytes {
        FUNCTIONS.error_event(error, request_id)
    }
}
