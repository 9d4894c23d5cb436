//! Reads a [`Node`] into the types, and keeps the path and the kind of each value that does not fit.

use std::{fmt, vec};

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, Expected, IntoDeserializer, Unexpected, Visitor},
    forward_to_deserialize_any,
};

use super::{
    path::Segment,
    tree::{Kind, Node},
};

/// The reason why a value does not fit.
#[derive(Debug)]
pub(super) enum Fault {
    /// The table at the path does not have this key.
    UnknownKey {
        key: String,
        allowed: &'static [&'static str],
    },
    /// The text is not one of a fixed set.
    UnknownValue {
        value: String,
        allowed: &'static [&'static str],
    },
    /// A list is required, but a table was found.
    WantsList,
    /// A table is required, but a list was found.
    WantsTable,
    /// The value has another type. `kind` is the type that was found, and `found` also quotes the value.
    WrongType {
        wanted: String,
        found: String,
        kind: &'static str,
    },
    /// Anything else.
    Message(String),
}

/// A fault and its path.
#[derive(Debug)]
pub(super) struct Error {
    /// The path, innermost step first.
    reversed: Vec<Segment>,
    pub(super) fault: Fault,
}

impl Error {
    fn new(fault: Fault) -> Self {
        Self {
            reversed: Vec::new(),
            fault,
        }
    }

    /// Returns the error with the step to the table or list around the value added.
    fn below(mut self, segment: Segment) -> Self {
        self.reversed.push(segment);
        self
    }

    /// Returns the path of the value; for an unknown key, of its table.
    pub(super) fn path(&self) -> Vec<Segment> {
        self.reversed.iter().rev().cloned().collect()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.fault)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Fault::Message(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = plain(&expected.to_string());
        let kind = match found {
            Unexpected::Map => "a table",
            Unexpected::Seq => "a list",
            Unexpected::Str(_) => "a string",
            Unexpected::Bool(_) => "`true` or `false`",
            Unexpected::Float(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a number",
            // A date is the only other type of TOML.
            _ => "a date",
        };
        let found = match found {
            Unexpected::Map | Unexpected::Seq => kind.to_owned(),
            other => other.to_string(),
        };
        Self::new(Fault::WrongType {
            wanted,
            found,
            kind,
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(key: &str, allowed: &'static [&'static str]) -> Self {
        let key = key.to_owned();
        Self::new(Fault::UnknownKey { key, allowed })
    }

    fn unknown_variant(value: &str, allowed: &'static [&'static str]) -> Self {
        let value = value.to_owned();
        Self::new(Fault::UnknownValue { value, allowed })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::custom(format!("the key `{key}` is missing"))
    }
}

/// Returns the TOML term for serde's name of an expected type.
fn plain(expected: &str) -> String {
    match expected {
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i64" | "isize" => "a whole number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "path string" => "a string",
        table if table == "a map" || table.starts_with("struct ") => "a table",
        other => other,
    }
    .to_owned()
}

impl<'de> IntoDeserializer<'de, Error> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads a number, or the text of a variable as a number.
macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if let Kind::Variable(text) = &self.kind
                && let Ok(number) = text.parse::<$number>()
            {
                return visitor.$visit(number);
            }
            self.deserialize_any(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i64 i64
        deserialize_i16 visit_i64 i64
        deserialize_i32 visit_i64 i64
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u64 u64
        deserialize_u16 visit_u64 u64
        deserialize_u32 visit_u64 u64
        deserialize_u64 visit_u64 u64
        deserialize_f32 visit_f64 f64
        deserialize_f64 visit_f64 f64
        deserialize_bool visit_bool bool
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Text(text) | Kind::Variable(text) => visitor.visit_str(text),
            Kind::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Kind::Float(number) => visitor.visit_f64(*number),
            Kind::Flag(flag) => visitor.visit_bool(*flag),
            Kind::Date(text) => {
                let found = format!("the date `{text}`");
                Err(de::Error::invalid_type(Unexpected::Other(&found), &visitor))
            }
            Kind::List(items) => visitor.visit_seq(Items { items, index: 0 }),
            Kind::Table(table) => {
                let entries = table.iter().collect::<Vec<_>>().into_iter();
                visitor.visit_map(Entries { entries, at: None })
            }
            Kind::Removed => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            Kind::Table(_) => Err(Error::new(Fault::WantsList)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.kind {
            Kind::List(_) => Err(Error::new(Fault::WantsTable)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        allowed: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Text(text) | Kind::Variable(text) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            Kind::Integer(number) => Err(de::Error::unknown_variant(&number.to_string(), allowed)),
            Kind::Flag(flag) => Err(de::Error::unknown_variant(&flag.to_string(), allowed)),
            _ => self.deserialize_str(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The elements of a list, without those that were removed.
struct Items<'de> {
    items: &'de [Node],
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        while let Some(item) = self.items.get(self.index) {
            let index = self.index;
            self.index += 1;
            if item.kind != Kind::Removed {
                let read = seed.deserialize(item);
                let error = |error: Error| error.below(Segment::Index(index));
                return read.map(Some).map_err(error);
            }
        }
        Ok(None)
    }
}

/// The entries of a table.
struct Entries<'de> {
    entries: vec::IntoIter<(&'de String, &'de Node)>,
    at: Option<(&'de String, &'de Node)>,
}

impl<'de> de::MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.at = self.entries.next();
        let Some((key, _)) = self.at else {
            return Ok(None);
        };
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.at.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        let below = |error: Error| error.below(Segment::Key(key.clone()));
        seed.deserialize(node).map_err(below)
    }
}
