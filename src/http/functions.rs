//! The list of functions.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use crate::{
    backend::Function, http::visit::Visit, settings::FunctionSettings, surface::error::ApiError,
};

/// `GET /v1/functions`: the functions that the caller may call.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let functions = visit.state.gateway.functions();
    let mine = functions
        .iter()
        .filter(|function| visit.caller.may_call(&function.settings.name));
    let data: Vec<Value> = mine.map(|function| shown(function)).collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /v1/functions/{name}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let function = visit.state.gateway.function(&name);
    let function = function.filter(|_| visit.caller.may_call(&name));
    let function = function.ok_or_else(|| ApiError::unknown_function(&name))?;
    Ok(HttpResponse::Ok().json(shown(&function)))
}

/// Returns what callers see of a function: nothing of where it runs.
fn shown(function: &Function) -> Value {
    let FunctionSettings {
        name,
        description,
        read_only,
        idempotent,
        ..
    } = &function.settings;
    let schema = function.schema.as_ref().map(|schema| schema.shown());
    json!({
        "id": name,
        "object": "function",
        "name": name,
        "description": description,
        "input_schema": schema,
        "read_only": read_only,
        "idempotent": idempotent,
    })
}
