//! The fields of a key in a request: reading and checking them.

use std::collections::BTreeMap;

use kebne_accounts::{KeySpec, StoredKey};
use serde_json::{Map, Value, json};

use crate::{
    http::json_body,
    settings::{
        Validate,
        server::{PRIORITY_MAX, Scope, WEIGHTS},
    },
    state::State,
    surface::error::ApiError,
};

/// The longest name of a key or a tenant.
const NAME_MAX: usize = 128;

type Keys = BTreeMap<String, StoredKey>;

/// Reads the fields of a new key.
pub(super) fn new(
    draft: Map<String, Value>,
    state: &State,
    known: &Keys,
) -> Result<KeySpec, ApiError> {
    let spec = spec_of(Value::Object(draft))?;
    check(&spec, None, state, known)?;
    Ok(spec)
}

/// Returns what a key may do after the given fields were set.
pub(super) fn changed(
    key: &StoredKey,
    draft: Map<String, Value>,
    state: &State,
    known: &Keys,
) -> Result<KeySpec, ApiError> {
    let mut spec = json!(key.spec);
    if let Some(fields) = spec.as_object_mut() {
        fields.extend(draft);
    }
    let spec = spec_of(spec)?;
    check(&spec, Some(&key.id), state, known)?;
    Ok(spec)
}

fn spec_of(fields: Value) -> Result<KeySpec, ApiError> {
    json_body::fields(fields)
}

/// Checks the values, as the settings are checked.
fn check(spec: &KeySpec, id: Option<&str>, state: &State, known: &Keys) -> Result<(), ApiError> {
    let require = |fine: bool, field: &str, message: &str| {
        if fine {
            return Ok(());
        }
        Err(ApiError::bad_request(
            Some(field),
            format!("`{field}` {message}"),
        ))
    };
    let is_name =
        |name: &str| !name.is_empty() && name.len() <= NAME_MAX && !name.contains(char::is_control);
    require(is_name(&spec.name), "name", "must be 1 to 128 characters")?;
    let others = known.values().filter(|key| Some(key.id.as_str()) != id);
    let mut names = others.map(|key| key.spec.name.as_str());
    let is_used = names.any(|name| name == spec.name)
        || state
            .settings
            .get()
            .keys
            .iter()
            .any(|key| key.name == spec.name);
    require(!is_used, "name", "is the name of another key")?;
    let tenant = spec.tenant.as_ref();
    let tenant = tenant.is_none_or(|tenant| is_name(tenant));
    require(tenant, "tenant", "must be 1 to 128 characters")?;
    require(spec.priority <= PRIORITY_MAX, "priority", "must be 0 to 9")?;
    let weight = (WEIGHTS.0..=WEIGHTS.1).contains(&spec.weight);
    require(weight, "weight", "must be 0.01 to 100")?;
    let scopes = spec
        .scopes
        .iter()
        .all(|scope| Scope::named(scope).is_some());
    let message = "must be some of `call`, `read_state` and `admin`";
    require(scopes && !spec.scopes.is_empty(), "scopes", message)?;
    let serves = |model: &String| {
        state.gateway.canonical(model).as_ref() == Some(model) || state.routes.of(model).is_some()
    };
    let models = spec.models.as_ref();
    let models = models.is_none_or(|models| !models.is_empty() && models.iter().all(serves));
    require(
        models,
        "models",
        "must be own names of models that are served here, or names of routes",
    )?;
    let settings = state.gateway.accounts().settings();
    let groups = &settings.groups;
    let group = spec.group.as_ref();
    let group = group.is_none_or(|wanted| groups.iter().any(|group| group.name == *wanted));
    require(group, "group", "must be the name of a group")?;
    let guards = spec.guards.iter().all(|name| state.guards.get().has(name));
    require(guards, "guards", "must be names of `guards`")?;
    match spec.limits.validate("limits").first() {
        None => Ok(()),
        Some(error) => require(false, &error.path, &error.message),
    }
}
