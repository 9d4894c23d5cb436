//! Headers that steer a call. Each may be sent once: of two values, a proxy and this service could follow different ones.

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::surface::error::ApiError;

/// Returns the text of a header.
///
/// # Errors
/// Returns a 400 that names the header if it is sent more than once, or is not plain text.
pub(super) fn text<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, ApiError> {
    // A static name needs no allocation.
    let mut values = headers.get_all(HeaderName::from_static(name));
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let wrong = |what: &str| ApiError::bad_request(Some(name), format!("`{name}` {what}"));
    if values.next().is_some() {
        return Err(wrong("is sent more than once"));
    }
    let text = value.to_str();
    text.map(Some).map_err(|_| wrong("is not plain text"))
}
