//! Reads the layers and turns them into [`Settings`], or says everything that is wrong with them.
//!
//! The layers are merged by the `config` crate; the environment is laid on top here, because its keys need
//! the name of the variable in each message and an index for each list (`KEBNE__BACKENDS__0__NAME`).

use std::{collections::BTreeMap, path::Path};

use config::{Config, ConfigError, File, FileFormat, Value, ValueKind};
use serde::Deserialize;

use crate::settings::{Environment, Settings, SettingsError, SettingsErrors, Validate, join};

/// What every environment variable that sets a key begins with.
pub const ENVIRONMENT_PREFIX: &str = "KEBNE__";

/// Separates the parts of a key in the name of an environment variable.
const ENVIRONMENT_SEPARATOR: &str = "__";

/// A list named by an index in the environment never grows beyond this; it bounds what a typo can allocate.
const ENVIRONMENT_INDEX_MAX: usize = 255;

/// Errors reported at once; more would not be read.
const ERRORS_MAX: usize = 64;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The embedded defaults.
    Default,
    /// The file with this path.
    File(String),
    /// The environment variable with this name.
    Environment(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => write!(formatter, "default"),
            Self::File(path) => write!(formatter, "{path}"),
            Self::Environment(name) => write!(formatter, "{name}"),
        }
    }
}

/// Valid settings, and which layer set each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The path of each value that was set by a layer, and that layer.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads defaults, then `file` when there is one, then the environment, and validates the result.
///
/// # Errors
/// Every unknown key, wrong value and contradiction that was found.
pub fn load(file: Option<&Path>, environment: &dyn Environment) -> Result<Loaded, SettingsErrors> {
    let mut tree = merge(file).map_err(|error| SettingsErrors(vec![error]))?;
    let mut errors = Vec::new();
    let mut from_environment = BTreeMap::new();
    for (name, text) in environment.with_prefix(ENVIRONMENT_PREFIX) {
        match lay(&mut tree, &name, &text) {
            Ok(path) => {
                from_environment.insert(path, name);
            }
            Err(error) => errors.push(error),
        }
    }
    drop_models_of_replaced_backends(&mut tree, &from_environment);
    let mut origins = BTreeMap::new();
    collect_origins(&tree, "", &from_environment, &mut origins);
    let settings = deserialize(tree, &mut errors);
    if errors.is_empty() {
        errors = settings.validate("");
    }
    if errors.is_empty() {
        return Ok(Loaded { settings, origins });
    }
    for error in &mut errors {
        let origin = origin_of(&error.path, &origins).filter(|origin| **origin != Origin::Default);
        error.origin = error
            .origin
            .take()
            .or_else(|| origin.map(ToString::to_string));
    }
    errors.sort();
    errors.dedup();
    Err(SettingsErrors(errors))
}

/// Merges the defaults and the file.
fn merge(file: Option<&Path>) -> Result<Value, SettingsError> {
    let defaults = toml::to_string(&Settings::default())
        .map_err(|error| SettingsError::new("", error.to_string()))?;
    let mut builder = Config::builder().add_source(File::from_str(&defaults, FileFormat::Toml));
    if let Some(path) = file {
        if let Err(error) = std::fs::File::open(path) {
            let message = format!("cannot read the file `{}`: {error}", path.display());
            return Err(SettingsError::new("", message));
        }
        builder = builder.add_source(File::from(path).format(FileFormat::Toml));
    }
    let merged = builder
        .build()
        .map_err(|error| SettingsError::new("", error.to_string()))?;
    Ok(merged.cache)
}

/// Lays one environment variable onto the tree and returns the path that it set.
fn lay(tree: &mut Value, name: &str, text: &str) -> Result<String, SettingsError> {
    let key = name.trim_start_matches(ENVIRONMENT_PREFIX).to_lowercase();
    let mut path = String::new();
    let mut place = tree;
    for segment in key.split(ENVIRONMENT_SEPARATOR) {
        if segment.is_empty() {
            let message = format!("the environment variable `{name}` has an empty part in its key");
            return Err(SettingsError::new(path, message));
        }
        let index = segment.parse::<usize>().ok();
        path = index.map_or_else(|| join(&path, segment), |index| format!("{path}[{index}]"));
        let next = match index {
            Some(index) => element(place, index),
            None => field(place, segment),
        };
        place = next.ok_or_else(|| {
            let message = format!("`{name}` skips an index; lists are set without gaps");
            SettingsError::new(path.clone(), message)
        })?;
    }
    *place = read_text(text);
    Ok(path)
}

