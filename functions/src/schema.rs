//! The check of inputs against a JSON Schema.
//!
//! The checked keywords are those that describe the shape of data: types, members, lists, lengths, bounds and sets of values. A schema with
//! another keyword that restricts is refused when it is read, so that nothing is taken to be checked that is not.

use serde_json::{Map, Value};

/// The keywords that restrict nothing.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "contentMediaType",
];
/// The deepest nesting of schemas.
const DEPTH_MAX: usize = 32;

/// A schema that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSchema {
    shown: Value,
    root: Node,
}

/// The reason why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is not JSON.
    #[error("is not JSON: {0}")]
    Json(String),
    /// A schema in it is neither an object nor a boolean.
    #[error("{0} is not a schema: an object, `true` or `false`")]
    NotSchema(String),
    /// A keyword is not checked here.
    #[error(
        "`{keyword}` at {place} is not checked here; leave it out, or check it in the function"
    )]
    Unknown {
        /// The keyword.
        keyword: String,
        /// Where it is.
        place: String,
    },
    /// The value of a keyword has another form.
    #[error("`{keyword}` at {place} must be {wanted}")]
    Wrong {
        /// The keyword.
        keyword: &'static str,
        /// Where it is.
        place: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// It is nested too deeply.
    #[error("is nested deeper than 32 schemas")]
    TooDeep,
}

