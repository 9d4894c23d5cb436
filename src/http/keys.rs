//! Administration of keys: those of the settings, which are only shown, and those that are created here.

mod draft;

use actix_web::HttpResponse;
use kebne_accounts::{OldHash, StoredKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_key,
    caller::{SETTINGS_PREFIX, settings_account},
    http::{json_body, visit::Visit},
    settings::server::KeySettings,
    state::State,
    surface::error::ApiError,
};

/// The begin of the names of groups' accounts.
const GROUP_PREFIX: &str = "group/";
/// The largest body of a request.
const BODY_MAX: usize = 64 << 10;
/// Random bytes of an id.
const ID_SIZE: usize = 12;
/// The longest time for which a rotated key and its successor are both accepted, in seconds: 30 days.
const OVERLAP_MAX: u64 = 30 * 86_400;

/// The body of a rotation.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// The time for which the old key is accepted too.
    overlap_seconds: u64,
}

/// `POST /admin/v1/keys`: creates a key and shows it, once.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let draft = read(&mut visit).await?;
    let state = &visit.state;
    if state.settings.get().keys.is_empty() {
        let message = "keys can be created once the settings have a key with the scope `admin`";
        return Err(ApiError::conflict(message));
    }
    let accounts = state.gateway.accounts();
    let known = accounts.keys();
    let keys_max = accounts.settings().keys_max;
    if known.len() >= keys_max {
        let message = format!("there are already {keys_max} keys (`accounts.keys_max`)");
        return Err(ApiError::conflict(message));
    }
    let spec = draft::new(draft, state, &known)?;
    let (key, id) = (new_key()?, new_id()?);
    let stored = StoredKey {
        id,
        hash: api_key::hash(&key),
        old: None,
        created_at: accounts.unix_seconds(),
        spec,
    };
    put(state, &stored).await?;
    Ok(HttpResponse::Ok().json(with_key(shown(&stored), &key)))
}