/// Returns the place of a key, making a table where there is none.
fn field<'a>(place: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    if !matches!(place.kind, ValueKind::Table(_)) {
        place.kind = ValueKind::Table(config::Map::new());
    }
    let ValueKind::Table(table) = &mut place.kind else {
        return None;
    };
    let absent = || Value::new(None, ValueKind::Nil);
    Some(table.entry(key.to_owned()).or_insert_with(absent))
}

/// Returns the place of an index, which may be one past the end of the list.
fn element(place: &mut Value, index: usize) -> Option<&mut Value> {
    if !matches!(place.kind, ValueKind::Array(_)) {
        place.kind = ValueKind::Array(Vec::new());
    }
    let ValueKind::Array(items) = &mut place.kind else {
        return None;
    };
    if index == items.len() && index <= ENVIRONMENT_INDEX_MAX {
        items.push(Value::new(None, ValueKind::Table(config::Map::new())));
    }
    items.get_mut(index)
}

/// Reads a variable's text: lists and inline tables as TOML, anything else as text, which the types convert.
fn read_text(text: &str) -> Value {
    if text.starts_with(['[', '{']) {
        let document = format!("value = {text}");
        let parsed = Config::builder().add_source(File::from_str(&document, FileFormat::Toml));
        let value = parsed
            .build()
            .and_then(|parsed| parsed.get::<Value>("value"));
        if let Ok(value) = value {
            return value;
        }
    }
    Value::new(None, ValueKind::String(text.to_owned()))
}

/// Takes the default models away when a layer replaced the default backends but named no models: they would
/// only point at a backend that is gone.
fn drop_models_of_replaced_backends(tree: &mut Value, from_environment: &BTreeMap<String, String>) {
    let ValueKind::Table(root) = &mut tree.kind else {
        return;
    };
    let is_default = |key: &str, value: Option<&Value>| {
        let set_by_variable = from_environment.keys().any(|path| path.starts_with(key));
        !set_by_variable && value.is_none_or(|value| first_origin(value).is_none())
    };
    let backends_are_default = is_default("backends", root.get("backends"));
    let models_are_default = is_default("models", root.get("models"));
    if models_are_default && !backends_are_default {
        root.insert(
            "models".to_owned(),
            Value::new(None, ValueKind::Array(Vec::new())),
        );
    }
}

/// Returns the file that a value or anything in it came from; `None` means the embedded defaults.
fn first_origin(value: &Value) -> Option<&str> {
    let own = value.origin();
    match &value.kind {
        ValueKind::Table(table) => own.or_else(|| table.values().find_map(first_origin)),
        ValueKind::Array(items) => own.or_else(|| items.iter().find_map(first_origin)),
        _ => own,
    }
}

/// Notes the origin of each value that is no table.
fn collect_origins(
    value: &Value,
    path: &str,
    variables: &BTreeMap<String, String>,
    origins: &mut BTreeMap<String, Origin>,
) {
    if let Some(name) = variables.get(path) {
        origins.insert(path.to_owned(), Origin::Environment(name.clone()));
        return;
    }
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, item) in table {
                collect_origins(item, &join(path, key), variables, origins);
            }
        }
        ValueKind::Array(items) if items.iter().any(is_table) => {
            for (index, item) in items.iter().enumerate() {
                collect_origins(item, &format!("{path}[{index}]"), variables, origins);
            }
        }
        _ => {
            let file = first_origin(value).map(|file| Origin::File(file.to_owned()));
            origins.insert(path.to_owned(), file.unwrap_or(Origin::Default));
        }
    }
}

fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

