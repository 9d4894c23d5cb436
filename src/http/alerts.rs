//! `GET /v1/alerts`: what is wrong now, and what was.

use std::time::Duration;

use actix_web::HttpResponse;
use kebne_monitor::GetAlerts;

use crate::{http::visit::Visit, surface::error::ApiError};

/// The time within which the monitor must answer; it has nothing else to do.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /v1/alerts`: the open alerts and the last closed ones, each with its sentence and the action to take.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let monitor = visit.state.gateway.monitor();
    let alerts = monitor.ask(GetAlerts, ASK_TIMEOUT).await;
    let alerts = alerts
        .map_err(|error| ApiError::internal("the monitor does not answer").detail_of(&error))?;
    Ok(HttpResponse::Ok().json(alerts))
}
