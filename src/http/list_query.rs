//! `limit` and `after` in the query of a list.

use kebne_context::{ContextError, store::StoreError};

use crate::surface::error::ApiError;

/// Returns the number of items that a caller asks for, or `default` without a `limit`.
///
/// # Errors
/// Returns a 400 that names `limit` if it is not a whole number from 1 to `max`.
pub(super) fn limit(text: Option<String>, max: usize, default: usize) -> Result<usize, ApiError> {
    let limit = text.map_or(Some(default), |text| text.parse().ok());
    let limit = limit.filter(|limit| (1..=max).contains(limit));
    limit.ok_or_else(|| {
        let message = format!("`limit` must be a whole number from 1 to {max}");
        ApiError::bad_request(Some("limit"), message)
    })
}

/// Returns the error of a list: the one item that the store looks for is the one that `after` names.
pub(super) fn error(error: ContextError) -> ApiError {
    match error {
        ContextError::Store(StoreError::NoSuchSession) => ApiError::bad_request(
            Some("after"),
            "`after` must be the id of an item of the list",
        ),
        error => error.into(),
    }
}
