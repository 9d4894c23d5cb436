//! The caller of a request. Keys are known by their hash.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use actix_web::http::header::HeaderMap;
use kebne_accounts::{Accounts, StoredKey};
use kebne_quota::AccountId;
use sha2::{Digest, Sha256};

use crate::{
    api_key,
    current::Current,
    gateway::behalf::{Behalf, Payer, Payers},
    settings::server::{KeySettings, Scope},
    surface::{error::ApiError, presented_key},
};

/// The beginning of the ids of keys of the settings.
pub(crate) const SETTINGS_PREFIX: &str = "settings:";

/// Returns the name of the account of a key of the settings. That of a stored key is its id.
pub(crate) fn settings_account(name: &str) -> String {
    format!("{SETTINGS_PREFIX}{name}")
}

/// The caller of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The id of the key, by which its jobs know it: `settings:` and its name, or the id of a stored key. Empty if no keys are set.
    pub id: String,
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
    /// The accounts in which its calls count: that of its key, and the groups above it. Empty if no keys are set.
    pub(crate) accounts: Arc<[AccountId]>,
    /// `true` if the tokens of its calls must be known because of a limit.
    pub(crate) needs_usage: bool,
    /// The group of its key and the groups above it.
    pub(crate) groups: Arc<[String]>,
    /// The guards of its key and of the groups above it, by their names.
    pub(crate) guards: Arc<[String]>,
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
    /// Those of the settings.
    set: Current<Set>,
    /// Those of the keys that were created while the service runs.
    stored: RwLock<Stored>,
    accounts: Accounts,
    /// The account of the key that each owner has used last for something that goes on in the background.
    last_used: Mutex<HashMap<String, AccountId>>,
}

/// The callers of the keys of the settings.
#[derive(Debug)]
struct Set {
    by_digest: HashMap<api_key::Digest, Arc<Caller>>,
    /// The names of the keys.
    names: Vec<String>,
    /// The caller of every request if there are no keys.
    anyone: Option<Arc<Caller>>,
}

/// The callers of stored keys.
#[derive(Debug, Default)]
struct Stored {
    /// Each with the time after which it is not accepted, in seconds since 1970.
    by_digest: HashMap<api_key::Digest, (Arc<Caller>, Option<u64>)>,
    ids: Vec<String>,
}

impl Callers {
    /// Creates the callers of the keys of the settings, with an account for each.
    pub fn new(keys: &[KeySettings], accounts: &Accounts) -> Self {
        Self {
            set: Current::new(Set::new(keys, accounts)),
            stored: RwLock::default(),
            accounts: accounts.clone(),
            last_used: Mutex::default(),
        }
    }

    /// Replaces the callers of the keys of the settings. Accounts of keys that are gone are closed; what their running calls
    /// use still counts in their groups.
    pub fn set_keys(&self, keys: &[KeySettings]) {
        let before = self.set.replace(Set::new(keys, &self.accounts));
        let is_kept = |name: &&String| keys.iter().any(|key| key.name == **name);
        for name in before.names.iter().filter(|name| !is_kept(name)) {
            self.accounts.close(&settings_account(name));
        }
        self.forget_owners_without_keys();
    }

    /// Returns the caller behind the key of a request, whatever the key may do.
    ///
    /// # Errors
    /// Returns a 401 if keys are set and none of them was presented.
    pub fn of_headers(&self, headers: &HeaderMap) -> Result<Arc<Caller>, ApiError> {
        let set = self.set.get();
        if let Some(anyone) = &set.anyone {
            return Ok(Arc::clone(anyone));
        }
        let key = presented_key(headers).ok_or_else(ApiError::unauthorized)?;
        let digest = api_key::digest(key);
        let known = set.by_digest.get(&digest).cloned();
        let known = known.or_else(|| self.of_stored(&digest));
        known.ok_or_else(ApiError::unauthorized)
    }

