//! `POST /admin/v1/reload`: reads the settings again.

use actix_web::HttpResponse;
use serde_json::json;

use crate::{http::visit::Visit, reload::Asked, surface::error::ApiError};

/// Answers with what has changed and what needs a restart, or with the errors of the settings.
pub(super) async fn reload(visit: Visit) -> Result<HttpResponse, ApiError> {
    let reloaded = visit.state.reloader.reload(Asked::ByApi).await;
    let report = reloaded.map_err(|error| ApiError::reload(&error))?;
    let mut body = json!(report);
    if let Some(body) = body.as_object_mut() {
        body.insert("object".to_owned(), json!("settings.reload"));
    }
    Ok(HttpResponse::Ok().json(body))
}
