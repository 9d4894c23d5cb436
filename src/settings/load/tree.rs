//! A layer of settings as a tree in which each value has its place.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
};

use toml::{
    Spanned, Value,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    path::{Segment, segments},
    secret,
};
use crate::settings::{Origin, SettingsError};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The value.
    pub(super) kind: Kind,
    /// The place of the value; for a table with a header, of the header.
    pub(super) origin: Origin,
    /// The place of its key, if it is in a table of a file.
    key: Option<Origin>,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Text of a file.
    Text(String),
    /// Text of a variable, which the types convert.
    Variable(String),
    Integer(i64),
    Float(f64),
    Flag(bool),
    /// A date or a time; no setting is one.
    Date(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    /// An element of a list that was removed; the others keep their indices.
    Removed,
}

impl Node {
    /// Creates a value without a key.
    pub(super) fn new(kind: Kind, origin: Origin) -> Self {
        Self {
            kind,
            origin,
            key: None,
        }
    }

    /// Converts the defaults of the types to a tree.
    pub(super) fn from_defaults(value: &Value) -> Self {
        let kind = match value {
            Value::String(text) => Kind::Text(text.clone()),
            Value::Integer(number) => Kind::Integer(*number),
            Value::Float(number) => Kind::Float(*number),
            Value::Boolean(flag) => Kind::Flag(*flag),
            Value::Datetime(date) => Kind::Date(date.to_string()),
            Value::Array(items) => Kind::List(items.iter().map(Self::from_defaults).collect()),
            Value::Table(table) => {
                let items = table.iter();
                Kind::Table(
                    items
                        .map(|(key, item)| (key.clone(), Self::from_defaults(item)))
                        .collect(),
                )
            }
        };
        Self::new(kind, Origin::Default)
    }

    /// Parses a file.
    ///
    /// # Errors
    /// Returns the first syntax error, with its place.
    pub(super) fn parse(text: &str, path: &str) -> Result<Self, SettingsError> {
        let source = Source {
            text,
            path: Arc::from(path),
        };
        let table = DeTable::parse(text).map_err(|error| {
            // The parser marks a missing end of the file with an empty span after the last letter.
            let span = error.span().unwrap_or(0..0);
            SettingsError::new("", error.message().replace('\n', ", ")).at(&source.place(&span))
        })?;
        let origin = source.place(&table.span());
        let table = source.table(table.get_ref()).map_err(without_secret)?;
        Ok(Self::new(table, origin))
    }

