//! The audit log: one line for each request that changes the service or deletes what a caller keeps here.
//!
//! The lines are part of the log (target `kebne::audit`, level `info`). Requests that were refused are written too.

use std::net::IpAddr;

use actix_web::{HttpRequest, http::Method};

use crate::{settings::server::Scope, surface::error::ApiError};

/// Returns `true` if a request is written to the audit log: those that need the scope `admin`, and deletions.
pub fn includes(scope: Scope, method: &Method) -> bool {
    scope == Scope::Admin || *method == Method::DELETE
}

/// Writes the line of a request: who (the name of the key, empty without keys, and the client's address), what, and the
/// result.
pub fn write(
    http: &HttpRequest,
    id: &str,
    (key, client): (&str, Option<IpAddr>),
    result: Result<u16, &ApiError>,
) {
    let (status, reason) = match result {
        Ok(status) => (status, ""),
        Err(error) => (error.status().as_u16(), error.reason()),
    };
    let peer = client.map(|client| client.to_string());
    tracing::info!(
        target: "kebne::audit",
        request = id,
        key,
        peer = peer.unwrap_or_default(),
        method = http.method().as_str(),
        path = http.path(),
        status,
        reason,
        "an administrative request ended",
    );
}
