//! The members of a JSON object in their order, without a tree of their values.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// The members of an object.
#[derive(Debug)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Returns the last member with this key, as parsers do.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let mut members = self.0.iter().rev();
        members
            .find(|(name, _)| name == key)
            .map(|(_, value)| *value)
    }

    /// Returns the object with other values. `changed` returns `None` for a member that stays as it is, and `Some(None)` for one that is
    /// left out.
    pub(crate) fn with<'v>(&self, changed: impl Fn(&str) -> Option<Option<&'v Value>>) -> String {
        let mut object = String::from("{");
        for (key, value) in &self.0 {
            let value = match changed(key) {
                None => value.get().to_owned(),
                Some(None) => continue,
                Some(Some(value)) => value.to_string(),
            };
            if object.len() > 1 {
                object.push(',');
            }
            let key = Value::from(key.as_ref()).to_string();
            object.extend([key.as_str(), ":", value.as_str()]);
        }
        object.push('}');
        object
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A key that is borrowed where it can be.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((key, value));
        }
        Ok(Members(members))
    }
}