/// `GET /admin/v1/keys`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let settings = state.settings.get();
    let of_settings = settings.keys.iter().map(shown_of_settings);
    let stored = state.gateway.accounts().keys();
    let data: Vec<Value> = of_settings.chain(stored.values().map(shown)).collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /admin/v1/keys/{id}`.
pub(super) async fn show(visit: Visit) -> Result<HttpResponse, ApiError> {
    let id = visit.parameter();
    if let Some(key) = of_settings(&visit.state, &id) {
        return Ok(HttpResponse::Ok().json(shown_of_settings(&key)));
    }
    Ok(HttpResponse::Ok().json(shown(&find(&visit.state, &id)?)))
}

/// `POST /admin/v1/keys/{id}`: sets the given fields.
pub(super) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let mut stored = changeable(&visit)?;
    let draft = read(&mut visit).await?;
    let state = &visit.state;
    let known = state.gateway.accounts().keys();
    stored.spec = draft::changed(&stored, draft, state, &known)?;
    put(state, &stored).await?;
    Ok(HttpResponse::Ok().json(shown(&stored)))
}

/// `POST /admin/v1/keys/{id}/rotate`: replaces the key by a new one, which is shown once.
pub(super) async fn rotate(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let mut stored = changeable(&visit)?;
    let body = visit.body_of_at_most(BODY_MAX).await?;
    let rotation: Rotation = json_body::object(&body)?;
    if rotation.overlap_seconds > OVERLAP_MAX {
        let message = format!("must be at most {OVERLAP_MAX}");
        return Err(ApiError::bad_request(Some("overlap_seconds"), message));
    }
    let state = &visit.state;
    let key = new_key()?;
    let now = state.gateway.accounts().unix_seconds();
    let old = std::mem::replace(&mut stored.hash, api_key::hash(&key));
    stored.old = (rotation.overlap_seconds > 0).then(|| OldHash {
        hash: old,
        until: now.saturating_add(rotation.overlap_seconds),
    });
    put(state, &stored).await?;
    Ok(HttpResponse::Ok().json(with_key(shown(&stored), &key)))
}

/// `DELETE /admin/v1/keys/{id}`: revokes a key. Calls in progress end normally.
pub(super) async fn revoke(visit: Visit) -> Result<HttpResponse, ApiError> {
    let stored = changeable(&visit)?;
    let removed = visit.state.gateway.accounts().remove_key(&stored.id).await;
    removed.map_err(|error| ApiError::account_store(&error))?;
    Ok(HttpResponse::Ok().json(json!({"id": stored.id, "object": "api_key", "deleted": true})))
}

/// `GET /admin/v1/keys/{id}/usage`: what the key, or the group `group/NAME`, has used, as it is in the store when this answers.
pub(super) async fn usage(visit: Visit) -> Result<HttpResponse, ApiError> {
    let (state, id) = (&visit.state, visit.parameter());
    let account = match of_settings(state, &id) {
        Some(key) => settings_account(&key.name),
        None if id.starts_with(GROUP_PREFIX) => id.clone(),
        None => find(state, &id)?.id,
    };
    let accounts = state.gateway.accounts();
    // Without a store the sums are those that are known.
    let is_stored = accounts.refresh(&account).await.is_ok();
    let view = accounts.view(&account);
    let view = view.ok_or_else(|| unknown(&id))?;
    let prices = state.gateway.prices();
    let currency = prices.currency();
    Ok(HttpResponse::Ok().json(json!({
        "id": id, "object": "api_key.usage", "currency": currency, "stored": is_stored, "usage": view,
    })))
}

pub(super) async fn read(visit: &mut Visit) -> Result<serde_json::Map<String, Value>, ApiError> {
    let body = visit.body_of_at_most(BODY_MAX).await?;
    json_body::object(&body)
}

async fn put(state: &State, key: &StoredKey) -> Result<(), ApiError> {
    let put = state.gateway.accounts().put_key(key.clone()).await;
    put.map_err(|error| ApiError::account_store(&error))
}

fn of_settings(state: &State, id: &str) -> Option<KeySettings> {
    let name = id.strip_prefix(SETTINGS_PREFIX)?;
    let settings = state.settings.get();
    settings.keys.iter().find(|key| key.name == name).cloned()
}

fn find(state: &State, id: &str) -> Result<StoredKey, ApiError> {
    let found = state.gateway.accounts().keys().remove(id);
    found.ok_or_else(|| unknown(id))
}

/// Returns a key that can be changed.
fn changeable(visit: &Visit) -> Result<StoredKey, ApiError> {
    let id = visit.parameter();
    if of_settings(&visit.state, &id).is_some() {
        let message = "the keys of the settings are changed in the settings";
        return Err(ApiError::conflict(message));
    }
    find(&visit.state, &id)
}

fn unknown(id: &str) -> ApiError {
    let end = id.floor_char_boundary(64);
    ApiError::not_found(format!("there is no key `{}`", &id[..end]))
}

fn new_key() -> Result<String, ApiError> {
    api_key::generate().map_err(|error| ApiError::internal(error.to_string()))
}

fn new_id() -> Result<String, ApiError> {
    let mut id = [0; ID_SIZE];
    getrandom::fill(&mut id).map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(format!("key_{}", hex::encode(id)))
}

/// Returns a key as it is shown, without its hashes.
fn shown(key: &StoredKey) -> Value {
    let mut shown = json!(key.spec);
    shown["id"] = key.id.as_str().into();
    shown["object"] = "api_key".into();
    shown["source"] = "store".into();
    shown["created_at"] = key.created_at.into();
    shown["old_key_until"] = key.old.as_ref().map(|old| old.until).into();
    shown
}

fn shown_of_settings(key: &KeySettings) -> Value {
    let mut shown = json!(key);
    if let Some(fields) = shown.as_object_mut() {
        fields.remove("hash");
    }
    shown["id"] = format!("{SETTINGS_PREFIX}{}", key.name).into();
    shown["object"] = "api_key".into();
    shown["source"] = "settings".into();
    shown
}

fn with_key(mut shown: Value, key: &str) -> Value {
    shown["key"] = key.into();
    shown
}
