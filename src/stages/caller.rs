//! The caller of a request. Keys are known by their hash and compared in constant time.

use actix_web::http::header::HeaderMap;
use subtle::ConstantTimeEq;

use crate::{
    api_key,
    settings::server::{KeySettings, Scope},
    surface::{error::ApiError, presented_key},
};

/// The caller of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The name of the key; empty if no keys are set.
    pub name: String,
    /// The tenant of its calls; empty if no keys are set.
    pub tenant: String,
    /// The owner of its sessions: the key's tenant, so that a rotated key keeps them. Empty if no keys are set.
    pub owner: String,
    /// The highest priority that its calls may use; 0 is the highest.
    pub priority: u8,
    /// Its share relative to other tenants.
    pub weight: f64,
    /// `true` if it may name its own tenants.
    pub names_tenants: bool,
    /// Its permissions.
    scopes: Vec<Scope>,
    /// The models that it may call; `None` for all.
    models: Option<Vec<String>>,
}

impl Caller {
    /// Checks that the caller has a permission.
    ///
    /// # Errors
    /// Returns a 403 that names the scope.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(ApiError::insufficient_scope(scope.name()))
    }

    /// Returns `true` if the caller may call a model, given by its own name.
    pub fn may_call(&self, model: &str) -> bool {
        let models = self.models.as_ref();
        models.is_none_or(|models| models.iter().any(|allowed| allowed == model))
    }

    /// Returns `true` if the caller may call every model.
    pub fn may_call_all(&self) -> bool {
        self.models.is_none()
    }

    /// Checks that the caller may call a model, given by its own name.
    ///
    /// # Errors
    /// Returns a 403 that names the model.
    pub fn require_model(&self, model: &str) -> Result<(), ApiError> {
        if self.may_call(model) {
            return Ok(());
        }
        Err(ApiError::model_not_allowed(model))
    }
}

/// Returns the caller behind the key of a request, whatever the key may do.
///
/// # Errors
/// Returns a 401 if keys are set and none of them was presented.
pub fn of_headers(headers: &HeaderMap, keys: &[KeySettings]) -> Result<Caller, ApiError> {
    if keys.is_empty() {
        return Ok(Caller {
            name: String::new(),
            tenant: String::new(),
            owner: String::new(),
            priority: 0,
            weight: 1.0,
            names_tenants: true,
            scopes: vec![Scope::Call, Scope::ReadState, Scope::Admin],
            models: None,
        });
    }
    let hash = api_key::hash(presented_key(headers).ok_or_else(ApiError::unauthorized)?);
    let mut found = None;
    // Every key is compared, so that the time does not reveal which one matched.
    for key in keys {
        if bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            found = Some(Caller {
                name: key.name.clone(),
                tenant: key.tenant().to_owned(),
                owner: key.tenant().to_owned(),
                priority: key.priority,
                weight: key.weight,
                names_tenants: key.names_tenants,
                scopes: key.scopes.clone(),
                models: key.models.clone(),
            });
        }
    }
    found.ok_or_else(ApiError::unauthorized)
}

#[cfg(test)]
impl Caller {
    /// Creates a caller with a tenant of this name.
    pub(super) fn of_tenant(tenant: &str, priority: u8, weight: f64) -> Self {
        Self {
            name: tenant.to_owned(),
            tenant: tenant.to_owned(),
            owner: String::new(),
            priority,
            weight,
            names_tenants: true,
            scopes: vec![Scope::Call],
            models: None,
        }
    }
}
