//! The errors of the Messages API.

use serde_json::{Value, json};

/// The type of an error, as in `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid.
    InvalidRequest,
    /// The key is not valid.
    Authentication,
    /// There is a problem with the account's payment.
    Billing,
    /// The key does not permit the request.
    Permission,
    /// The requested resource does not exist.
    NotFound,
    /// The request is too large.
    RequestTooLarge,
    /// The caller has exceeded a limit.
    RateLimit,
    /// The answer did not arrive in time.
    Timeout,
    /// The server failed.
    Api,
    /// The server has no capacity.
    Overloaded,
}

/// Each type with its name and its status.
const TABLE: [(ErrorKind, &str, u16); 10] = [
    (ErrorKind::InvalidRequest, "invalid_request_error", 400),
    (ErrorKind::Authentication, "authentication_error", 401),
    (ErrorKind::Billing, "billing_error", 402),
    (ErrorKind::Permission, "permission_error", 403),
    (ErrorKind::NotFound, "not_found_error", 404),
    (ErrorKind::RequestTooLarge, "request_too_large", 413),
    (ErrorKind::RateLimit, "rate_limit_error", 429),
    (ErrorKind::Api, "api_error", 500),
    (ErrorKind::Timeout, "timeout_error", 504),
    (ErrorKind::Overloaded, "overloaded_error", 529),
];

impl ErrorKind {
    /// Returns the type of an answer with this status.
    pub fn of_status(status: u16) -> Self {
        let known = TABLE.iter().find(|(_, _, own)| *own == status);
        match (known, status) {
            (Some((kind, _, _)), _) => *kind,
            // The backend has no capacity: it is cold, broken or draining.
            (None, 503) => Self::Overloaded,
            (None, 408) => Self::Timeout,
            (None, 400..500) => Self::InvalidRequest,
            (None, _) => Self::Api,
        }
    }

    /// Returns the type with this name, or `None` if the name is unknown.
    pub fn of_name(name: &str) -> Option<Self> {
        let known = TABLE.iter().find(|(_, own, _)| *own == name);
        known.map(|(kind, _, _)| *kind)
    }

    /// Returns the name of the type.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the status of the type.
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, u16) {
        let known = TABLE.iter().find(|(kind, _, _)| *kind == self);
        debug_assert!(known.is_some(), "the table contains every type");
        known.unwrap_or(&TABLE[7])
    }
}

/// Returns the body of an error.
pub fn error_body(kind: ErrorKind, message: &str, request_id: &str) -> Value {
    json!({
        "type": "error",
        "error": {"type": kind.name(), "message": message},
        "request_id": request_id,
    })
}

/// Returns the event that reports an error within a stream. Nothing follows it.
pub fn error_event(kind: ErrorKind, message: &str, request_id: &str) -> String {
    format!(
        "event: error\ndata: {}\n\n",
        error_body(kind, message, request_id)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_name_and_one_status() {
        for (kind, name, status) in TABLE {
            assert_eq!((kind.name(), kind.status()), (name, status));
            assert_eq!(ErrorKind::of_name(name), Some(kind));
            assert_eq!(ErrorKind::of_status(status), kind);
        }
    }

    #[test]
    fn statuses_without_a_type_take_the_nearest() {
        let table = [
            (405, ErrorKind::InvalidRequest),
            (408, ErrorKind::Timeout),
            (409, ErrorKind::InvalidRequest),
            (502, ErrorKind::Api),
            (503, ErrorKind::Overloaded),
        ];
        for (status, kind) in table {
            assert_eq!(ErrorKind::of_status(status), kind, "{status}");
        }
    }
}
