//! The errors of kept and shared answers.

use actix_web::http::StatusCode;
use kebne_answer_cache::CacheError;
use kebne_lane::Ending;

use super::ApiError;

impl ApiError {
    /// The caller wants an answer from the cache only, and there is none.
    pub fn not_cached() -> Self {
        let message = "there is no kept answer to this call, and `cache-control: only-if-cached` allows no other";
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "invalid_request_error",
            message,
        )
        .code("not_cached")
        .ending_in(Ending::Rejected)
        .never()
    }

    /// The caller reads a shared answer more slowly than it can be held.
    pub fn too_slow(message: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "service_unavailable_error",
            message,
        )
        .code("read_too_slowly")
        .after(None)
    }
}

impl From<CacheError> for ApiError {
    fn from(error: CacheError) -> Self {
        let message = "the store of answers is unavailable";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable_error", message)
            .code("cache_unavailable")
            .after(None)
            .detail_of(&error)
    }
}
