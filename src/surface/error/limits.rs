//! The errors of calls that exceed a limit of their key or of a group above it.

use actix_web::http::StatusCode;
use kebne_accounts::Denied;
use kebne_lane::Ending;
use kebne_quota::Exceeded;

use super::ApiError;

impl ApiError {
    /// The call exceeds a limit of its key or of a group above it.
    pub fn over_limit(denied: &Denied) -> Self {
        let account = &denied.account;
        let account = match account.split_once('/') {
            Some(("group", name)) => format!("the group `{name}`"),
            _ => "this key".to_owned(),
        };
        let (kind, message) = match denied.exceeded {
            Exceeded::Tokens(period) | Exceeded::Money(period) => {
                let period = period.name();
                let message =
                    format!("the budget of {account} for this {period} has no room for this call");
                return Self::too_many("insufficient_quota", message)
                    .code("insufficient_quota")
                    .never();
            }
            Exceeded::RequestsPerMinute => (
                "requests",
                format!("{account} has used up its calls per minute"),
            ),
            Exceeded::TokensPerMinute => (
                "tokens",
                format!("{account} has used up its tokens per minute"),
            ),
            Exceeded::AtOnce => (
                "requests",
                format!("{account} has as many calls in progress as it may"),
            ),
        };
        Self::too_many(kind, message)
            .code("rate_limit_exceeded")
            .after(denied.retry_after)
    }

    fn too_many(kind: &'static str, message: String) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, kind, message).ending_in(Ending::Shed)
    }

    /// The store of accounts did not make a change.
    pub fn account_store(error: &kebne_accounts::StoreError) -> Self {
        let message = "the store of accounts is unavailable; nothing was changed";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "service_unavailable_error", message)
            .code("account_store_unavailable")
            .after(None)
            .detail_of(error)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kebne_quota::Period;

    use super::*;

    #[test]
    fn a_budget_is_never_retried_and_a_rate_says_when() {
        for (exceeded, code, kind, is_retried) in [
            (
                Exceeded::Tokens(Period::Day),
                "insufficient_quota",
                "insufficient_quota",
                false,
            ),
            (
                Exceeded::Money(Period::Month),
                "insufficient_quota",
                "insufficient_quota",
                false,
            ),
            (
                Exceeded::RequestsPerMinute,
                "rate_limit_exceeded",
                "requests",
                true,
            ),
            (
                Exceeded::TokensPerMinute,
                "rate_limit_exceeded",
                "tokens",
                true,
            ),
            (Exceeded::AtOnce, "rate_limit_exceeded", "requests", true),
        ] {
            let error = ApiError::over_limit(&Denied {
                account: "group/search".into(),
                exceeded,
                retry_after: Some(Duration::from_secs(7)),
                room: kebne_quota::Room::default(),
            });
            assert_eq!((error.status().as_u16(), error.reason()), (429, code));
            assert_eq!(error.body()["error"]["type"], kind);
            assert!(error.message().contains("`search`"), "{}", error.message());
            assert_eq!(error.ending(), Ending::Shed);
            let response = error.response(&crate::surface::openai::CHAT, "id", 0.0);
            let headers = response.headers();
            assert_eq!(headers.contains_key("retry-after"), is_retried);
            assert_eq!(headers.contains_key("x-should-retry"), !is_retried);
        }
    }
}
