//! The caller of a request. Keys are known by their hash.

use std::{collections::HashMap, sync::Arc};

use actix_web::http::header::HeaderMap;
use sha2::{Digest, Sha256};

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
    /// The number by which the lanes know the tenant.
    pub(crate) tenant_number: u64,
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

/// The callers of a service, by the digests of their keys.
///
/// A key is looked up by its digest. The time of the lookup reveals nothing about another key, because nobody can choose
/// the digest of a guess.
#[derive(Debug)]
pub struct Callers {
    by_digest: HashMap<api_key::Digest, Arc<Caller>>,
    /// The caller of every request if no keys are set.
    anyone: Option<Arc<Caller>>,
}

impl Callers {
    /// Creates the callers of these keys.
    pub fn new(keys: &[KeySettings]) -> Self {
        let by_digest = keys.iter().filter_map(|key| {
            let digest = api_key::read_hash(&key.hash)?;
            Some((digest, Arc::new(Caller::of(key))))
        });
        Self {
            by_digest: by_digest.collect(),
            anyone: keys.is_empty().then(|| Arc::new(Caller::anyone())),
        }
    }

    /// Returns the caller behind the key of a request, whatever the key may do.
    ///
    /// # Errors
    /// Returns a 401 if keys are set and none of them was presented.
    pub fn of_headers(&self, headers: &HeaderMap) -> Result<Arc<Caller>, ApiError> {
        if let Some(anyone) = &self.anyone {
            return Ok(Arc::clone(anyone));
        }
        let key = presented_key(headers).ok_or_else(ApiError::unauthorized)?;
        let known = self.by_digest.get(&api_key::digest(key));
        known.cloned().ok_or_else(ApiError::unauthorized)
    }
}

impl Caller {
    fn of(key: &KeySettings) -> Self {
        let tenant = key.tenant().to_owned();
        Self {
            name: key.name.clone(),
            tenant_number: tenant_number(&[&tenant]),
            owner: tenant.clone(),
            tenant,
            priority: key.priority,
            weight: key.weight,
            names_tenants: key.names_tenants,
            scopes: key.scopes.clone(),
            models: key.models.clone(),
        }
    }

    fn anyone() -> Self {
        Self {
            name: String::new(),
            tenant: String::new(),
            tenant_number: tenant_number(&[""]),
            owner: String::new(),
            priority: 0,
            weight: 1.0,
            names_tenants: true,
            scopes: vec![Scope::Call, Scope::ReadState, Scope::Admin],
            models: None,
        }
    }
}

/// Returns the number of a tenant. The same names give the same number in every process, and a caller cannot choose
/// names that give another tenant's number.
pub(crate) fn tenant_number(names: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.len().to_le_bytes());
        hash.update(name.as_bytes());
    }
    let digest = hash.finalize();
    let first = digest.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(first)
}

#[cfg(test)]
impl Caller {
    /// Creates a caller with a tenant of this name.
    pub(crate) fn of_tenant(tenant: &str, priority: u8, weight: f64) -> Self {
        Self {
            name: tenant.to_owned(),
            tenant: tenant.to_owned(),
            tenant_number: tenant_number(&[tenant]),
            owner: String::new(),
            priority,
            weight,
            names_tenants: true,
            scopes: vec![Scope::Call],
            models: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn with_key(key: &str) -> HeaderMap {
        let value = HeaderValue::try_from(format!("Bearer {key}")).unwrap();
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    }

    #[test]
    fn a_caller_is_found_by_its_key_alone() {
        let key = |name: &str| KeySettings {
            name: name.to_owned(),
            hash: api_key::hash(&format!("key of {name}")),
            ..KeySettings::default()
        };
        let callers = Callers::new(&[key("ann"), key("bob")]);
        let name = |text: &str| {
            let caller = callers.of_headers(&with_key(text));
            caller.map(|caller| caller.name.clone())
        };
        assert_eq!(name("key of ann").unwrap(), "ann");
        assert_eq!(name("key of bob").unwrap(), "bob");
        for wrong in ["key of eve", &api_key::hash("key of ann"), "KEY OF ANN"] {
            assert_eq!(name(wrong).unwrap_err().status().as_u16(), 401, "{wrong}");
        }
        let error = callers.of_headers(&HeaderMap::new()).unwrap_err();
        assert_eq!(error.status().as_u16(), 401);
        let open = Callers::new(&[]).of_headers(&HeaderMap::new()).unwrap();
        assert_eq!(
            (open.name.as_str(), open.tenant_number),
            ("", tenant_number(&[""]))
        );
    }
}
