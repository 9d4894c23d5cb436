//! Reads the layers and converts them to [`Settings`], or returns every error in them.
//!
//! A layer is a tree in which each value has its place. The file and the environment are merged over the defaults;
//! then the types read the result.

mod deserialize;
mod file;
mod path;
mod secret;
mod tree;
mod variables;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::settings::{
    Environment, Origin, Settings, SettingsError, SettingsErrors, Validate, join,
    schema::{self, Shape},
};
use deserialize::Fault;
use path::written;
pub(crate) use path::{Segment, segments};
use tree::{Kind, Node};
pub use variables::ENVIRONMENT_PREFIX;

/// The largest number of errors that are reported at once.
const ERRORS_MAX: usize = 64;

/// Valid settings, and the layer that set each value.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The path of each value that a layer set, and that layer.
    pub origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Sorts errors that were found in these settings, each with the place of its key.
    ///
    /// # Errors
    /// Returns the errors if there are any.
    pub fn refuse(&self, errors: Vec<SettingsError>) -> Result<(), SettingsErrors> {
        if errors.is_empty() {
            return Ok(());
        }
        let located = errors.into_iter().map(|error| {
            let origin = self.origins.get(&error.path);
            error.at(origin.unwrap_or(&Origin::Default))
        });
        let mut located: Vec<_> = located.collect();
        located.sort();
        Err(SettingsErrors(located))
    }
}

/// Reads the defaults, then `file` with the files that it includes if there is one, then the environment, and validates the result.
///
/// # Errors
/// Returns an error if the file cannot be read or parsed. Otherwise returns an error for every unknown key and every
/// value of a wrong type or, if there are none, for every value out of range and every contradiction.
pub fn load(file: Option<&Path>, environment: &dyn Environment) -> Result<Loaded, SettingsErrors> {
    let mut tree = layers(file).map_err(|error| SettingsErrors(vec![error]))?;
    let mut errors = variables::lay_all(&mut tree, environment);
    drop_models_of_replaced_backends(&mut tree);
    let mut origins = BTreeMap::new();
    collect_origins(&tree, &mut Vec::new(), &mut origins);
    let settings = deserialize(&mut tree, &mut errors);
    if errors.is_empty() {
        let invalid = settings.validate("").into_iter();
        errors.extend(invalid.map(|error| {
            let error = of_the_set_key(&tree, error);
            let origin = origin_of(&tree, &segments(&error.path));
            error.at(origin)
        }));
    }
    if errors.is_empty() {
        return Ok(Loaded { settings, origins });
    }
    errors.sort();
    errors.dedup();
    Err(SettingsErrors(errors))
}

/// Merges the defaults, and the file with what it includes.
fn layers(file: Option<&Path>) -> Result<Node, SettingsError> {
    let defaults = toml::Table::try_from(Settings::default())
        .map_err(|error| SettingsError::new("", error.to_string()))?;
    let mut tree = Node::from_defaults(&toml::Value::Table(defaults));
    if let Some(path) = file {
        tree.overlay(file::read(path)?);
    }
    Ok(tree)
}

/// Removes the default models if a layer replaced the default backends but set no models, because the default models
/// would name a backend that does not exist.
fn drop_models_of_replaced_backends(tree: &mut Node) {
    let Kind::Table(root) = &mut tree.kind else {
        return;
    };
    let is_default = |key: &str| root.get(key).is_none_or(|node| node.first_set().is_none());
    if is_default("models") && !is_default("backends") {
        root.remove("models");
        root.insert(
            "models".to_owned(),
            Node::new(Kind::List(Vec::new()), Origin::Default),
        );
    }
}

/// Records the origin of each value that is not a table.
fn collect_origins(node: &Node, path: &mut Vec<Segment>, origins: &mut BTreeMap<String, Origin>) {
    let mut visit = |segment: Segment, item: &Node| {
        path.push(segment);
        collect_origins(item, path, origins);
        path.pop();
    };
    match &node.kind {
        Kind::Table(table) => {
            for (key, item) in table {
                visit(Segment::Key(key.clone()), item);
            }
        }
        Kind::List(items) if items.iter().any(Node::is_table) => {
            for (index, item) in items.iter().enumerate() {
                visit(Segment::Index(index), item);
            }
        }
        _ => {
            let origin = node.first_set().unwrap_or(&Origin::Default);
            origins.insert(written(path), origin.clone());
        }
    }
}

