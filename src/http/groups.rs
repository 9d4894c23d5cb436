//! Administration of groups of keys: those of the settings, which are only shown, and those that are created here.

use actix_web::HttpResponse;
use kebne_accounts::{AccountsSettings, GroupSettings};
use serde_json::{Map, Value, json};

use crate::{
    http::{json_body, keys::read, visit::Visit},
    settings::Validate as _,
    state::State,
    surface::error::ApiError,
};

/// The groups that can be created. Each key looks for its groups among them when it changes.
const GROUPS_MAX: usize = 1000;
/// The longest name.
const NAME_MAX: usize = 128;

/// `POST /admin/v1/groups`: creates a group.
pub(super) async fn create(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let draft = read(&mut visit).await?;
    let state = &visit.state;
    let accounts = state.gateway.accounts();
    if !accounts.is_started() {
        let message = "groups can be created once the settings have a key with the scope `admin`";
        return Err(ApiError::conflict(message));
    }
    if accounts.stored_groups().len() >= GROUPS_MAX {
        return Err(ApiError::conflict(format!(
            "there are already {GROUPS_MAX} groups"
        )));
    }
    let group = group_of(Value::Object(draft))?;
    let settings = accounts.settings();
    if settings.groups.iter().any(|known| known.name == group.name) {
        return Err(wrong("name", "is the name of another group"));
    }
    put(state, group).await
}

/// `GET /admin/v1/groups`.
pub(super) async fn list(visit: Visit) -> Result<HttpResponse, ApiError> {
    let state = &visit.state;
    let settings = state.gateway.accounts().settings();
    let data = settings.groups.iter().map(|group| shown(state, group));
    let data: Vec<Value> = data.collect();
    Ok(HttpResponse::Ok().json(json!({"object": "list", "data": data})))
}

/// `GET /admin/v1/groups/{name}`.
pub(super) async fn show(visit: Visit) -> Result<HttpResponse, ApiError> {
    let group = find(&visit)?;
    Ok(HttpResponse::Ok().json(shown(&visit.state, &group)))
}

/// `POST /admin/v1/groups/{name}`: sets the given fields, `limits` as a whole.
pub(super) async fn change(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let group = changeable(&visit)?;
    let draft = read(&mut visit).await?;
    let mut fields = json!(group);
    if let Some(fields) = fields.as_object_mut() {
        fields.extend(draft);
    }
    let changed = group_of(fields)?;
    if changed.name != group.name {
        return Err(wrong("name", "cannot be changed: keys refer to it"));
    }
    put(&visit.state, changed).await
}

/// `DELETE /admin/v1/groups/{name}`: removes a group that no key and no group refers to.
pub(super) async fn remove(visit: Visit) -> Result<HttpResponse, ApiError> {
    let group = changeable(&visit)?;
    let accounts = visit.state.gateway.accounts();
    let name = Some(group.name.as_str());
    let (keys, settings) = (accounts.keys(), accounts.settings());
    let mut keys = keys.values();
    let mut groups = settings.groups.iter();
    if keys.any(|key| key.spec.group.as_deref() == name)
        || groups.any(|other| other.parent.as_deref() == name)
    {
        return Err(ApiError::conflict("keys or groups belong to the group"));
    }
    let removed = accounts.remove_group(&group.name).await;
    removed.map_err(|error| ApiError::account_store(&error))?;
    let body = json!({"name": group.name, "object": "group", "deleted": true});
    Ok(HttpResponse::Ok().json(body))
}

/// `GET /admin/v1/groups/{name}/usage`: what the group has used, as it is in the store when this answers.
pub(super) async fn usage(visit: Visit) -> Result<HttpResponse, ApiError> {
    let group = find(&visit)?;
    let accounts = visit.state.gateway.accounts();
    // Without a store the sums are those that are known.
    let account = format!("group/{}", group.name);
    let is_stored = accounts.refresh(&account).await.is_ok();
    let view = accounts.view(&account);
    let view = view.ok_or_else(|| unknown(&group.name))?;
    let prices = visit.state.gateway.prices();
    Ok(HttpResponse::Ok().json(json!({
        "name": group.name, "object": "group.usage", "currency": prices.currency(), "stored": is_stored, "usage": view,
    })))
}

async fn put(state: &State, group: GroupSettings) -> Result<HttpResponse, ApiError> {
    check(state, &group)?;
    let put = state.gateway.accounts().put_group(group.clone()).await;
    put.map_err(|error| ApiError::account_store(&error))?;
    Ok(HttpResponse::Ok().json(shown(state, &group)))
}

fn group_of(fields: Value) -> Result<GroupSettings, ApiError> {
    json_body::fields(fields)
}

/// Checks the values, as the settings are checked.
fn check(state: &State, group: &GroupSettings) -> Result<(), ApiError> {
    let name = &group.name;
    if name.is_empty() || name.len() > NAME_MAX || name.contains(char::is_control) {
        return Err(wrong("name", "must be 1 to 128 characters"));
    }
    if !group.guards.iter().all(|name| state.guards.get().has(name)) {
        return Err(wrong("guards", "must be names of `guards`"));
    }
    let mut settings = AccountsSettings::clone(&state.gateway.accounts().settings());
    settings.groups.retain(|known| known.name != *name);
    settings.groups.push(group.clone());
    let own = format!("groups[{}].", settings.groups.len() - 1);
    let errors = settings.validate("");
    // A chain that became too long is an error of the groups below.
    let error = errors.iter().find(|error| error.path.starts_with(&own));
    let error = error.or_else(|| errors.iter().find(|error| error.path.ends_with(".parent")));
    let Some(error) = error else {
        return Ok(());
    };
    let field = error.path.strip_prefix(&own).unwrap_or("parent");
    Err(wrong(field, &error.message))
}

fn wrong(field: &str, message: &str) -> ApiError {
    ApiError::bad_request(Some(field), format!("`{field}` {message}"))
}

fn find(visit: &Visit) -> Result<GroupSettings, ApiError> {
    let name = visit.parameter();
    let settings = visit.state.gateway.accounts().settings();
    let mut groups = settings.groups.iter();
    let group = groups.find(|group| group.name == name);
    group.cloned().ok_or_else(|| unknown(&name))
}

/// Returns a group that can be changed.
fn changeable(visit: &Visit) -> Result<GroupSettings, ApiError> {
    let group = find(visit)?;
    if is_stored(&visit.state, &group) {
        return Ok(group);
    }
    let message = "the groups of the settings are changed in the settings";
    Err(ApiError::conflict(message))
}

fn is_stored(state: &State, group: &GroupSettings) -> bool {
    let stored = state.gateway.accounts().stored_groups();
    stored.iter().any(|stored| stored.name == group.name)
}

fn unknown(name: &str) -> ApiError {
    let end = name.floor_char_boundary(64);
    ApiError::not_found(format!("there is no group `{}`", &name[..end]))
}

fn shown(state: &State, group: &GroupSettings) -> Value {
    let source = if is_stored(state, group) {
        "store"
    } else {
        "settings"
    };
    let mut shown: Map<String, Value> = json!(group).as_object().cloned().unwrap_or_default();
    shown.insert("object".to_owned(), "group".into());
    shown.insert("source".to_owned(), source.into());
    Value::Object(shown)
}
