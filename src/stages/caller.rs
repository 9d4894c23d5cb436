//! Who calls: keys are known by their hash and compared in constant time.

use actix_web::http::header::HeaderMap;
use subtle::ConstantTimeEq;

use crate::{
    api_key,
    settings::server::KeySettings,
    surface::{any_key, error::ApiError},
};

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The key's name; empty when no keys are set.
    pub name: String,
    /// Whose turn its calls take: the key's tenant; empty when no keys are set.
    pub tenant: String,
    /// Whom the caller's sessions belong to: the key's tenant, so that a rotated key keeps them; empty when no keys are
    /// set.
    pub owner: String,
    /// The first band that its calls may use.
    pub priority: u8,
    /// Its share against other tenants'.
    pub weight: f64,
    /// It may name tenants of its own.
    pub names_tenants: bool,
}

/// Returns the caller behind the key of a request, in whichever header it comes.
///
/// # Errors
/// As [`of_key`].
pub fn of(headers: &HeaderMap, keys: &[KeySettings]) -> Result<Caller, ApiError> {
    of_key(any_key(headers), keys)
}

/// Returns the caller behind a key.
///
/// # Errors
/// A 401 when keys are set and none of them was presented.
pub fn of_key(presented: Option<&str>, keys: &[KeySettings]) -> Result<Caller, ApiError> {
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
    let hash = api_key::hash(presented.ok_or_else(ApiError::unauthorized)?);
    let mut found = None;
    // Every key is compared, so that the time tells nothing of which one it was.
    for key in keys {
        if bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            found = Some(Caller {
                name: key.name.clone(),
                tenant: key.tenant().to_owned(),
                owner: key.tenant().to_owned(),
                priority: key.priority,
                weight: key.weight,
                names_tenants: key.names_tenants,
            });
        }
    }
    found.ok_or_else(ApiError::unauthorized)
}
