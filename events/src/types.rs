//! All types of events: their JSON schemas, and their reference in Markdown.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    data::{
        AgentRunEnded, AgentStep, AlertClosed, AlertOpened, CallCost, CallEnded, GuardVerdict,
        RouteDecided, SessionChanged,
    },
    schema::{EventData, Field, schema_id, type_name},
};

/// One type of event.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    kind: &'static str,
    version: u32,
    about: &'static str,
    fields: fn() -> Vec<Field>,
}

/// All types of events.
pub const TYPES: [EventType; 9] = [
    EventType::of::<CallEnded>(),
    EventType::of::<CallCost>(),
    EventType::of::<GuardVerdict>(),
    EventType::of::<RouteDecided>(),
    EventType::of::<SessionChanged>(),
    EventType::of::<AgentStep>(),
    EventType::of::<AgentRunEnded>(),
    EventType::of::<AlertOpened>(),
    EventType::of::<AlertClosed>(),
];

impl EventType {
    const fn of<T: EventData>() -> Self {
        Self {
            kind: T::KIND,
            version: T::VERSION,
            about: T::ABOUT,
            fields: T::fields,
        }
    }

    /// Returns the type in the envelope, such as `kebne.call.ended.v1`.
    pub fn name(&self) -> String {
        type_name(self.kind, self.version)
    }

    /// Returns the first part of its topics, such as `call.ended`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns the JSON schema of its data (draft 2020-12). Fields that are added later are no change of the version, so further ones are allowed.
    pub fn schema(&self) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in (self.fields)() {
            let mut schema = field.schema;
            schema["description"] = field.about.into();
            required.push(field.name);
            properties.insert(field.name.to_owned(), schema);
        }
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": schema_id(self.kind, self.version),
            "title": self.name(),
            "description": self.about.trim(),
            "type": "object",
            "required": required,
            "properties": properties,
        })
    }
}

/// Returns the reference of all types in Markdown: a table of fields for each.
pub fn reference() -> String {
    let mut text = String::new();
    for kind in TYPES {
        let (name, about, topic) = (kind.name(), kind.about.trim(), kind.kind);
        let id = schema_id(kind.kind, kind.version);
        // Writing to a string cannot fail.
        let _complete = write!(
            text,
            "### `{name}`\n{about} Topic `{topic}.TENANT.SESSION`, schema `{id}`.\n\n| field | type | meaning |\n|---|---|---|\n"
        );
        for field in (kind.fields)() {
            let _complete = writeln!(
                text,
                "| `{}` | {} | {} |",
                field.name,
                field.kind(),
                field.about
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_requires_each_field_and_allows_null_where_it_is_optional() {
        let schema = TYPES[0].schema();
        assert_eq!(schema["$id"], "urn:kebne:event:call.ended:1");
        assert_eq!(
            schema["properties"]["status"]["type"],
            json!(["integer", "null"])
        );
        assert_eq!(schema["properties"]["streamed"]["type"], "boolean");
        let required = schema["required"].as_array().unwrap();
        assert!(required.contains(&json!("status")) && required.len() == 19);
    }

    #[test]
    fn the_reference_has_every_type_and_the_data_has_every_field() {
        let text = reference();
        for kind in TYPES {
            assert!(text.contains(&kind.name()));
        }
        let data = CallCost {
            request: "r".to_owned(),
            key: String::new(),
            model: "m".to_owned(),
            lane: "l".to_owned(),
            tokens: 1,
            cost_nano: 2,
            currency: "USD".to_owned(),
            estimated: false,
        };
        let data = serde_json::to_value(data).unwrap();
        let schema = EventType::of::<CallCost>().schema();
        let fields = schema["properties"].as_object().unwrap();
        let fields: Vec<_> = fields.keys().collect();
        assert_eq!(data.as_object().unwrap().keys().collect::<Vec<_>>(), fields);
    }
}
