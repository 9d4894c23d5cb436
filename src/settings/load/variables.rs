//! The layer of environment variables: `KEBNE__BACKENDS__0__NAME` sets `backends[0].name`.

use std::collections::BTreeMap;

use super::{
    path::{Segment, written},
    tree::{Kind, Node},
};
use crate::settings::{Environment, Origin, SettingsError};

/// The prefix of all environment variables that set a key.
pub const ENVIRONMENT_PREFIX: &str = "KEBNE__";

/// Separates the parts of a key in the name of an environment variable.
const SEPARATOR: &str = "__";

/// The largest index of a list element that the environment can set. It bounds the memory for a mistyped index.
const INDEX_MAX: usize = 255;

/// Merges all variables over the tree and returns the errors.
pub(super) fn lay_all(tree: &mut Node, environment: &dyn Environment) -> Vec<SettingsError> {
    let mut errors = Vec::new();
    for (name, text) in environment.with_prefix(ENVIRONMENT_PREFIX) {
        let laid = match &text {
            Ok(text) => lay(tree, &name, text),
            Err(error) => Err(SettingsError::new("", error.to_string())),
        };
        if let Err(error) = laid {
            errors.push(error.at(&Origin::Variable(name)));
        }
    }
    errors
}

/// Returns the name of the variable that sets a path.
pub(super) fn name_of(path: &[Segment]) -> String {
    let parts = path.iter().map(|segment| match segment {
        Segment::Key(key) => key.to_uppercase(),
        Segment::Index(index) => index.to_string(),
    });
    ENVIRONMENT_PREFIX.to_owned() + &parts.collect::<Vec<_>>().join(SEPARATOR)
}

/// Merges one variable over the tree.
fn lay(tree: &mut Node, name: &str, text: &str) -> Result<(), SettingsError> {
    let key = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name);
    let origin = Origin::Variable(name.to_owned());
    let mut path = Vec::new();
    let mut place = tree;
    for part in key.to_lowercase().split(SEPARATOR) {
        if part.is_empty() {
            let message = format!("the environment variable `{name}` has an empty part in its key");
            return Err(SettingsError::new(written(&path), message));
        }
        let next = if let Ok(index) = part.parse() {
            path.push(Segment::Index(index));
            element(place, index, &origin)
        } else {
            path.push(Segment::Key(part.to_owned()));
            field(place, part, &origin)
        };
        place = next.ok_or_else(|| {
            let message = format!("`{name}` skips an index; lists are set without gaps");
            SettingsError::new(written(&path), message)
        })?;
    }
    *place = read(text, name);
    Ok(())
}

/// Returns the place of a key. A value that is not a table becomes one; the types refuse it if they require something
/// else.
fn field<'a>(place: &'a mut Node, key: &str, origin: &Origin) -> Option<&'a mut Node> {
    if !place.is_table() {
        *place = Node::new(Kind::Table(BTreeMap::new()), origin.clone());
    }
    let Kind::Table(table) = &mut place.kind else {
        return None;
    };
    let absent = || Node::new(Kind::Table(BTreeMap::new()), origin.clone());
    Some(table.entry(key.to_owned()).or_insert_with(absent))
}

/// Returns the place of an index, which may be one past the end of the list.
fn element<'a>(place: &'a mut Node, index: usize, origin: &Origin) -> Option<&'a mut Node> {
    if !matches!(place.kind, Kind::List(_)) {
        *place = Node::new(Kind::List(Vec::new()), origin.clone());
    }
    let Kind::List(items) = &mut place.kind else {
        return None;
    };
    if index == items.len() && index <= INDEX_MAX {
        items.push(Node::new(Kind::Table(BTreeMap::new()), origin.clone()));
    }
    items.get_mut(index)
}

/// Reads the value of a variable: lists and inline tables as TOML, anything else as text, which the types convert.
fn read(text: &str, name: &str) -> Node {
    let structured = text.starts_with(['[', '{']);
    let parsed = structured.then(|| Node::parse_value(text, name)).flatten();
    parsed.unwrap_or_else(|| {
        let origin = Origin::Variable(name.to_owned());
        Node::new(Kind::Variable(text.to_owned()), origin)
    })
}
