//! The reasons why a step was not done.

use kebne_seal::{DamagedKey, SealError, WrapError};
use rusqlite::ErrorCode;

use crate::store::StoreError;

/// The reason why a step was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        Self::Store(StoreError::Failed(error.to_string()))
    }
}

impl From<DamagedKey> for Problem {
    fn from(error: DamagedKey) -> Self {
        Self::Store(StoreError::Damaged(error.to_string()))
    }
}

impl From<WrapError> for Problem {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Damaged(error) => error.into(),
            WrapError::Seal(error) => error.into(),
        }
    }
}

impl Problem {
    /// Returns `true` if another connection holds a lock, so that a later try may succeed.
    pub(super) fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else {
            return false;
        };
        let code = error.sqlite_error_code();
        matches!(
            code,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
        )
    }
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Store(error) => error,
            Problem::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Self::Damaged(error.to_string())
                }
                _ => Self::Failed(error.to_string()),
            },
        }
    }
}
