//! The id of a request: the caller's own, or a new one. A request has the same id in its response and in all logs.

use std::sync::Arc;

use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

/// The longest id that is accepted from a caller.
const LENGTH_MAX: usize = 128;
/// The header with the id.
const NAME: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
struct RequestId(Arc<str>);

/// Gives an incoming request its id.
pub(super) fn assign(request: &ServiceRequest) -> Arc<str> {
    let id = choose(request.headers());
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    id
}

/// Returns the id of a request.
pub(super) fn of(request: &HttpRequest) -> Arc<str> {
    let assigned = request.extensions().get::<RequestId>().cloned();
    match assigned {
        Some(RequestId(id)) => id,
        None => choose(request.headers()),
    }
}

/// Adds the id of the request to its response.
pub(super) fn name(headers: &mut HeaderMap, id: &str) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(NAME, value);
    }
}

/// Returns the caller's id if it is short and printable, otherwise a new one.
fn choose(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(NAME).and_then(|id| id.to_str().ok());
    let usable = |id: &&str| {
        !id.is_empty() && id.len() <= LENGTH_MAX && id.bytes().all(|b| b.is_ascii_graphic())
    };
    match given.filter(usable) {
        Some(id) => id.into(),
        None => format!("req_{:032x}", fastrand::u128(..)).into(),
    }
}
