//! A tool of a server: its definition, the digest of what a model reads of it, and what it says of repeated calls.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The longest name of a tool of a server.
const NAME_MAX: usize = 128;

/// A tool, as its server defines it.
#[derive(Clone, Debug)]
pub struct Tool {
    definition: rmcp::model::Tool,
    digest: String,
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The name of the tool at its server.
    pub name: String,
    /// The arguments.
    pub arguments: Map<String, Value>,
}

impl Tool {
    /// Creates a tool of the gateway itself.
    pub fn own(name: &str, description: &str, input_schema: Map<String, Value>) -> Self {
        let definition =
            rmcp::model::Tool::new(name.to_owned(), description.to_owned(), input_schema);
        Self::of(definition)
    }

    /// Returns the tool with the hint that it changes nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        let hints = rmcp::model::ToolAnnotations::new()
            .read_only(true)
            .open_world(false);
        Self::of(self.definition.with_annotations(hints))
    }

    /// Creates a tool of a definition.
    pub(crate) fn of(definition: rmcp::model::Tool) -> Self {
        let digest = digest(&definition);
        Self { definition, digest }
    }

    /// Returns `true` if the name can be a part of a name that is offered.
    pub(crate) fn has_plain_name(&self) -> bool {
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
        let name = self.name();
        !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(is_plain)
    }

    /// Returns the name at its server.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// Returns the description; empty if there is none.
    pub fn description(&self) -> &str {
        self.definition.description.as_deref().unwrap_or_default()
    }

    /// Returns the JSON Schema of the arguments.
    pub fn input_schema(&self) -> Value {
        Value::Object(self.definition.input_schema.as_ref().clone())
    }

    /// Returns the digest of all that a model or a client reads of the tool.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Returns `true` if the server says that a call changes nothing.
    pub fn is_read_only(&self) -> bool {
        let hints = self.definition.annotations.as_ref();
        hints.is_some_and(|hints| hints.read_only_hint == Some(true))
    }

    /// Returns `true` if the server says that a repeated call has no further effect.
    pub fn is_idempotent(&self) -> bool {
        let hints = self.definition.annotations.as_ref();
        hints.is_some_and(|hints| hints.idempotent_hint == Some(true))
    }

    /// Returns the definition under another name.
    pub(crate) fn named(&self, name: String) -> rmcp::model::Tool {
        let mut definition = self.definition.clone();
        definition.name = name.into();
        definition
    }
}

/// Returns the digest of a definition. It does not depend on the order of its members.
fn digest(definition: &rmcp::model::Tool) -> String {
    let value = serde_json::to_value(definition).unwrap_or_default();
    let mut hasher = Sha256::new();
    feed(&mut hasher, &value);
    hex::encode(hasher.finalize())
}

/// Adds a value to a digest, with the members of objects in the order of their names.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            hasher.update(format!("{{{}:", members.len()));
            for (name, member) in members {
                feed(hasher, &Value::String(name.clone()));
                feed(hasher, member);
            }
        }
        Value::Array(elements) => {
            hasher.update(format!("[{}:", elements.len()));
            for element in elements {
                feed(hasher, element);
            }
        }
        other => {
            let text = other.to_string();
            hasher.update(format!("{}:{text}", text.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(definition: &Value) -> Tool {
        Tool::of(serde_json::from_value(definition.clone()).unwrap())
    }

    #[test]
    fn the_digest_changes_with_each_text_that_a_model_reads_and_not_with_the_order() {
        let base =
            json!({"name": "a", "description": "b", "inputSchema": {"type": "object", "x": 1}});
        let same =
            json!({"inputSchema": {"x": 1, "type": "object"}, "description": "b", "name": "a"});
        assert_eq!(tool(&base).digest(), tool(&same).digest());
        for (key, value) in [
            ("name", json!("c")),
            ("description", json!("b!")),
            ("title", json!("t")),
            ("inputSchema", json!({"type": "object", "x": 2})),
            ("outputSchema", json!({"type": "object"})),
            ("annotations", json!({"readOnlyHint": true})),
        ] {
            let mut other = base.clone();
            other[key] = value;
            assert_ne!(tool(&base).digest(), tool(&other).digest(), "{key}");
        }
    }

    #[test]
    fn hints_count_only_if_they_are_given() {
        let with =
            |hints: Value| tool(&json!({"name": "a", "inputSchema": {}, "annotations": hints}));
        assert!(!tool(&json!({"name": "a", "inputSchema": {}})).is_read_only());
        assert!(with(json!({"readOnlyHint": true})).is_read_only());
        assert!(!with(json!({"readOnlyHint": false})).is_read_only());
        assert!(with(json!({"idempotentHint": true})).is_idempotent());
    }

    #[test]
    fn names_with_other_characters_are_not_offered() {
        let named = |name: &str| tool(&json!({"name": name, "inputSchema": {}}));
        assert!(named("read_file-2.x").has_plain_name());
        for name in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(!named(name).has_plain_name(), "{name}");
        }
    }
}
