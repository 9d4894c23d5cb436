//! The keys of the settings' types, found with the types' own deserializers.
//!
//! A type is read by a deserializer without data. It follows a path, records which kind of value the type requests at
//! its end, and stops there.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use crate::settings::load::Segment;

/// The kind of value that a type requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A table.
    Table {
        /// The name of the struct.
        name: &'static str,
        /// Its keys.
        keys: &'static [&'static str],
    },
    /// A table whose keys are chosen by the user, such as names of headers.
    Map,
    /// A list.
    List,
    /// A single value.
    Value,
    /// The type has no value at this path.
    Nothing,
}

/// Returns the kind of value that `T` requests at a path.
pub(crate) fn shape<'de, T: Deserialize<'de>>(path: &[Segment]) -> Shape {
    match T::deserialize(Probe { path }) {
        Err(Found(shape)) => shape,
        Ok(_) => Shape::Nothing,
    }
}

/// A deserializer that follows a path.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [Segment],
}

/// The result, as the error that ends the reading.
#[derive(Debug)]
struct Found(Shape);

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl de::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Shape::Nothing)
    }
}

impl Probe<'_> {
    /// Ends with `shape` at the end of the path; otherwise continues with the next step in a table.
    fn into_table<'de, V: Visitor<'de>>(self, shape: Shape, visitor: V) -> Result<V::Value, Found> {
        match self.path.split_first() {
            None => Err(Found(shape)),
            Some((Segment::Key(key), path)) => visitor.visit_map(One {
                key: Some(key),
                rest: Probe { path },
            }),
            Some((Segment::Index(_), _)) => Err(Found(Shape::Nothing)),
        }
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Found;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        match self.path {
            [] => Err(Found(Shape::Value)),
            _ => Err(Found(Shape::Nothing)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        self.into_table(Shape::Table { name, keys }, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.into_table(Shape::Map, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        match self.path.split_first() {
            None => Err(Found(Shape::List)),
            Some((Segment::Index(_), path)) => visitor.visit_seq(One {
                key: None,
                rest: Probe { path },
            }),
            Some((Segment::Key(_), _)) => Err(Found(Shape::Nothing)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Found> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

/// A table with one entry, or a list with one element.
struct One<'a> {
    key: Option<&'a str>,
    rest: Probe<'a>,
}

impl<'de> de::MapAccess<'de> for One<'_> {
    type Error = Found;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Found> {
        let Some(key) = self.key.take() else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Found> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Found> {
        seed.deserialize(self.rest)
    }
}

impl<'de> de::SeqAccess<'de> for One<'_> {
    type Error = Found;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Found> {
        seed.deserialize(self.rest).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, load::segments};

    #[test]
    fn the_types_are_asked_at_any_depth() {
        let at = |path: &str| shape::<Settings>(&segments(path));
        assert!(
            matches!(at(""), Shape::Table { name: "Settings", keys } if keys.contains(&"backends"))
        );
        assert_eq!(at("backends"), Shape::List);
        let limits = at("backends[0].limits");
        assert!(matches!(limits, Shape::Table { keys, .. } if keys.contains(&"law")));
        assert_eq!(at("backends[0].headers"), Shape::Map);
        assert_eq!(at("backends[0].limits.law"), Shape::Value);
        assert_eq!(at("models[0].aliases[0]"), Shape::Value);
        for path in ["no_such_key", "server.listen.port", "server[0]"] {
            assert_eq!(at(path), Shape::Nothing, "{path}");
        }
    }
}
