//! Adapts answers to callers of HTTP/1.0, which supports neither chunked bodies nor persistent connections by default.
//!
//! `ab`, old proxies and health checkers still use it. A body of unknown length is sent unchanged, and ends with the
//! connection.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{ConnectionType, Version},
    middleware::Next,
};

/// Writes answers to HTTP/1.0 callers without chunks, and closes the connection.
pub(super) async fn without_chunks<B: MessageBody + 'static>(
    http: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let is_old = http.request().version() < Version::HTTP_11;
    let mut answer = next.call(http).await?;
    if is_old {
        let head = answer.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(answer)
}
