//! Ids of jobs, batches and notices.

use crate::model::StoreError;

/// Returns a new id that nobody can guess.
pub(crate) fn new_id(prefix: &str) -> Result<String, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| StoreError::Failed(error.to_string()))?;
    Ok(format!("{prefix}{}", hex::encode(id)))
}
