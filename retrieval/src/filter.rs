//! Attributes of documents, and filters on them.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

/// The greatest number of attributes.
const ATTRIBUTES_MAX: usize = 16;
/// The greatest length of a name, in characters.
const NAME_CHARS_MAX: usize = 64;
/// The greatest length of a text, in characters.
const TEXT_CHARS_MAX: usize = 512;
/// The greatest depth of nested filters.
const DEPTH_MAX: usize = 8;
/// The greatest number of comparisons in a filter.
const COMPARISONS_MAX: usize = 256;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Attribute {
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// The attributes of a document: up to 16 names of up to 64 characters with a number, a flag or a text of up to 512 characters.
pub type Attributes = BTreeMap<String, Attribute>;

/// The reason why attributes or a filter are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAttributes {
    /// There are more than 16 attributes.
    #[error("there are {0} attributes; the most is {ATTRIBUTES_MAX}")]
    TooMany(usize),
    /// The name of an attribute is empty or too long.
    #[error("the name of an attribute has 1 to {NAME_CHARS_MAX} characters, not {0}")]
    Name(usize),
    /// A text is too long.
    #[error("attribute `{0}` has more than {TEXT_CHARS_MAX} characters")]
    Text(String),
    /// Filters are nested too deep.
    #[error("filters are nested deeper than {DEPTH_MAX}")]
    Depth,
    /// The filter has too many comparisons.
    #[error("a filter has at most {COMPARISONS_MAX} comparisons")]
    Comparisons,
}

/// A condition on attributes, in the form of OpenAI's `filters`: a comparison
/// `{"type": "eq", "key": "region", "value": "eu"}` with `eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in` or `nin`, or
/// `{"type": "and", "filters": […]}` and `or` of several.
///
/// Values of different types are never equal and have no order. An attribute that is missing satisfies `ne` and `nin` only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Filter {
    /// Equal.
    Eq(Comparison<Attribute>),
    /// Not equal.
    Ne(Comparison<Attribute>),
    /// Greater.
    Gt(Comparison<Attribute>),
    /// Greater or equal.
    Gte(Comparison<Attribute>),
    /// Less.
    Lt(Comparison<Attribute>),
    /// Less or equal.
    Lte(Comparison<Attribute>),
    /// Equal to one of several.
    In(Comparison<Vec<Attribute>>),
    /// Equal to none of several.
    #[serde(rename = "nin")]
    NotIn(Comparison<Vec<Attribute>>),
    /// All of several.
    And(Several),
    /// At least one of several.
    Or(Several),
}

/// An attribute and what it is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison<V> {
    /// The name of the attribute.
    pub key: String,
    /// What its value is compared with.
    pub value: V,
}

/// Several filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Several {
    /// The filters.
    pub filters: Vec<Filter>,
}

impl Attribute {
    /// Returns the order of two values, or `None` if they have different types.
    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Flag(left), Self::Flag(right)) => Some(left.cmp(right)),
            (Self::Number(left), Self::Number(right)) => left.partial_cmp(right),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Checks attributes against their bounds.
    ///
    /// # Errors
    /// Names the bound that they exceed.
    pub fn check(attributes: &Attributes) -> Result<(), InvalidAttributes> {
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(InvalidAttributes::TooMany(attributes.len()));
        }
        for (name, value) in attributes {
            check_value(name, value)?;
        }
        Ok(())
    }
}

fn check_value(name: &str, value: &Attribute) -> Result<(), InvalidAttributes> {
    let length = name.chars().count();
    if length == 0 || length > NAME_CHARS_MAX {
        return Err(InvalidAttributes::Name(length));
    }
    match value {
        Attribute::Text(text) if text.chars().count() > TEXT_CHARS_MAX => {
            Err(InvalidAttributes::Text(name.to_owned()))
        }
        _ => Ok(()),
    }
}

impl Filter {
    /// Checks the filter against its bounds: the names and values as of attributes, 8 levels, 256 comparisons.
    ///
    /// # Errors
    /// Names the bound that it exceeds.
    pub fn check(&self) -> Result<(), InvalidAttributes> {
        let mut comparisons = COMPARISONS_MAX;
        self.count(DEPTH_MAX, &mut comparisons)
    }

    fn count(&self, depth: usize, left: &mut usize) -> Result<(), InvalidAttributes> {
        let depth = depth.checked_sub(1).ok_or(InvalidAttributes::Depth)?;
        let mut compare = |key: &str, value: &Attribute| {
            *left = left.checked_sub(1).ok_or(InvalidAttributes::Comparisons)?;
            check_value(key, value)
        };
        match self {
            Self::Eq(one)
            | Self::Ne(one)
            | Self::Gt(one)
            | Self::Gte(one)
            | Self::Lt(one)
            | Self::Lte(one) => compare(&one.key, &one.value),
            Self::In(any) | Self::NotIn(any) => any
                .value
                .iter()
                .try_for_each(|value| compare(&any.key, value)),
            Self::And(several) | Self::Or(several) => several
                .filters
                .iter()
                .try_for_each(|filter| filter.count(depth, left)),
        }
    }

