//! The list of functions.

use actix_web::HttpResponse;
use kebne_functions::InputSchema;
use serde_json::{Value, json};

use crate::{
    backend::Function, function_events::LetterError, http::visit::Visit,
    settings::FunctionSettings, surface::error::ApiError,
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

/// `GET /admin/v1/functions/{name}/dead-letters`: the events that could not be delivered to a function, the oldest first.
pub(super) async fn letters(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let data = match visit.state.function_events.get() {
        Some(events) => events
            .letters_of(&name)
            .await
            .map_err(|error| refused(&error))?,
        None => Vec::new(),
    };
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `POST /admin/v1/functions/{name}/dead-letters/deliver`: has them delivered again.
pub(super) async fn deliver_again(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let count = match visit.state.function_events.get() {
        Some(events) => events
            .deliver_again(&name)
            .await
            .map_err(|error| refused(&error))?,
        None => 0,
    };
    Ok(HttpResponse::Ok().json(json!({"function": name, "delivered_again": count})))
}

/// `DELETE /admin/v1/functions/{name}/dead-letters`: removes them.
pub(super) async fn remove_letters(visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let count = match visit.state.function_events.get() {
        Some(events) => events
            .remove_letters(&name)
            .await
            .map_err(|error| refused(&error))?,
        None => 0,
    };
    Ok(HttpResponse::Ok().json(json!({"function": name, "removed": count})))
}

fn refused(error: &LetterError) -> ApiError {
    match error {
        LetterError::NoFunction(_) => ApiError::not_found(error.to_string()),
        LetterError::File(_) => {
            ApiError::internal("the file of dead letters cannot be used").detail_of(error)
        }
    }
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
    let schema = function.schema.as_ref().map(InputSchema::shown);
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
