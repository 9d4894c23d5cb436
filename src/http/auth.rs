//! Who calls: keys are known by their hash and compared in constant time.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::{cli::key, http::error::ApiError, settings::server::KeySettings};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's name; empty when no keys are set.
    pub name: String,
    /// The key's place among the keys, from 1; 0 when no keys are set.
    pub tenant: u64,
    /// Whom the caller's sessions belong to: the key's hash, so that a new key of the same name is somebody
    /// else; empty when no keys are set.
    pub owner: String,
}

/// Says who calls.
///
/// # Errors
/// A 401 when keys are set and none of them was given.
pub fn caller(headers: &HeaderMap, keys: &[KeySettings]) -> Result<Caller, ApiError> {
    if keys.is_empty() {
        return Ok(Caller {
            name: String::new(),
            tenant: 0,
            owner: String::new(),
        });
    }
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = header.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let hash = key::hash(given.ok_or_else(ApiError::unauthorized)?);
    let mut found = None;
    // Every key is compared, so that the time tells nothing of which one it was.
    for (tenant, key) in (1..).zip(keys) {
        if bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            found = Some(Caller {
                name: key.name.clone(),
                tenant,
                owner: key.hash.clone(),
            });
        }
    }
    found.ok_or_else(ApiError::unauthorized)
}
