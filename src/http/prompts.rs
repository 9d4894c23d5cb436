//! The list of prompts, and previews of their text for given values.

use actix_web::HttpResponse;
use kebne_context::prompts::PromptInput;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{http::visit::Visit, surface::error::ApiError};

/// The largest body of a preview, in bytes; it is parsed into a tree.
const PREVIEW_MAX: usize = 1 << 20;

/// The values of a preview; all of them are optional.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Preview {
    /// The session whose metadata is used.
    session: Option<String>,
    /// Metadata in place of the session's.
    metadata: Option<serde_json::Map<String, Value>>,
    /// The call's body.
    request: serde_json::Map<String, Value>,
    /// The text of the caller's last message.
    input: String,
}

/// `GET /v1/prompts`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let prompts = visit.state.prompts.get();
    let each = prompts.list().into_iter();
    let data: Vec<Value> = each
        .map(|(name, uses)| json!({"object": "prompt", "name": name, "variables": uses}))
        .collect();
    let list = json!({"object": "list", "data": data, "has_more": false});
    Ok(HttpResponse::Ok().json(list))
}

/// `POST /v1/prompts/{name}/render`.
pub(super) async fn render(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let name = visit.parameter();
    let body = visit.body_of_at_most(PREVIEW_MAX).await?;
    let preview: Preview = if body.is_empty() {
        Preview::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            ApiError::bad_request(None, format!("the body cannot be read: {error}"))
        })?
    };
    let context = &visit.state.context;
    let of_session = match &preview.session {
        Some(id) => Some(context.read(visit.owner(), id).await?),
        None => None,
    };
    let metadata = match (preview.metadata, of_session) {
        (Some(metadata), _) => metadata.into(),
        (None, Some(session)) => json!(session.details.metadata),
        (None, None) => json!({}),
    };
    let input = PromptInput {
        session: metadata,
        request: preview.request.into(),
        input: preview.input,
    };
    let text = visit.state.prompts.get().render(&name, &input);
    let text = text.map_err(|error| ApiError::prompt(&error))?;
    let shown = json!({"object": "prompt.rendered", "name": name, "text": text});
    Ok(HttpResponse::Ok().json(shown))
}
