//! Who calls: keys are known by their hash and compared in constant time.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::{api_key, http::error::ApiError, settings::server::KeySettings};

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The key's name; empty when no keys are set.
    pub name: String,
    /// Whose turn its calls take: the key's tenant; empty when no keys are set.
    pub tenant: String,
    /// Whom the caller's sessions belong to: the key's hash, so that a new key of the same name is somebody
    /// else; empty when no keys are set.
    pub owner: String,
    /// The first band that its calls may use.
    pub priority: u8,
    /// Its share against other tenants'.
    pub weight: f64,
    /// It may name tenants of its own.
    pub names_tenants: bool,
}

/// Says who calls.
///
/// # Errors
/// A 401 when keys are set and none of them was given.
pub fn caller(headers: &HeaderMap, keys: &[KeySettings]) -> Result<Caller, ApiError> {
    if keys.is_empty() {
        return Ok(Caller {
            name: String::new(),
            tenant: String::new(),
            owner: String::new(),
            priority: 0,
            weight: 1.0,
            names_tenants: true,
        });
    }
    let header = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = header.and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let hash = api_key::hash(given.ok_or_else(ApiError::unauthorized)?);
    let mut found = None;
    // Every key is compared, so that the time tells nothing of which one it was.
    for key in keys {
        if bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            found = Some(Caller {
                name: key.name.clone(),
                tenant: key.tenant.as_ref().unwrap_or(&key.name).clone(),
                owner: key.hash.clone(),
                priority: key.priority,
                weight: key.weight,
                names_tenants: key.names_tenants,
            });
        }
    }
    found.ok_or_else(ApiError::unauthorized)
}
