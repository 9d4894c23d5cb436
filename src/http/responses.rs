//! Retrieval and deletion of kept responses by their owner.

use actix_web::HttpResponse;
use serde_json::json;

use crate::{
    http::{kept::Room, visit::Visit},
    surface::error::ApiError,
};

/// `GET /v1/responses/{id}`.
pub(super) async fn read(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let settings = &state.context_settings;
    let (size_max, wait) = (settings.turn_size_max.0, settings.answer_timeout.0);
    let room = Room::of(state.gateway.answers(), size_max, wait).await?;
    let conversations = &state.conversations;
    let response = conversations
        .read(visit.owner(), &visit.parameter(), &mut state.bodies.room())
        .await?;
    Ok(room.answer(response))
}

/// `DELETE /v1/responses/{id}`.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    let conversations = &visit.state.conversations;
    let mut room = visit.state.bodies.room();
    conversations.remove(visit.owner(), &id, &mut room).await?;
    let gone = json!({"id": id, "object": "response", "deleted": true});
    Ok(HttpResponse::Ok().json(gone))
}
