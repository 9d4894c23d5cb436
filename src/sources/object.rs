//! Types of fields in bodies that accept what the API describes only, and say in plain words what they expect.

use std::{fmt, marker::PhantomData};

use kebne_collections::{Attribute, Attributes};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, IntoDeserializer, MapAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// An object. A derived reader accepts a list as the fields in order too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_map(ObjectVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// A whole number that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

struct WholeVisitor;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_u64(WholeVisitor)
    }
}

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number from 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
        let whole = u64::try_from(number).map(Whole);
        whole.map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }
}

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number(pub(crate) f32);

struct NumberVisitor;

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_f32(NumberVisitor)
    }
}

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        f32::deserialize(number.into_deserializer()).map(Number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        f32::deserialize(number.into_deserializer()).map(Number)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        f32::deserialize(number.into_deserializer()).map(Number)
    }
}

/// A text, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

struct TextsVisitor;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_any(TextsVisitor)
    }
}

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, list: A) -> Result<Texts, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Texts)
    }
}

/// Attributes.
pub(crate) type AttributeFields = Object<std::collections::BTreeMap<String, AttributeField>>;

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(crate) struct AttributeField(pub(crate) Attribute);

struct AttributeVisitor;

impl<'de> Deserialize<'de> for AttributeField {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        field.deserialize_any(AttributeVisitor)
    }
}

impl Visitor<'_> for AttributeVisitor {
    type Value = AttributeField;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a number, `true` or `false`")
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<AttributeField, E> {
        Ok(AttributeField(Attribute::Flag(flag)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<AttributeField, E> {
        let number: Result<f64, E> = f64::deserialize(number.into_deserializer());
        self.visit_f64(number?)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<AttributeField, E> {
        let number: Result<f64, E> = f64::deserialize(number.into_deserializer());
        self.visit_f64(number?)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<AttributeField, E> {
        Ok(AttributeField(Attribute::Number(number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<AttributeField, E> {
        Ok(AttributeField(Attribute::Text(text.to_owned())))
    }
}

/// Returns attributes as they are kept.
pub(crate) fn attributes(fields: AttributeFields) -> Attributes {
    let fields = fields.0.into_iter();
    fields.map(|(name, value)| (name, value.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: Option<Whole>,
        share: Option<Number>,
        texts: Option<Texts>,
        attributes: Option<AttributeFields>,
    }

    #[test]
    fn only_objects_are_objects_and_errors_are_plain() {
        for (text, expected) in [
            ("[1]", "expected an object"),
            ("5", "expected an object"),
            (r#"{"zz": 1}"#, "unknown field `zz`"),
            (r#"{"count": "x"}"#, "expected a whole number from 0"),
            (r#"{"count": -1}"#, "expected a whole number from 0"),
            (r#"{"count": 1.5}"#, "expected a whole number from 0"),
            (r#"{"share": "x"}"#, "expected a number"),
            (r#"{"texts": 1}"#, "expected a text or a list of texts"),
            (r#"{"texts": ["a", 1]}"#, "expected a string"),
            (r#"{"attributes": ["a", 1]}"#, "expected an object"),
            (r#"{"attributes": {"a": [1]}}"#, "expected a text, a number"),
            (
                r#"{"attributes": {"a": null}}"#,
                "expected a text, a number",
            ),
        ] {
            let error = serde_json::from_str::<Object<Inner>>(text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        let text = r#"{"count": 3, "share": 1, "texts": "a", "attributes": {"a": 1, "b": true, "c": "d"}}"#;
        let Object(read) = serde_json::from_str::<Object<Inner>>(text).unwrap();
        assert_eq!(
            (read.count, read.share),
            (Some(Whole(3)), Some(Number(1.0)))
        );
        assert_eq!(read.texts, Some(Texts(vec!["a".to_owned()])));
        let kept = attributes(read.attributes.unwrap());
        assert_eq!(kept["a"], Attribute::Number(1.0));
        assert_eq!(serde_json::json!(kept)["c"], "d");
    }
}
