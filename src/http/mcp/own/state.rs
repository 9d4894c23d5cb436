//! The state of the gateway, for keys with the scope `read_state`.

use kebne_mcp::Tool;
use serde_json::{Map, Value, json};

use crate::{http::visit::Visit, settings::server::Scope, surface::error::ApiError};

pub(super) fn tool() -> Tool {
    let schema = super::schema(&Value::Object(Map::new()), &[]);
    let about = "Shows the lanes of the gateway: which backends serve, what waits, and what they have learned.";
    Tool::own("state", about, schema).read_only()
}

pub(super) async fn read(visit: &Visit) -> Result<Value, ApiError> {
    visit.caller.require(Scope::ReadState)?;
    let snapshot = visit.state.gateway.snapshot().await;
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "draining": visit.state.is_draining(),
        "lanes": snapshot.lanes,
        "health": snapshot.health,
        "fallbacks": snapshot.fallbacks,
        "mcp": visit.state.gateway.mcp_reports(),
    }))
}
