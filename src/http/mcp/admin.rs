//! `/admin/v1/mcp-servers`: the servers, their tools, and the approval of those that are held.

use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    gateway::GatewayError,
    http::{json_body, visit::Visit},
    surface::error::ApiError,
};

/// The body of an approval.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    /// The tool; all tools of the server without it.
    tool: Option<String>,
}

/// `GET /admin/v1/mcp-servers`.
pub(in crate::http) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let data = visit.state.gateway.mcp_reports();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /admin/v1/mcp-servers/{name}`.
pub(in crate::http) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let mut reports = visit.state.gateway.mcp_reports().into_iter();
    let report = reports.find(|report| report.name == name);
    let report = report.ok_or_else(|| unknown(&name))?;
    Ok(HttpResponse::Ok().json(report))
}

/// `POST /admin/v1/mcp-servers/{name}/approve`: approves a held tool, or all of them, as they are now.
pub(in crate::http) async fn approve(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let body = visit.body().await?;
    let Approval { tool } = json_body::object(&body)?;
    let approved = visit.state.gateway.mcp_approve(&name, tool.as_deref());
    let approved = match approved {
        Ok(approved) => approved.map_err(|error| ApiError::internal(error.to_string()))?,
        Err(GatewayError::UnknownBackend(_)) => return Err(unknown(&name)),
        Err(error) => return Err(ApiError::internal(error.to_string())),
    };
    if let Some(tool) = tool.filter(|_| approved.is_empty()) {
        let message = format!("no tool `{tool}` of the MCP server `{name}` is held");
        return Err(ApiError::not_found(message));
    }
    let shown: Value = json!({"server": name, "approved": approved});
    Ok(HttpResponse::Ok().json(shown))
}

fn unknown(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no MCP server `{name}`"))
}
