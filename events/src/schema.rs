//! What the schemas of events are made of: their fields, and the types of these.

use serde::Serialize;
use serde_json::{Value, json};

/// The data of one type of event.
pub trait EventData: Serialize {
    /// The name of the type, such as `call.ended`.
    const KIND: &'static str;
    /// The version of the schema. It is raised by a change that a reader of the version before would not understand; a new field is none.
    const VERSION: u32;
    /// What the event reports.
    const ABOUT: &'static str;

    /// Returns the fields.
    fn fields() -> Vec<Field>;
}

/// A type of a field.
pub(crate) trait Shown {
    /// Returns its schema.
    fn shown() -> Value;
}

impl Shown for String {
    fn shown() -> Value {
        json!({"type": "string"})
    }
}

impl Shown for bool {
    fn shown() -> Value {
        json!({"type": "boolean"})
    }
}

impl Shown for u64 {
    fn shown() -> Value {
        json!({"type": "integer", "minimum": 0})
    }
}

impl Shown for f64 {
    fn shown() -> Value {
        json!({"type": "number", "minimum": 0})
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown() -> Value {
        let mut shown = T::shown();
        let kind = shown["type"].take();
        shown["type"] = json!([kind, "null"]);
        shown
    }
}

/// One field of the data of an event.
#[derive(Clone, Debug)]
pub struct Field {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: Value,
}

impl Field {
    pub(crate) fn new<T: Shown>(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about: about.trim(),
            schema: T::shown(),
        }
    }

    /// Returns its type as the reference shows it.
    pub(crate) fn kind(&self) -> String {
        let kind = &self.schema["type"];
        match kind {
            Value::Array(kinds) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                kinds.join(" or ")
            }
            kind => kind.as_str().unwrap_or_default().to_owned(),
        }
    }
}

pub(crate) fn type_name(kind: &str, version: u32) -> String {
    format!("kebne.{kind}.v{version}")
}

pub(crate) fn schema_id(kind: &str, version: u32) -> String {
    format!("urn:kebne:event:{kind}:{version}")
}