/// Returns an error of validation as one of the key that is set: if it is a contradiction to a default, the key whose
/// value contradicts the default.
fn of_the_set_key(tree: &Node, mut error: SettingsError) -> SettingsError {
    let is_set = |path: &str| {
        tree.find(&segments(path))
            .and_then(Node::first_set)
            .is_some()
    };
    let Some(other) = error
        .other
        .take_if(|other| is_set(other) && !is_set(&error.path))
    else {
        return error;
    };
    let key = segments(&error.path).pop();
    let key = key.map(|key| key.to_string()).unwrap_or_default();
    error.message = format!(
        "contradicts the default of `{key}`, which {}",
        error.message
    );
    error.path = other;
    error
}

/// Returns the place of an error at `path`: that of the value or of a value below it. If nothing was set at the path,
/// it is the place of the nearest table around it.
fn origin_of<'a>(tree: &'a Node, path: &[Segment]) -> &'a Origin {
    let (mut node, mut around) = (Some(tree), &tree.origin);
    for segment in path {
        node = node.and_then(|node| node.get(segment));
        match node {
            Some(node) if !node.origin.is_default() => around = &node.origin,
            Some(_) => {}
            None => break,
        }
    }
    node.and_then(Node::first_set).unwrap_or(around)
}

/// Converts the tree to settings. Each value that does not fit is recorded and removed, so that the next one is found
/// too. The result is meaningful only if nothing was recorded.
fn deserialize(tree: &mut Node, errors: &mut Vec<SettingsError>) -> Settings {
    while errors.len() < ERRORS_MAX {
        let error = match Settings::deserialize(&*tree) {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        let mut path = error.path();
        errors.push(explain(tree, &path, &error.fault));
        if let Fault::UnknownKey { key, .. } = error.fault {
            path.push(Segment::Key(key));
        }
        if !tree.remove(&path) {
            break;
        }
    }
    Settings::default()
}

/// Describes an error that the types found.
fn explain(tree: &Node, path: &[Segment], fault: &Fault) -> SettingsError {
    let at = written(secret::shown(path));
    let origin = origin_of(tree, path);
    match fault {
        Fault::UnknownKey { key, allowed } => {
            let table = tree.find(path).and_then(|node| match &node.kind {
                Kind::Table(table) => table.get(key),
                _ => None,
            });
            SettingsError::new(join(&at, key), "unknown key")
                .with_allowed(allowed.iter().copied())
                .suggesting(key)
                .at(table.map_or(origin, |node| node.key_origin(origin)))
        }
        Fault::UnknownValue { value, allowed } => {
            SettingsError::new(at, format!("unknown value `{value}`"))
                .with_allowed(allowed.iter().copied())
                .suggesting(value)
                .at(origin)
        }
        Fault::WantsList => SettingsError::new(at, wants_list(path, origin)).at(origin),
        Fault::WantsTable => {
            let header = header(path);
            let message = match origin {
                Origin::Variable(name) => format!("is a table; set `{name}__<key>`"),
                _ => format!("is a table, not a list: write `[{header}]`, not `[[{header}]]`"),
            };
            SettingsError::new(at, message).at(origin)
        }
        Fault::WrongType {
            wanted,
            found,
            kind,
        } => {
            let found = if secret::is_secret(path) {
                kind
            } else {
                found.as_str()
            };
            SettingsError::new(at, format!("expected {wanted}, found {found}")).at(origin)
        }
        Fault::Message(message) => SettingsError::new(at, message).at(origin),
    }
}

/// Describes how a list is written, if something else was found.
fn wants_list(path: &[Segment], origin: &Origin) -> String {
    let mut element = path.to_vec();
    element.push(Segment::Index(0));
    let is_of_tables = matches!(schema::shape::<Settings>(&element), Shape::Table { .. });
    let header = header(path);
    let variable = variables::name_of(path);
    match origin {
        Origin::Variable(_) if is_of_tables => {
            format!("is a list; set `{variable}__0__<key>`")
        }
        Origin::Variable(_) => format!("is a list; set `{variable}__0`"),
        _ if is_of_tables => format!("is a list: write `[[{header}]]`, not `[{header}]`"),
        _ => {
            let key = path.last().map(ToString::to_string).unwrap_or_default();
            format!("is a list: write `{key} = [\"…\"]`")
        }
    }
}

/// Returns the path as in the header of a table, without indices.
fn header(path: &[Segment]) -> String {
    let keys = path.iter().filter_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests;
