//! The errors of the Messages API.

use serde_json::{Value, json};

/// The type of an error, as in `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    InvalidRequest,
    /// The key is wrong.
    Authentication,
    /// There is a problem with the account's payment.
    Billing,
    /// The key does not allow this.
    Permission,
    /// There is no such thing.
    NotFound,
    /// The request is too large.
    RequestTooLarge,
    /// The caller is over a limit.
    RateLimit,
    /// The answer did not come in time.
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
    /// Returns the type that an answer with this status has.
    pub fn of_status(status: u16) -> Self {
        let known = TABLE.iter().find(|(_, _, own)| *own == status);
        match (known, status) {
            (Some((kind, _, _)), _) => *kind,
            // No capacity: cold, broken, draining.
            (None, 503) => Self::Overloaded,
            (None, 408) => Self::Timeout,
            (None, 400..500) => Self::InvalidRequest,
            (None, _) => Self::Api,
        }
    }

    /// Reads the name of a type.
    pub fn of_name(name: &str) -> Option<Self> {
        let known = TABLE.iter().find(|(_, own, _)| *own == name);
        known.map(|(kind, _, _)| *kind)
    }

    /// Returns the name of the type.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the status that belongs to the type.
    pub fn status(self) -> u16 {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, u16) {
        let known = TABLE.iter().find(|(kind, _, _)| *kind == self);
        debug_assert!(known.is_some(), "the table has every type");
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