/// The reason why an input is not as its schema has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{place}` {reason}")]
pub struct InputError {
    /// The member, such as `items[2].name`; `the input` for the whole.
    pub place: String,
    /// What is wrong.
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// `true` for the schema `false`, which nothing satisfies.
    is_never: bool,
    types: Vec<Kind>,
    values: Option<Vec<Value>>,
    properties: Vec<(String, Node)>,
    required: Vec<String>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
    /// Least and most items, characters, members.
    items_bounds: Bounds<u64>,
    length_bounds: Bounds<u64>,
    members_bounds: Bounds<u64>,
    /// Least and most value.
    bounds: Bounds<f64>,
    /// Bounds that are not reached themselves.
    exclusive: Bounds<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds<T> {
    least: Option<T>,
    most: Option<T>,
}

impl<T> Default for Bounds<T> {
    fn default() -> Self {
        Self {
            least: None,
            most: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    const ALL: [(&'static str, Self); 7] = [
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    fn of(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    fn has(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => {
                value.is_i64()
                    || value.is_u64()
                    || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

impl InputSchema {
    /// Reads a schema from its JSON text.
    ///
    /// # Errors
    /// Returns an error that names the keyword and its place.
    pub fn read(text: &str) -> Result<Self, SchemaError> {
        let shown: Value =
            serde_json::from_str(text).map_err(|error| SchemaError::Json(error.to_string()))?;
        let root = node(&shown, "the schema", 0)?;
        Ok(Self { shown, root })
    }

    /// Returns the schema as it was given.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// Checks an input.
    ///
    /// # Errors
    /// Returns the first thing that is wrong, with its place.
    pub fn check(&self, input: &Value) -> Result<(), InputError> {
        self.root.check(input, "")
    }
}

fn node(schema: &Value, place: &str, depth: usize) -> Result<Node, SchemaError> {
    if depth > DEPTH_MAX {
        return Err(SchemaError::TooDeep);
    }
    let keywords = match schema {
        Value::Object(keywords) => keywords,
        Value::Bool(allows) => {
            return Ok(Node {
                is_never: !allows,
                ..Node::default()
            });
        }
        _ => return Err(SchemaError::NotSchema(place.to_owned())),
    };
    let mut read = Node::default();
    for (keyword, value) in keywords {
        read.take(keyword, value, (place, depth))?;
    }
    Ok(read)
}

impl Node {
    /// Takes one keyword of a schema.
    fn take(
        &mut self,
        keyword: &str,
        value: &Value,
        (place, depth): (&str, usize),
    ) -> Result<(), SchemaError> {
        let wrong = |keyword, wanted| SchemaError::Wrong {
            keyword,
            place: place.to_owned(),
            wanted,
        };
        match keyword {
            "type" => {
                let wanted = "the name of a type, or a list of them";
                self.types = types(value).ok_or_else(|| wrong("type", wanted))?;
            }
            "enum" => {
                let values = value.as_array().ok_or_else(|| wrong("enum", "a list"))?;
                self.values = Some(values.clone());
            }
            "const" => self.values = Some(vec![value.clone()]),
            "properties" => {
                let members = value.as_object();
                let members = members.ok_or_else(|| wrong("properties", "an object"))?;
                for (name, schema) in members {
                    let at = format!("{place}.properties.{name}");
                    let schema = node(schema, &at, depth + 1)?;
                    self.properties.push((name.clone(), schema));
                }
            }
            "required" => {
                let names = texts(value);
                self.required = names.ok_or_else(|| wrong("required", "a list of names"))?;
            }
            "additionalProperties" => {
                let at = format!("{place}.additionalProperties");
                self.additional = Some(Box::new(node(value, &at, depth + 1)?));
            }
            "items" => {
                let at = format!("{place}.items");
                self.items = Some(Box::new(node(value, &at, depth + 1)?));
            }
            _ if ANNOTATIONS.contains(&keyword) => {}
            _ => return self.take_bound(keyword, value, place),
        }
        Ok(())
    }

    /// Takes a keyword that bounds a size or a number.
    fn take_bound(&mut self, keyword: &str, value: &Value, place: &str) -> Result<(), SchemaError> {
        let wrong = |keyword, wanted| SchemaError::Wrong {
            keyword,
            place: place.to_owned(),
            wanted,
        };
        let count = |keyword| {
            let count = value.as_u64().map(Some);
            count.ok_or_else(|| wrong(keyword, "a whole number of at least 0"))
        };
        let number = |keyword| {
            let number = value.as_f64().map(Some);
            number.ok_or_else(|| wrong(keyword, "a number"))
        };
        match keyword {
            "minItems" => self.items_bounds.least = count("minItems")?,
            "maxItems" => self.items_bounds.most = count("maxItems")?,
            "minLength" => self.length_bounds.least = count("minLength")?,
            "maxLength" => self.length_bounds.most = count("maxLength")?,
            "minProperties" => self.members_bounds.least = count("minProperties")?,
            "maxProperties" => self.members_bounds.most = count("maxProperties")?,
            "minimum" => self.bounds.least = number("minimum")?,
            "maximum" => self.bounds.most = number("maximum")?,
            "exclusiveMinimum" => self.exclusive.least = number("exclusiveMinimum")?,
            "exclusiveMaximum" => self.exclusive.most = number("exclusiveMaximum")?,
            _ => {
                return Err(SchemaError::Unknown {
                    keyword: keyword.to_owned(),
                    place: place.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn check(&self, value: &Value, place: &str) -> Result<(), InputError> {
        let wrong = |reason: String| {
            let place = if place.is_empty() { "the input" } else { place };
            Err(InputError {
                place: place.to_owned(),
                reason,
            })
        };
        if self.is_never {
            return wrong("is not allowed".to_owned());
        }
        if !self.types.is_empty() && !self.types.iter().any(|kind| kind.has(value)) {
            let names: Vec<&str> = self.types.iter().map(|kind| kind.name()).collect();
            return wrong(format!("must be of the type {}", names.join(" or ")));
        }
        if let Some(values) = &self.values
            && !values.iter().any(|allowed| is_equal(allowed, value))
        {
            let shown: Vec<String> = values.iter().map(Value::to_string).collect();
            return wrong(format!("must be {}", shown.join(" or ")));
        }
        if let Some(reason) = self.beyond_bounds(value) {
            return wrong(reason);
        }
        match value {
            Value::Object(members) => self.check_members(members, place),
            Value::Array(items) => {
                let Some(schema) = &self.items else {
                    return Ok(());
                };
                let mut each = items.iter().enumerate();
                each.try_for_each(|(index, item)| schema.check(item, &format!("{place}[{index}]")))
            }
            _ => Ok(()),
        }
    }

    fn check_members(&self, members: &Map<String, Value>, place: &str) -> Result<(), InputError> {
        let at = |name: &str| {
            if place.is_empty() {
                name.to_owned()
            } else {
                format!("{place}.{name}")
            }
        };
        if let Some(missing) = self
            .required
            .iter()
            .find(|name| !members.contains_key(*name))
        {
            return Err(InputError {
                place: at(missing),
                reason: "is missing".to_owned(),
            });
        }
        for (name, value) in members {
            let known = self.properties.iter().find(|(known, _)| known == name);
            let schema = known
                .map(|(_, schema)| schema)
                .or(self.additional.as_deref());
            if let Some(schema) = schema {
                schema.check(value, &at(name))?;
            }
        }
        Ok(())
    }

    /// Returns which bound a value exceeds.
    fn beyond_bounds(&self, value: &Value) -> Option<String> {
        let (bounds, size, what) = match value {
            Value::Array(items) => (&self.items_bounds, items.len(), "items"),
            Value::Object(members) => (&self.members_bounds, members.len(), "members"),
            Value::String(text) => (&self.length_bounds, text.chars().count(), "characters"),
            Value::Number(number) => return self.beyond_numbers(number.as_f64()?),
            Value::Null | Value::Bool(_) => return None,
        };
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        if let Some(least) = bounds.least.filter(|least| size < *least) {
            return Some(format!("must have at least {least} {what}"));
        }
        let most = bounds.most.filter(|most| size > *most)?;
        Some(format!("must have at most {most} {what}"))
    }

    fn beyond_numbers(&self, number: f64) -> Option<String> {
        let checks = [
            (
                self.bounds.least.filter(|least| number < *least),
                "at least",
            ),
            (self.bounds.most.filter(|most| number > *most), "at most"),
            (
                self.exclusive.least.filter(|least| number <= *least),
                "more than",
            ),
            (
                self.exclusive.most.filter(|most| number >= *most),
                "less than",
            ),
        ];
        let (bound, words) = checks
            .into_iter()
            .find_map(|(bound, words)| Some((bound?, words)))?;
        Some(format!("must be {words} {bound}"))
    }
}

/// Returns `true` if two values are the same JSON value; numbers are compared by their value.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one
                    .as_f64()
                    .zip(other.as_f64())
                    .is_some_and(|(one, other)| one.total_cmp(&other).is_eq())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| is_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|other| is_equal(value, other))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

fn types(value: &Value) -> Option<Vec<Kind>> {
    match value {
        Value::String(name) => Some(vec![Kind::of(name)?]),
        Value::Array(names) if !names.is_empty() => {
            names.iter().map(|name| Kind::of(name.as_str()?)).collect()
        }
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let names = value.as_array()?.iter();
    names.map(|name| name.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wrong(schema: &Value, input: &Value) -> String {
        let schema = InputSchema::read(&schema.to_string()).unwrap();
        schema
            .check(input)
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn an_error_names_the_member_and_what_it_must_be() {
        let schema = json!({"type": "object", "required": ["city"], "additionalProperties": false, "properties": {
            "city": {"type": "string", "minLength": 2, "maxLength": 5},
            "days": {"type": "integer", "minimum": 1, "exclusiveMaximum": 8},
            "unit": {"enum": ["c", "f"]},
            "tags": {"type": "array", "maxItems": 2, "items": {"type": ["string", "null"]}}}});
        for (input, expected) in [
            (
                json!({"city": "Kiruna"}),
                "`city` must have at most 5 characters",
            ),
            (
                json!({"city": "K"}),
                "`city` must have at least 2 characters",
            ),
            (
                json!({"city": "Luleå", "days": 7, "unit": "c", "tags": ["a", null]}),
                "",
            ),
            (json!({"city": "Luleå", "days": 7.0}), ""),
            (json!({}), "`city` is missing"),
            (json!([]), "`the input` must be of the type object"),
            (
                json!({"city": "Luleå", "days": 0}),
                "`days` must be at least 1",
            ),
            (
                json!({"city": "Luleå", "days": 8}),
                "`days` must be less than 8",
            ),
            (
                json!({"city": "Luleå", "days": 1.5}),
                "`days` must be of the type integer",
            ),
            (
                json!({"city": "Luleå", "unit": "k"}),
                "`unit` must be \"c\" or \"f\"",
            ),
            (
                json!({"city": "Luleå", "tags": ["a", 1]}),
                "`tags[1]` must be of the type string or null",
            ),
            (
                json!({"city": "Luleå", "tags": ["a", "b", "c"]}),
                "`tags` must have at most 2 items",
            ),
            (json!({"city": "Luleå", "more": 1}), "`more` is not allowed"),
        ] {
            assert_eq!(wrong(&schema, &input), expected, "{input}");
        }
        assert_eq!(
            wrong(&json!({"const": {"a": [1.0]}}), &json!({"a": [1]})),
            ""
        );
        assert_eq!(
            wrong(
                &json!({"additionalProperties": {"type": "null"}}),
                &json!({"a": 1})
            ),
            "`a` must be of the type null"
        );
    }

    #[test]
    fn a_schema_whose_keywords_are_not_checked_is_refused_with_its_place() {
        let error = |text: &str| InputSchema::read(text).unwrap_err().to_string();
        let pattern = r#"{"properties": {"a": {"pattern": "x"}}}"#;
        let expected = "`pattern` at the schema.properties.a is not checked here; leave it out, or check it in the function";
        assert_eq!(error(pattern), expected);
        assert!(error("{").starts_with("is not JSON"));
        assert_eq!(
            error("[]"),
            "the schema is not a schema: an object, `true` or `false`"
        );
        assert!(error(r#"{"type": "text"}"#).starts_with("`type` at the schema must be"));
        assert!(error(r#"{"maxItems": -1}"#).starts_with("`maxItems` at the schema must be"));
        let deep = format!("{}true{}", r#"{"items":"#.repeat(40), "}".repeat(40));
        assert_eq!(error(&deep), "is nested deeper than 32 schemas");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_satisfies_the_schema_of_its_own_constant_and_no_other(one in any_json(), other in any_json()) {
            let schema = InputSchema::read(&json!({"const": one}).to_string()).unwrap();
            prop_assert!(schema.check(&one).is_ok());
            prop_assert_eq!(schema.check(&other).is_ok(), one == other);
        }
    }
}
