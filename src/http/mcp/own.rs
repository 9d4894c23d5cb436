//! The gateway's own tools and resources at `/mcp`: the search in collections, sessions, jobs, the explanation of routes, and the state.
//!
//! Each does what the HTTP API does, with the rights of the key.

mod jobs;
mod routes;
mod search;
mod sessions;
mod state;

use std::sync::Arc;

use actix_web::http::StatusCode;
use kebne_mcp::{CallEnding, Resource, Tool, ToolCall};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    audit_log::Access, caller::Caller, http::visit::Visit, settings::server::Scope,
    surface::error::ApiError,
};

/// What leads the names of these tools.
const PREFIX: &str = "kebne__";
/// The URI of the state.
const STATE_URI: &str = "kebne://state";

/// Returns the tools that a caller may use.
pub(super) fn tools(caller: &Caller) -> Vec<(String, Arc<Tool>)> {
    let mut tools = vec![
        search::tool(),
        sessions::list_tool(),
        sessions::turns_tool(),
        jobs::create_tool(),
        jobs::get_tool(),
        routes::tool(),
    ];
    if caller.require(Scope::ReadState).is_ok() {
        tools.push(state::tool());
    }
    let named = tools.into_iter();
    named
        .map(|tool| (format!("{PREFIX}{}", tool.name()), Arc::new(tool)))
        .collect()
}

/// Returns the resources that a caller may read.
pub(super) fn resources(caller: &Caller) -> Vec<Resource> {
    if caller.require(Scope::ReadState).is_err() {
        return Vec::new();
    }
    vec![Resource {
        uri: STATE_URI.to_owned(),
        name: "state".to_owned(),
        description: "The lanes of the gateway, and what they do.".to_owned(),
    }]
}

/// Calls a tool.
pub(super) async fn call(visit: &Visit, call: ToolCall) -> Result<Value, CallEnding> {
    let name = call.name.strip_prefix(PREFIX).unwrap_or_default();
    let accessed = accessed(name, &call.arguments);
    let arguments = Value::Object(call.arguments);
    let done = match name {
        "search" => search::call(visit, read_arguments(arguments)?).await,
        "sessions" => sessions::list(visit, read_arguments(arguments)?).await,
        "session_turns" => sessions::turns(visit, read_arguments(arguments)?).await,
        "create_job" => jobs::create(visit, &arguments).await,
        "get_job" => jobs::get(visit, read_arguments(arguments)?).await,
        "explain_route" => routes::explain(visit, arguments).await,
        "state" => state::read(visit).await,
        _ => Err(ApiError::not_found(format!(
            "there is no tool `{}`",
            call.name
        ))),
    };
    let status = done
        .as_ref()
        .map_or_else(ApiError::status, |_| StatusCode::OK);
    for (object, id, operation) in &accessed {
        let access = Access {
            object,
            id,
            part: "",
            operation,
        };
        visit.accessed(&access, status.as_u16());
    }
    let value = done.map_err(|error| CallEnding::Failed(error.message().to_owned()))?;
    Ok(result(&value))
}

/// Returns the result of a tool with a value.
pub(super) fn result(value: &Value) -> Value {
    json!({
        "content": [{"type": "text", "text": value.to_string()}],
        "structuredContent": value,
        "isError": false,
    })
}

/// Returns what a call uses that its tenant keeps, for the audit log: the kind, the id, and what is done.
fn accessed(
    name: &str,
    arguments: &Map<String, Value>,
) -> Vec<(&'static str, String, &'static str)> {
    let text = |key: &str| {
        let value = arguments.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    match name {
        "search" => {
            let ids = arguments.get("collections").and_then(Value::as_array);
            let ids = ids.into_iter().flatten().filter_map(Value::as_str);
            ids.map(|id| ("vector_stores", id.to_owned(), "search"))
                .collect()
        }
        "sessions" => vec![("sessions", String::new(), "list")],
        "session_turns" => vec![("sessions", text("session"), "read")],
        "create_job" => vec![("jobs", String::new(), "write")],
        "get_job" => vec![("jobs", text("id"), "read")],
        _ => Vec::new(),
    }
}

/// Reads a resource.
pub(super) async fn read(visit: &Visit, uri: &str) -> Result<String, CallEnding> {
    if uri != STATE_URI {
        return Err(CallEnding::Unknown(format!("there is no resource `{uri}`")));
    }
    let read = state::read(visit).await;
    let read = read.map_err(|error| CallEnding::Failed(error.message().to_owned()))?;
    Ok(read.to_string())
}

/// Reads the arguments of a call. An error names the argument.
pub(super) fn read_arguments<T: DeserializeOwned>(arguments: Value) -> Result<T, CallEnding> {
    let read = serde_path_to_error::deserialize(arguments);
    read.map_err(|error| CallEnding::Invalid(format!("the arguments do not fit: {error}")))
}

/// Creates the schema of arguments.
pub(super) fn schema(properties: &Value, required: &[&str]) -> Map<String, Value> {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}
