//! What the translations between client dialects share: reading objects field by field, and reading chat answers.
//!
//! A translation never loses a field silently. A field with a counterpart is translated; a field without one is passed
//! on where the target object is open; a hint that changes only cost or speed is left out and named in
//! [`Translated::omitted`]; everything else is refused with the name of the field.

mod bad_answer;
mod chat_reader;
mod fields;
mod invalid_field;
mod json_depth;
mod message_parts;
mod path;

pub use bad_answer::BadAnswer;
pub(crate) use chat_reader::{ChatReader, Piece};
pub(crate) use fields::Fields;
pub use invalid_field::InvalidField;
pub(crate) use json_depth::JsonDepth;
pub(crate) use message_parts::{joined_or_parts, text_part};
pub(crate) use path::Path;

use std::collections::BTreeSet;

use serde_json::Value;

/// A translated request.
#[derive(Clone, Debug, PartialEq)]
pub struct Translated {
    /// The request in the target dialect.
    pub body: Value,
    /// Names of the fields that the target dialect has no place for and that change only cost or speed, for example
    /// `cache_control`. Sorted; each name occurs once.
    pub omitted: Vec<String>,
}

/// Collects the names of fields that are left out.
#[derive(Debug, Default)]
pub(crate) struct Omitted(BTreeSet<String>);

impl Omitted {
    /// Names a field.
    pub(crate) fn add(&mut self, name: impl Into<String>) {
        self.0.insert(name.into());
    }

    /// Names a field if it is there.
    pub(crate) fn add_taken(&mut self, fields: &mut Fields<'_>, name: &str) {
        if fields.take(name).is_some() {
            self.add(name);
        }
    }

    pub(crate) fn finish(self) -> Vec<String> {
        self.0.into_iter().collect()
    }
}
