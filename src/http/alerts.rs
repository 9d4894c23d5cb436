//! What is wrong now and what was, and the way to undo what the gateway did about it.

use std::time::Duration;

use actix_web::HttpResponse;
use kebne_actors::AskError;
use kebne_monitor::{GetAlerts, Undo, UndoError};

use crate::{http::visit::Visit, surface::error::ApiError};

/// The time within which the monitor must answer; it has nothing else to do.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /v1/alerts`: the open alerts and the last closed ones, each with its sentence and the action to take, and what
/// the gateway did by itself.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let monitor = visit.state.gateway.monitor();
    let alerts = monitor.ask(GetAlerts, ASK_TIMEOUT).await;
    let alerts = alerts.map_err(no_answer)?;
    Ok(HttpResponse::Ok().json(alerts))
}

/// `POST /v1/alerts/actions/{id}/undo`: undoes what the gateway did by itself, and keeps it from doing it again for an
/// hour.
pub(super) async fn undo(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    let number = id.parse();
    let number = number.map_err(|_| ApiError::from_undo(UndoError::Unknown, &id))?;
    let monitor = visit.state.gateway.monitor();
    let undone = monitor.ask(Undo(number), ASK_TIMEOUT).await;
    let undone = undone.map_err(no_answer)?;
    let action = undone.map_err(|error| ApiError::from_undo(error, &id))?;
    Ok(HttpResponse::Ok().json(action))
}

fn no_answer(error: AskError) -> ApiError {
    ApiError::internal("the monitor does not answer").detail_of(&error)
}