    /// Returns the caller of a key that is still accepted, by the id of the key.
    pub fn of_id(&self, id: &str) -> Option<Arc<Caller>> {
        let set = self.set.get();
        if let Some(anyone) = &set.anyone {
            return id.is_empty().then(|| Arc::clone(anyone));
        }
        if id.starts_with(SETTINGS_PREFIX) {
            let mut callers = set.by_digest.values();
            return callers.find(|caller| caller.id == id).cloned();
        }
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.accounts.unix_seconds();
        let mut of_id = stored
            .by_digest
            .values()
            .filter(|(caller, until)| caller.id == id && until.is_none_or(|until| now < until));
        of_id.next().map(|(caller, _)| Arc::clone(caller))
    }

    fn of_stored(&self, digest: &api_key::Digest) -> Option<Arc<Caller>> {
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let (caller, until) = stored.by_digest.get(digest)?;
        let is_valid = until.is_none_or(|until| self.accounts.unix_seconds() < until);
        is_valid.then(|| Arc::clone(caller))
    }

    /// Replaces the callers of stored keys. Accounts of keys that are gone are closed.
    pub fn set_stored(&self, keys: &BTreeMap<String, StoredKey>) {
        let mut by_digest = HashMap::new();
        for key in keys.values() {
            let caller = Arc::new(Caller::of_stored(key, &self.accounts));
            let expires = key.spec.expires_at;
            let old = key.old.as_ref().map(|old| {
                let until = expires.unwrap_or(u64::MAX).min(old.until);
                (&old.hash, Some(until))
            });
            for (hash, until) in [(&key.hash, expires)].into_iter().chain(old) {
                if let Some(digest) = api_key::read_hash(hash) {
                    by_digest.insert(digest, (Arc::clone(&caller), until));
                }
            }
        }
        let ids = keys.keys().cloned().collect();
        let now = Stored { by_digest, ids };
        let before = {
            let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *stored, now)
        };
        for id in before.ids.iter().filter(|id| !keys.contains_key(*id)) {
            self.accounts.close(id);
        }
        self.forget_owners_without_keys();
    }

    /// Notes that a caller has begun something that goes on in the background, for which its key then pays.
    pub fn uses(&self, caller: &Caller) {
        let Some(account) = caller.accounts.first() else {
            return;
        };
        let mut last_used = self.last_used();
        if last_used.get(&caller.owner) != Some(account) {
            last_used.insert(caller.owner.clone(), *account);
        }
    }

    /// Calls `look` with the caller of each key.
    fn each(&self, mut look: impl FnMut(&Arc<Caller>)) {
        self.set.get().by_digest.values().for_each(&mut look);
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        let stored = stored.by_digest.values();
        stored.for_each(|(caller, _)| look(caller));
    }

    fn forget_owners_without_keys(&self) {
        let mut owners = HashSet::new();
        self.each(|caller| {
            owners.insert(caller.owner.clone());
        });
        self.last_used().retain(|owner, _| owners.contains(owner));
    }

    fn last_used(&self) -> MutexGuard<'_, HashMap<String, AccountId>> {
        let last_used = self.last_used.lock();
        last_used.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Payers for Callers {
    /// Returns the key that was noted last ([`Callers::uses`]), else the first of the owner's keys by name.
    fn payer_of(&self, owner: &str) -> Option<Payer> {
        let last_used = self.last_used().get(owner).copied();
        let mut own: Vec<Arc<Caller>> = Vec::new();
        self.each(|caller| {
            if caller.owner == owner {
                own.push(Arc::clone(caller));
            }
        });
        let is_last = |caller: &&Arc<Caller>| {
            let account = caller.accounts.first();
            account.is_some() && account == last_used.as_ref()
        };
        let last = own.iter().find(is_last).cloned();
        let first = || own.iter().min_by(|one, other| one.name.cmp(&other.name));
        let payer = last.or_else(|| first().cloned())?;
        Some(payer.payer())
    }
}

