//! `/v1/agents`: the agents of the settings, and those that callers create.

pub(in crate::http) mod events;
pub(in crate::http) mod runs;

use actix_web::HttpResponse;
use bytes::Bytes;
use kebne_agents::AgentSpec;
use serde_json::{Map, Value, json};

use crate::{
    agents::shown_agent,
    http::{json_body, visit::Visit},
    surface::error::ApiError,
};

/// `POST /v1/agents`.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body().await?;
    let spec: AgentSpec = json_body::object(&body)?;
    if own(&visit, &spec.name).await?.is_some() {
        let message = format!("there is an agent `{}` already", spec.name);
        return Err(ApiError::conflict(message));
    }
    put(&visit, spec).await
}

/// `GET /v1/agents`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let shared = visit.state.agent_specs.all();
    let shared = shared
        .iter()
        .filter(|spec| visit.caller.may_call(&spec.name));
    let mut data: Vec<Value> = shared.map(|spec| shown_agent(spec, "settings")).collect();
    let own = visit.state.agents.own(visit.owner()).await?;
    data.extend(own.iter().map(|spec| shown_agent(spec, "own")));
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /v1/agents/{name}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let (spec, source) = found(&visit, &name).await?;
    Ok(HttpResponse::Ok().json(shown_agent(&spec, source)))
}

/// `POST /v1/agents/{name}`: changes the fields in the body.
pub(super) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let body = visit.body().await?;
    let (spec, source) = found(&visit, &name).await?;
    if source == "settings" {
        return Err(kebne_agents::AgentError::OfSettings(name).into());
    }
    let changes: Map<String, Value> = json_body::object(&body)?;
    if changes.get("name").is_some_and(|new| *new != json!(name)) {
        let message = "`name` cannot be changed; create another agent";
        return Err(ApiError::bad_request(Some("name"), message));
    }
    let mut fields = serde_json::to_value(&spec).unwrap_or_default();
    if let Value::Object(fields) = &mut fields {
        fields.extend(changes);
    }
    let changed = Bytes::from(fields.to_string());
    put(&visit, json_body::object(&changed)?).await
}

/// `DELETE /v1/agents/{name}`.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    visit.state.agents.remove(visit.owner(), &name).await?;
    Ok(HttpResponse::Ok().json(json!({"object": "agent.deleted", "name": name, "deleted": true})))
}

async fn put(visit: &Visit, spec: AgentSpec) -> Result<HttpResponse, ApiError> {
    // The rest is checked behind it; what an agent names would be found at its first run only.
    require_what_it_names(visit, &spec).await?;
    let shown = shown_agent(&spec, "own");
    let is_new = visit.state.agents.put(visit.owner(), spec).await?;
    Ok(if is_new {
        HttpResponse::Created().json(shown)
    } else {
        HttpResponse::Ok().json(shown)
    })
}

/// Checks that the model, the tools and the other agents of an agent exist and may be used by the caller, as those of the settings are checked.
async fn require_what_it_names(visit: &Visit, spec: &AgentSpec) -> Result<(), ApiError> {
    let gateway = &visit.state.gateway;
    if !spec.model.is_empty() {
        let model = visit.require_model(&spec.model)?;
        let leads = match visit.state.routes.of(&model) {
            Some(route) => route
                .router()
                .models()
                .any(|model| gateway.runs_agent(model)),
            None => gateway.runs_agent(&model),
        };
        if leads {
            let message =
                "`model` must not be an agent or lead to one; give it tasks with `agents`";
            return Err(ApiError::bad_request(Some("model"), message));
        }
    }
    for name in &spec.tools {
        if gateway.function(name).is_some() {
            visit.caller.require_model(name)?;
            continue;
        }
        #[cfg(feature = "mcp")]
        if let Some(server) = gateway.mcp_server_of(name) {
            visit.caller.require_model(&server)?;
            continue;
        }
        let message = format!("`tools`: there is no function or MCP server for `{name}`");
        return Err(ApiError::bad_request(Some("tools"), message));
    }
    for (key, names) in [("agents", &spec.agents), ("hand_offs", &spec.hand_offs)] {
        for name in names.iter().filter(|name| **name != spec.name) {
            let other = visit.state.agents.find(visit.owner(), name).await;
            if other.map_err(kebne_agents::AgentError::from)?.is_none() {
                let message = format!("`{key}`: there is no agent `{name}`");
                return Err(ApiError::bad_request(Some(key), message));
            }
        }
    }
    Ok(())
}

async fn own(visit: &Visit, name: &str) -> Result<Option<AgentSpec>, ApiError> {
    let own = visit.state.agents.store().agent(visit.owner(), name).await;
    own.map_err(|error| kebne_agents::AgentError::from(error).into())
}

/// Returns an agent that the caller may use, and whose it is.
async fn found(visit: &Visit, name: &str) -> Result<(AgentSpec, &'static str), ApiError> {
    if let Some(spec) = visit.state.agent_specs.of(name) {
        visit.caller.require_model(name)?;
        return Ok((spec, "settings"));
    }
    let own = own(visit, name).await?;
    let missing = || kebne_agents::AgentError::NoAgent(name.to_owned());
    Ok((own.ok_or_else(missing)?, "own"))
}