    /// Returns the text of a file.
    ///
    /// # Errors
    /// The place of the first byte that is not UTF-8.
    pub(super) fn text(bytes: Vec<u8>, path: &str) -> Result<String, SettingsError> {
        String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..valid).unwrap_or_default();
            let source = Source {
                text: &String::from_utf8_lossy(before),
                path: Arc::from(path),
            };
            let place = source.place(&(valid..valid));
            SettingsError::new("", "the file is not UTF-8").at(&place)
        })
    }

    /// Parses the value of a variable as TOML.
    pub(super) fn parse_value(text: &str, name: &str) -> Option<Self> {
        let source = Source {
            text,
            path: Arc::from(name),
        };
        let value = DeValue::parse(text).ok()?;
        let mut node = source.value(&value).ok()?;
        node.set_origin(&Origin::Variable(name.to_owned()));
        Some(node)
    }

    /// Sets the place of this value and of everything below it.
    fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        self.key = None;
        match &mut self.kind {
            Kind::Table(table) => table.values_mut().for_each(|item| item.set_origin(origin)),
            Kind::List(items) => items.iter_mut().for_each(|item| item.set_origin(origin)),
            _ => {}
        }
    }

    /// Merges another layer over this one: tables are merged, everything else is replaced.
    pub(super) fn overlay(&mut self, upper: Self) {
        if !(self.is_table() && upper.is_table()) {
            *self = upper;
            return;
        }
        self.origin = upper.origin;
        self.key = upper.key;
        if let (Kind::Table(lower), Kind::Table(table)) = (&mut self.kind, upper.kind) {
            for (key, item) in table {
                match lower.entry(key) {
                    Entry::Occupied(mut entry) => entry.get_mut().overlay(item),
                    Entry::Vacant(entry) => {
                        entry.insert(item);
                    }
                }
            }
        }
    }

    /// Merges an included file into this one: tables are merged, tables in lists are added to the list, and everything else is
    /// replaced.
    pub(super) fn include(&mut self, included: Self) {
        let are_tables = |items: &[Self]| items.iter().all(Self::is_table);
        match (&mut self.kind, included.kind) {
            (Kind::Table(own), Kind::Table(table)) => {
                for (key, item) in table {
                    match own.entry(key) {
                        Entry::Occupied(mut entry) => entry.get_mut().include(item),
                        Entry::Vacant(entry) => {
                            entry.insert(item);
                        }
                    }
                }
            }
            (Kind::List(own), Kind::List(items)) if are_tables(own) && are_tables(&items) => {
                own.extend(items);
            }
            (own, kind) => {
                *own = kind;
                (self.origin, self.key) = (included.origin, included.key);
            }
        }
    }

    /// Removes a key of a table.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        match &mut self.kind {
            Kind::Table(table) => table.remove(key),
            _ => None,
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table(_))
    }

    /// Returns the place of the key, or `otherwise` if the value was not set by a file.
    pub(super) fn key_origin<'a>(&'a self, otherwise: &'a Origin) -> &'a Origin {
        match (&self.key, self.first_set()) {
            (Some(key), _) => key,
            (None, set) => set.unwrap_or(otherwise),
        }
    }

    /// Returns the first place, in this value or below, that is not a default.
    pub(super) fn first_set(&self) -> Option<&Origin> {
        if !self.origin.is_default() {
            return Some(&self.origin);
        }
        match &self.kind {
            Kind::Table(table) => table.values().find_map(Self::first_set),
            Kind::List(items) => items.iter().find_map(Self::first_set),
            _ => None,
        }
    }

    /// Returns the value of one step of a path.
    pub(super) fn get(&self, segment: &Segment) -> Option<&Self> {
        match (&self.kind, segment) {
            (Kind::Table(table), Segment::Key(key)) => table.get(key),
            (Kind::List(items), Segment::Index(index)) => items.get(*index),
            _ => None,
        }
    }

    /// Returns the value at a path.
    pub(super) fn find(&self, path: &[Segment]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |node, segment| node.get(segment))
    }

    /// Removes the value at a path; returns `false` if there is none.
    pub(super) fn remove(&mut self, path: &[Segment]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let mut node = self;
        for segment in parents {
            let next = match (&mut node.kind, segment) {
                (Kind::Table(table), Segment::Key(key)) => table.get_mut(key),
                (Kind::List(items), Segment::Index(index)) => items.get_mut(*index),
                _ => None,
            };
            let Some(next) = next else { return false };
            node = next;
        }
        match (&mut node.kind, last) {
            (Kind::Table(table), Segment::Key(key)) => table.remove(key).is_some(),
            (Kind::List(items), Segment::Index(index)) => match items.get_mut(*index) {
                Some(item) if item.kind != Kind::Removed => {
                    item.kind = Kind::Removed;
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// The text of a file, used to convert offsets to lines and columns.
struct Source<'a> {
    text: &'a str,
    path: Arc<str>,
}

impl Source<'_> {
    /// Returns the place of a span's beginning.
    fn place(&self, span: &Range<usize>) -> Origin {
        let before = self
            .text
            .get(..span.start.min(self.text.len()))
            .unwrap_or_default();
        let (line, rest) = match before.rsplit_once('\n') {
            Some((above, rest)) => (above.matches('\n').count() + 2, rest),
            None => (1, before),
        };
        Origin::File {
            path: self.path.to_string(),
            line,
            column: rest.chars().count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Kind, SettingsError> {
        let mut items = BTreeMap::new();
        for (key, value) in table {
            let node = self.value(value);
            let mut node = node.map_err(|error| below(key.get_ref(), error))?;
            node.key = Some(self.place(&key.span()));
            items.insert(key.get_ref().to_string(), node);
        }
        Ok(Kind::Table(items))
    }

    fn list(&self, items: &DeArray<'_>) -> Result<Kind, SettingsError> {
        let nodes = items.iter().enumerate().map(|(index, item)| {
            let node = self.value(item);
            node.map_err(|error| below(&format!("[{index}]"), error))
        });
        nodes.collect::<Result<_, _>>().map(Kind::List)
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Result<Node, SettingsError> {
        let origin = self.place(&value.span());
        let out_of_range = |text: &str| {
            let message = format!("the number `{text}` does not fit into 64 bits");
            SettingsError::new("", message).at(&origin)
        };
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Kind::Integer(parsed.map_err(|_| out_of_range(number.as_str()))?)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                Kind::Float(parsed.map_err(|_| out_of_range(number.as_str()))?)
            }
            DeValue::Boolean(flag) => Kind::Flag(*flag),
            DeValue::Datetime(date) => Kind::Date(date.to_string()),
            DeValue::Array(items) => self.list(items)?,
            DeValue::Table(table) => self.table(table)?,
        };
        Ok(Node::new(kind, origin))
    }
}

/// Returns the error of a number that is too large, without the number if its key may hold a secret.
fn without_secret(mut error: SettingsError) -> SettingsError {
    if secret::is_secret(&segments(&error.path)) {
        "the number does not fit into 64 bits".clone_into(&mut error.message);
    }
    error
}

/// Returns an error of a value as one of the table or list around it.
fn below(step: &str, mut error: SettingsError) -> SettingsError {
    let dot = if error.path.is_empty() || error.path.starts_with('[') {
        ""
    } else {
        "."
    };
    error.path = format!("{step}{dot}{}", error.path);
    error
}
