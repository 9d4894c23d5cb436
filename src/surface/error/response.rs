//! The response of an error.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};

use super::{
    ApiError,
    retry::{Retry, hint},
};
use crate::surface::{Surface, passed};

impl ApiError {
    /// Returns the response in the dialect of `surface`; `chance`, in `[0, 1)`, spreads the hint.
    pub fn response(&self, surface: &dyn Surface, request_id: &str, chance: f64) -> HttpResponse {
        let mut response = HttpResponse::build(surface.status(self));
        for header in self
            .headers
            .iter()
            .flat_map(|headers| passed(surface, headers))
        {
            response.append_header(header);
        }
        response.insert_header(("x-kebne-reason", self.reason()));
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                response.insert_header(("x-should-retry", "false"));
            }
            Retry::After(after) => {
                let (seconds, millis) = hint(after, chance);
                response.insert_header((header::RETRY_AFTER, seconds));
                response.insert_header(("retry-after-ms", millis));
            }
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if self.leaves_body_unread() {
            response.force_close();
        }
        response
            .content_type(header::ContentType::json())
            .body(surface.error_body(self, request_id))
    }

    /// Returns `true` if the rest of the request's body may never arrive or is not needed, so that the connection is
    /// closed.
    fn leaves_body_unread(&self) -> bool {
        let unread = [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE];
        unread.contains(&self.status) || self.code == Some("bodies_full")
    }
}
