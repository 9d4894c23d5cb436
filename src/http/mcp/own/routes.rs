//! The explanation of a route's decision.

use actix_web::body::to_bytes;
use bytes::Bytes;
use kebne_mcp::Tool;
use serde_json::{Value, json};

use crate::{
    http::{request_id, visit::Visit},
    stages::{self, Arrival, Body, Head},
    surface::{error::ApiError, openai::CHAT},
};

pub(super) fn tool() -> Tool {
    let schema = super::schema(
        &json!({
            "model": {"type": "string", "description": "The name of the route."},
            "messages": {"type": "array", "items": {"type": "object"}, "description": "The messages of a chat."},
        }),
        &["model", "messages"],
    );
    let about =
        "Explains which model a route would choose for a chat, and why. No model is called.";
    Tool::own("explain_route", about, schema).read_only()
}

pub(super) async fn explain(visit: &Visit, chat: Value) -> Result<Value, ApiError> {
    let body = visit.state.bodies.hold(Bytes::from(chat.to_string()))?;
    let arrival = Arrival {
        surface: &CHAT,
        id: request_id::of(&visit.http),
        head: Head::Request(visit.http.clone()),
        body: Body::Here(body),
    };
    let answer = Box::pin(stages::explain(&visit.state, arrival)).await;
    let status = answer.status();
    let unreadable = |_| ApiError::internal("the explanation cannot be read");
    let body = to_bytes(answer.into_body()).await.map_err(unreadable)?;
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(said);
    }
    let message = said.pointer("/error/message").and_then(Value::as_str);
    Err(ApiError::bad_request(
        None,
        message.unwrap_or("the call is refused"),
    ))
}