impl Set {
    fn new(keys: &[KeySettings], accounts: &Accounts) -> Self {
        let by_digest = keys.iter().filter_map(|key| {
            let digest = api_key::read_hash(&key.hash)?;
            Some((digest, Arc::new(Caller::of(key, accounts))))
        });
        Self {
            by_digest: by_digest.collect(),
            names: keys.iter().map(|key| key.name.clone()).collect(),
            anyone: keys.is_empty().then(|| Arc::new(Caller::anyone())),
        }
    }
}

impl Caller {
    fn of(key: &KeySettings, accounts: &Accounts) -> Self {
        let tenant = key.tenant().to_owned();
        let (group, account) = (key.group.as_deref(), settings_account(&key.name));
        Self {
            accounts: accounts.open(&account, group, &key.limits),
            needs_usage: accounts.need_tokens(group, &key.limits),
            groups: groups(group, accounts),
            guards: guards(&key.guards, group, accounts),
            id: account,
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

    fn of_stored(key: &StoredKey, accounts: &Accounts) -> Self {
        let spec = &key.spec;
        let tenant = spec.tenant.as_ref().unwrap_or(&spec.name).clone();
        let group = spec.group.as_deref();
        let scopes = spec.scopes.iter();
        Self {
            accounts: accounts.open(&key.id, group, &spec.limits),
            needs_usage: accounts.need_tokens(group, &spec.limits),
            groups: groups(group, accounts),
            guards: guards(&spec.guards, group, accounts),
            id: key.id.clone(),
            name: spec.name.clone(),
            tenant_number: tenant_number(&[&tenant]),
            owner: tenant.clone(),
            tenant,
            priority: spec.priority,
            weight: spec.weight,
            names_tenants: spec.names_tenants,
            scopes: scopes.filter_map(|scope| Scope::named(scope)).collect(),
            models: spec.models.clone(),
        }
    }

    /// Returns the key and its accounts.
    fn payer(&self) -> Payer {
        Payer {
            key: self.name.as_str().into(),
            accounts: Arc::clone(&self.accounts),
        }
    }

    /// Returns the behalf of what models are asked because of a call of this caller.
    pub fn behalf(&self, request_id: &Arc<str>, via: Option<Arc<http::HeaderMap>>) -> Behalf {
        Behalf {
            payer: self.payer(),
            request_id: Arc::clone(request_id),
            via,
        }
    }

    fn anyone() -> Self {
        Self {
            accounts: Arc::default(),
            needs_usage: false,
            groups: Arc::default(),
            guards: Arc::default(),
            id: String::new(),
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

/// Returns the names of a group and of the groups above it.
fn groups(group: Option<&str>, accounts: &Accounts) -> Arc<[String]> {
    let settings = accounts.settings();
    let chain = group.map_or_else(Vec::new, |group| settings.chain(group));
    chain.iter().map(|group| group.name.clone()).collect()
}

/// Returns the names of the guards of a key and of the groups above it.
fn guards(own: &[String], group: Option<&str>, accounts: &Accounts) -> Arc<[String]> {
    let settings = accounts.settings();
    let groups = group.map_or_else(Vec::new, |group| settings.chain(group));
    let of_groups = groups.iter().flat_map(|group| &group.guards);
    own.iter().chain(of_groups).cloned().collect()
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
            id: String::new(),
            name: tenant.to_owned(),
            tenant: tenant.to_owned(),
            tenant_number: tenant_number(&[tenant]),
            owner: String::new(),
            priority,
            weight,
            names_tenants: true,
            scopes: vec![Scope::Call],
            models: None,
            accounts: Arc::default(),
            needs_usage: false,
            groups: Arc::default(),
            guards: Arc::default(),
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

    fn accounts(seconds: u64) -> Accounts {
        accounts_at(Arc::new(std::sync::atomic::AtomicU64::new(seconds)))
    }

    fn accounts_at(seconds: Arc<std::sync::atomic::AtomicU64>) -> Accounts {
        let clock = move || 1000 * seconds.load(std::sync::atomic::Ordering::SeqCst);
        Accounts::new(kebne_accounts::AccountsSettings::default(), Arc::new(clock))
    }

    #[test]
    fn a_stored_key_is_accepted_until_it_expires_is_rotated_or_revoked() {
        use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
        let now = Arc::new(AtomicU64::new(100));
        let settings = KeySettings {
            name: "admin".to_owned(),
            hash: api_key::hash("admin"),
            ..KeySettings::default()
        };
        let callers = Callers::new(&[settings], &accounts_at(Arc::clone(&now)));
        let is_known = |key: &str| callers.of_headers(&with_key(key)).is_ok();
        let mut key = StoredKey {
            id: "key_1".to_owned(),
            hash: api_key::hash("new"),
            old: Some(kebne_accounts::OldHash {
                hash: api_key::hash("old"),
                until: 200,
            }),
            created_at: 0,
            spec: kebne_accounts::KeySpec {
                name: "ann".to_owned(),
                expires_at: Some(300),
                ..kebne_accounts::KeySpec::default()
            },
        };
        callers.set_stored(&BTreeMap::from([(key.id.clone(), key.clone())]));
        for (seconds, old, new) in [(199, true, true), (200, false, true), (300, false, false)] {
            now.store(seconds, SeqCst);
            assert_eq!((is_known("old"), is_known("new")), (old, new), "{seconds}");
        }
        key.spec.expires_at = None;
        callers.set_stored(&BTreeMap::from([(key.id.clone(), key.clone())]));
        assert!(is_known("new") && is_known("admin"));
        callers.set_stored(&BTreeMap::new());
        assert!(!is_known("new") && is_known("admin"));
        assert!(callers.of_id("key_1").is_none() && callers.of_id("").is_none());
        assert_eq!(callers.of_id("settings:admin").unwrap().name, "admin");
        assert!(callers.accounts.view("key_1").is_none());
    }

    #[test]
    fn the_key_that_an_owner_has_used_last_pays_and_then_the_first() {
        let key = |name: &str, tenant: &str| KeySettings {
            name: name.to_owned(),
            hash: api_key::hash(name),
            tenant: Some(tenant.to_owned()),
            ..KeySettings::default()
        };
        let keys = [key("b", "shop"), key("a", "shop"), key("c", "lab")];
        let callers = Callers::new(&keys, &accounts(0));
        let payer = |owner: &str| callers.payer_of(owner).map(|payer| payer.key);
        assert_eq!(payer("shop").as_deref(), Some("a"));
        assert_eq!(payer("nobody"), None);
        callers.uses(&callers.of_headers(&with_key("b")).unwrap());
        callers.uses(&callers.of_headers(&with_key("c")).unwrap());
        assert_eq!(payer("shop").as_deref(), Some("b"));
        assert_eq!(payer("lab").as_deref(), Some("c"));
        callers.set_keys(&keys[1..2]);
        assert_eq!(payer("shop").as_deref(), Some("a"));
        assert_eq!(payer("lab"), None);
        assert_eq!(callers.last_used().len(), 1);
    }

    #[test]
    fn a_caller_is_found_by_its_key_alone() {
        let key = |name: &str| KeySettings {
            name: name.to_owned(),
            hash: api_key::hash(&format!("key of {name}")),
            ..KeySettings::default()
        };
        let callers = Callers::new(&[key("ann"), key("bob")], &accounts(0));
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
        let open = Callers::new(&[], &accounts(0))
            .of_headers(&HeaderMap::new())
            .unwrap();
        assert_eq!(
            (open.name.as_str(), open.tenant_number),
            ("", tenant_number(&[""]))
        );
    }
}