    /// Returns `true` if the attributes satisfy the filter. An `and` of nothing is satisfied, an `or` of nothing is not.
    pub fn accepts(&self, attributes: &Attributes) -> bool {
        let order = |one: &Comparison<Attribute>| {
            attributes
                .get(&one.key)
                .and_then(|value| value.order(&one.value))
        };
        let among = |any: &Comparison<Vec<Attribute>>| {
            attributes.get(&any.key).is_some_and(|value| {
                any.value
                    .iter()
                    .any(|other| value.order(other) == Some(Ordering::Equal))
            })
        };
        match self {
            Self::Eq(one) => order(one) == Some(Ordering::Equal),
            Self::Ne(one) => order(one) != Some(Ordering::Equal),
            Self::Gt(one) => order(one) == Some(Ordering::Greater),
            Self::Gte(one) => order(one).is_some_and(Ordering::is_ge),
            Self::Lt(one) => order(one) == Some(Ordering::Less),
            Self::Lte(one) => order(one).is_some_and(Ordering::is_le),
            Self::In(any) => among(any),
            Self::NotIn(any) => !among(any),
            Self::And(several) => several
                .filters
                .iter()
                .all(|filter| filter.accepts(attributes)),
            Self::Or(several) => several
                .filters
                .iter()
                .any(|filter| filter.accepts(attributes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attributes() -> Attributes {
        serde_json::from_value(json!({ "region": "eu", "year": 2024, "draft": false })).unwrap()
    }

    fn accepts(filter: Value) -> bool {
        let filter: Filter = serde_json::from_value(filter).unwrap();
        filter.check().unwrap();
        filter.accepts(&attributes())
    }

    #[test]
    fn comparisons_compare_values_of_one_type() {
        for (filter, accepted) in [
            (
                json!({ "type": "eq", "key": "region", "value": "eu" }),
                true,
            ),
            (
                json!({ "type": "eq", "key": "year", "value": 2024.0 }),
                true,
            ),
            (
                json!({ "type": "eq", "key": "year", "value": "2024" }),
                false,
            ),
            (
                json!({ "type": "ne", "key": "region", "value": "us" }),
                true,
            ),
            (
                json!({ "type": "ne", "key": "absent", "value": "us" }),
                true,
            ),
            (
                json!({ "type": "eq", "key": "absent", "value": "us" }),
                false,
            ),
            (json!({ "type": "gt", "key": "year", "value": 2023 }), true),
            (json!({ "type": "gte", "key": "year", "value": 2024 }), true),
            (json!({ "type": "lt", "key": "year", "value": 2024 }), false),
            (json!({ "type": "lte", "key": "year", "value": 2024 }), true),
            (json!({ "type": "lt", "key": "year", "value": "9" }), false),
            (
                json!({ "type": "eq", "key": "draft", "value": false }),
                true,
            ),
            (
                json!({ "type": "in", "key": "region", "value": ["us", "eu"] }),
                true,
            ),
            (
                json!({ "type": "nin", "key": "region", "value": ["us", "eu"] }),
                false,
            ),
            (
                json!({ "type": "nin", "key": "absent", "value": ["us"] }),
                true,
            ),
        ] {
            assert_eq!(accepts(filter.clone()), accepted, "{filter}");
        }
    }

    #[test]
    fn filters_are_combined() {
        let eu = json!({ "type": "eq", "key": "region", "value": "eu" });
        let old = json!({ "type": "lt", "key": "year", "value": 2000 });
        assert!(accepts(json!({ "type": "or", "filters": [eu, old] })));
        assert!(!accepts(
            json!({ "type": "and", "filters": [eu, { "type": "or", "filters": [old] }] })
        ));
        assert!(accepts(json!({ "type": "and", "filters": [] })));
        assert!(!accepts(json!({ "type": "or", "filters": [] })));
    }

    #[test]
    fn what_is_too_deep_or_too_wide_is_refused() {
        let mut deep = json!({ "type": "eq", "key": "a", "value": 1 });
        for _ in 0..8 {
            deep = json!({ "type": "and", "filters": [deep] });
        }
        let check = |filter: Value| serde_json::from_value::<Filter>(filter).unwrap().check();
        assert_eq!(check(deep), Err(InvalidAttributes::Depth));
        assert_eq!(
            check(json!({ "type": "in", "key": "a", "value": vec![1; 257] })),
            Err(InvalidAttributes::Comparisons)
        );
        assert_eq!(
            check(json!({ "type": "eq", "key": "", "value": 1 })),
            Err(InvalidAttributes::Name(0))
        );
    }

    #[test]
    fn an_unknown_comparison_is_an_error() {
        assert!(
            serde_json::from_value::<Filter>(json!({ "type": "like", "key": "a", "value": "b" }))
                .is_err()
        );
    }

    #[test]
    fn attributes_have_bounds() {
        assert_eq!(Attribute::check(&attributes()), Ok(()));
        let many = (0..17)
            .map(|at| (at.to_string(), Attribute::Flag(true)))
            .collect();
        assert_eq!(Attribute::check(&many), Err(InvalidAttributes::TooMany(17)));
        let long = [("note".to_owned(), Attribute::Text("x".repeat(513)))].into();
        assert_eq!(
            Attribute::check(&long),
            Err(InvalidAttributes::Text("note".to_owned()))
        );
    }
}
