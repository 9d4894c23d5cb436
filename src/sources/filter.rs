//! The field `filters` of a search, read with errors that say what a filter is.

use std::collections::BTreeMap;

use kebne_collections::Filter;
use serde::Deserialize;
use serde_json::Value;

use super::object::Object;

/// The types of filters.
const TYPES: &str = "`eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `nin`, `and` or `or`";
/// The levels that are read, more than [`Filter::check`] accepts.
const DEPTH_MAX: usize = 16;

/// A filter as it came.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FilterField(Object<BTreeMap<String, Value>>);

impl FilterField {
    /// Returns the filter.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn filter(self) -> Result<Filter, String> {
        let value = Value::Object(self.0.0.into_iter().collect());
        check(&value, DEPTH_MAX)?;
        let filter: Filter = serde_json::from_value(value)
            .map_err(|error| format!("a filter is not valid: {error}"))?;
        filter.check().map_err(|error| error.to_string())?;
        Ok(filter)
    }
}

fn check(filter: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("filters are nested too deep".to_owned());
    };
    let members = filter
        .as_object()
        .ok_or_else(|| "a filter must be an object".to_owned())?;
    let kind = members.get("type").and_then(Value::as_str);
    let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let (fields, is_fine): (&[&str], bool) = match kind {
        Some("eq" | "ne" | "gt" | "gte" | "lt" | "lte") => (
            &["type", "key", "value"],
            members.get("value").is_some_and(is_scalar),
        ),
        Some("in" | "nin") => {
            let list = members.get("value").and_then(Value::as_array);
            let is_fine = list.is_some_and(|list| list.iter().all(is_scalar));
            (&["type", "key", "value"], is_fine)
        }
        Some("and" | "or") => (
            &["type", "filters"],
            members.get("filters").is_some_and(Value::is_array),
        ),
        _ => return Err(format!("the `type` of a filter must be {TYPES}")),
    };
    if let Some(unknown) = members.keys().find(|name| !fields.contains(&name.as_str())) {
        return Err(format!("a filter has no field `{unknown}`"));
    }
    let is_comparison = fields.contains(&"key");
    if !is_fine || (is_comparison && !members.get("key").is_some_and(Value::is_string)) {
        let message = match kind {
            Some("in" | "nin") => {
                "a filter `in` or `nin` must have a `key` and as its `value` a list of texts, numbers or flags"
            }
            _ if is_comparison => {
                "a comparison must have a `key` and as its `value` a text, a number or a flag"
            }
            _ => "a filter `and` or `or` must have a list `filters`",
        };
        return Err(message.to_owned());
    }
    let inner = members.get("filters").and_then(Value::as_array);
    inner
        .into_iter()
        .flatten()
        .try_for_each(|filter| check(filter, depth))
}

#[cfg(test)]
mod tests {
    use kebne_collections::Attribute;
    use serde_json::json;

    use super::*;

    fn read(filter: Value) -> Result<Filter, String> {
        let field: FilterField = serde_json::from_value(filter).map_err(|e| e.to_string())?;
        field.filter()
    }

    #[test]
    fn only_objects_with_known_fields_are_filters() {
        for (filter, expected) in [
            (json!(["eq", "a", 1]), "an object"),
            (
                json!({"type": "eq", "key": "a", "value": 1, "zz": 1}),
                "`zz`",
            ),
            (json!({"type": "like", "key": "a", "value": 1}), "`type`"),
            (json!({"type": "eq", "key": "a", "value": [1]}), "`value`"),
            (json!({"type": "eq", "value": 1}), "`key`"),
            (json!({"type": "in", "key": "a", "value": 1}), "a list"),
            (json!({"type": "and", "filters": {}}), "`filters`"),
            (
                json!({"type": "or", "filters": [["eq", "a", 1]]}),
                "an object",
            ),
        ] {
            let error = read(filter.clone()).unwrap_err();
            assert!(error.contains(expected), "{filter}: {error}");
        }
        let inner = json!({"type": "in", "key": "a", "value": ["x", 1, true]});
        let filter = read(json!({"type": "and", "filters": [inner]})).unwrap();
        let attributes = [("a".to_owned(), Attribute::Text("x".to_owned()))];
        assert!(filter.accepts(&attributes.into_iter().collect()));
        let mut deep = inner_of(0);
        for _ in 0..100 {
            deep = json!({"type": "and", "filters": [deep]});
        }
        assert!(read(deep).is_err());
    }

    fn inner_of(value: u8) -> Value {
        json!({"type": "eq", "key": "a", "value": value})
    }
}
