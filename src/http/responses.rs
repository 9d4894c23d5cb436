//! Retrieval and deletion of kept responses by their owner.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Path},
};
use serde_json::json;

use crate::{http::admin::respond, stages::caller, state::State, surface::error::ApiError};

/// `GET /v1/responses/{id}`.
pub(super) async fn read(http: HttpRequest, id: Path<String>, state: Data<State>) -> HttpResponse {
    let found = async {
        let caller = caller::of(http.headers(), &state.settings.keys)?;
        let response = state.conversations.read(&caller.owner, &id).await?;
        let mut answer = HttpResponse::Ok();
        let answer = answer.content_type(header::ContentType::json());
        Ok::<_, ApiError>(answer.body(response))
    };
    respond(&http, found.await)
}

/// `DELETE /v1/responses/{id}`.
pub(super) async fn remove(
    http: HttpRequest,
    id: Path<String>,
    state: Data<State>,
) -> HttpResponse {
    let removed = async {
        let caller = caller::of(http.headers(), &state.settings.keys)?;
        state.conversations.remove(&caller.owner, &id).await?;
        let gone = json!({"id": *id, "object": "response", "deleted": true});
        Ok::<_, ApiError>(HttpResponse::Ok().json(gone))
    };
    respond(&http, removed.await)
}