/// Finds the layer of a path, or of the first value below it.
fn origin_of<'a>(path: &str, origins: &'a BTreeMap<String, Origin>) -> Option<&'a Origin> {
    if let Some(origin) = origins.get(path) {
        return Some(origin);
    }
    let mut below = origins
        .range(path.to_owned()..)
        .take_while(|(key, _)| key.starts_with(path));
    below
        .find(|(_, origin)| **origin != Origin::Default)
        .map(|(_, origin)| origin)
}

/// Turns the tree into settings. Each value that does not fit is noted and taken out, so that the next wrong
/// one is found too; what is returned is only of use when nothing was noted.
fn deserialize(mut tree: Value, errors: &mut Vec<SettingsError>) -> Settings {
    while errors.len() < ERRORS_MAX {
        let error = match tree.clone().try_deserialize::<Settings>() {
            Ok(settings) => return settings,
            Err(error) => explain(error),
        };
        let error = variants(&error).unwrap_or(error);
        let path = error.path.clone();
        errors.push(error);
        if !remove(&mut tree, &path) {
            break;
        }
    }
    Settings::default()
}

/// Asks serde for the values of an enumeration, which the `config` crate does not list: a document that holds
/// the wrong value alone is deserialised once more.
fn variants(error: &SettingsError) -> Option<SettingsError> {
    const MARK: &str = "does not have variant constructor ";
    let (_, given) = error.message.split_once(MARK)?;
    let mut document = serde_json::Value::from(given);
    for segment in segments(&error.path).iter().rev() {
        document = match index_of(segment) {
            Some(_) => serde_json::json!([document]),
            None => serde_json::json!({ segment.as_str(): document }),
        };
    }
    let message = Settings::deserialize(document).err()?.to_string();
    Some(from_message(error.path.clone(), &message))
}

/// Makes one of our errors of one of the `config` crate's.
fn explain(error: ConfigError) -> SettingsError {
    let (path, message) = match error {
        ConfigError::At { error, key, .. } => (key.unwrap_or_default(), error.to_string()),
        ConfigError::Type {
            key,
            unexpected,
            expected,
            ..
        } => (
            key.unwrap_or_default(),
            format!("expected {expected}, found {unexpected}"),
        ),
        ConfigError::NotFound(key) => (key, "is missing".to_owned()),
        other => (String::new(), other.to_string()),
    };
    from_message(segments(&path).join(".").replace(".[", "["), &message)
}

/// Reads what serde says of an unknown key or value.
fn from_message(path: String, message: &str) -> SettingsError {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((key, allowed)) if message.starts_with("unknown field") => {
            SettingsError::new(join(&path, key), "unknown key")
                .with_allowed(allowed.iter().copied())
                .suggesting(key)
        }
        Some((value, allowed)) if message.starts_with("unknown variant") => {
            SettingsError::new(path, format!("unknown value `{value}`"))
                .with_allowed(allowed.iter().copied())
                .suggesting(value)
        }
        _ => SettingsError::new(path, message),
    }
}

/// Takes the value at a path such as `backends[0].name` out of the tree.
fn remove(tree: &mut Value, path: &str) -> bool {
    let mut segments = segments(path);
    let Some(last) = segments.pop() else {
        return false;
    };
    let mut place = tree;
    for segment in segments {
        let next = match (&mut place.kind, index_of(&segment)) {
            (ValueKind::Array(items), Some(index)) => items.get_mut(index),
            (ValueKind::Table(table), None) => table.get_mut(&segment),
            _ => None,
        };
        let Some(next) = next else { return false };
        place = next;
    }
    match (&mut place.kind, index_of(&last)) {
        (ValueKind::Array(items), Some(index)) if index < items.len() => {
            items.remove(index);
            true
        }
        (ValueKind::Table(table), None) => table.remove(&last).is_some(),
        _ => false,
    }
}

/// Splits `backends[0].name`, which the `config` crate writes `backends[0]name`, into `backends`, `[0]` and `name`.
fn segments(path: &str) -> Vec<String> {
    let spaced = path.replace('[', ".[").replace(']', "].");
    let parts = spaced.split('.').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// Reads `[3]`.
fn index_of(segment: &str) -> Option<usize> {
    segment.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests;
