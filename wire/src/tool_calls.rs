//! Distinguishes the tool calls of one message, whatever numbering a server uses.
//!
//! Servers differ: later parts of a call repeat its id, leave it empty or send null; calls have no index, or all have
//! index 0; a name arrives in parts or with every part.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::json_depth::JsonDepth;

/// The number of tool calls that one message may have.
pub(crate) const TOOL_CALLS_MAX: usize = 128;

/// Members of a call beyond the dialect that its server requires back with the call: Google's signature of the thought
/// that led to it, and the names that gateways give it.
pub(crate) const RETURNED: [&str; 3] = [
    "extra_content",
    "provider_specific_fields",
    "thought_signature",
];

/// Returns the members of a call that its server requires back.
pub(crate) fn returned(call: &Map<String, Value>) -> Map<String, Value> {
    let members = RETURNED.iter().filter_map(|key| call.get_key_value(*key));
    let members = members.filter(|(_, value)| !value.is_null());
    members
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The name of the only member of tool arguments that are not a JSON object. Anthropic's documentation of fine-grained
/// tool streaming requires it.
pub(crate) const INVALID_JSON: &str = "INVALID_JSON";

/// One element of `tool_calls`.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) index: Option<u64>,
    /// Empty if there is none.
    pub(crate) id: &'a str,
    /// Empty if there is none.
    pub(crate) name: &'a str,
    /// A text of JSON; some servers send the value itself.
    pub(crate) arguments: Cow<'a, str>,
}

impl<'a> Part<'a> {
    /// Reads an element. Members of a wrong type count as absent.
    pub(crate) fn of(call: &'a Value) -> Self {
        let text = |value: Option<&'a Value>| value.and_then(Value::as_str).unwrap_or_default();
        // A custom tool has a text as its input.
        let function = call.get("function").or_else(|| call.get("custom"));
        let member = |key| function.and_then(|function| function.get(key));
        let arguments = match member("arguments").or_else(|| member("input")) {
            None | Some(Value::Null) => Cow::Borrowed(""),
            Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
            Some(value) => Cow::Owned(value.to_string()),
        };
        Self {
            index: call.get("index").and_then(Value::as_u64),
            id: text(call.get("id")),
            name: text(member("name")),
            arguments,
        }
    }

    fn has_arguments(&self) -> bool {
        !self.arguments.trim().is_empty()
    }
}

/// The calls of a message, in the order in which they were first mentioned.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolCalls {
    calls: Vec<Call>,
}

#[derive(Clone, Debug, Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: JsonDepth,
    has_arguments: bool,
}

impl ToolCalls {
    /// Returns the place of the call to which a part of a stream belongs, counted from zero. Returns `None` if there
    /// would be more than [`TOOL_CALLS_MAX`] calls.
    pub(crate) fn place(&mut self, part: &Part<'_>) -> Option<usize> {
        match self.known(part) {
            Some(place) => {
                self.calls[place].add(part);
                Some(place)
            }
            None => self.next(part),
        }
    }

    /// Returns the place of an element of a whole message, where each element is a call.
    pub(crate) fn next(&mut self, part: &Part<'_>) -> Option<usize> {
        if self.calls.len() >= TOOL_CALLS_MAX {
            return None;
        }
        let mut call = Call::default();
        call.add(part);
        self.calls.push(call);
        Some(self.calls.len() - 1)
    }

    /// Returns the call that the part continues; `None` if it begins another call.
    fn known(&self, part: &Part<'_>) -> Option<usize> {
        let is_candidate = |call: &Call| part.index.is_none() || call.index == part.index;
        let has_its_id = |call: &Call| !part.id.is_empty() && call.id == part.id;
        let by_id = |call: &Call| is_candidate(call) && has_its_id(call);
        let place = self.calls.iter().rposition(by_id);
        let place = place.or_else(|| self.calls.iter().rposition(is_candidate))?;
        self.calls[place].continues(part).then_some(place)
    }
}

impl Call {
    /// Returns `true` if a part belongs to this call, whose index it has.
    fn continues(&self, part: &Part<'_>) -> bool {
        let same_id = !part.id.is_empty() && part.id == self.id;
        let other_id = !part.id.is_empty() && !self.id.is_empty() && !same_id;
        if part.name.is_empty() {
            // Some servers send a new id with each part. Without an index only the id can tell calls apart.
            return !(other_id && part.index.is_none());
        }
        if other_id {
            return false;
        }
        if self.name.is_empty() {
            return true;
        }
        if self.has_arguments && self.arguments.is_complete() {
            return part.name == self.name && !part.has_arguments();
        }
        // A name arrives in parts, or with every part, only from servers that number their calls.
        part.index.is_some() || same_id
    }

    fn add(&mut self, part: &Part<'_>) {
        self.index = self.index.or(part.index);
        if self.id.is_empty() {
            part.id.clone_into(&mut self.id);
        }
        if self.name != part.name {
            self.name.push_str(part.name);
        }
        self.arguments.push(&part.arguments);
        self.has_arguments |= part.has_arguments();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(parts: &[Value]) -> Vec<usize> {
        let mut calls = ToolCalls::default();
        let place = |part| calls.place(&Part::of(part)).unwrap();
        parts.iter().map(place).collect()
    }

    #[test]
    fn parts_find_their_call() {
        let f = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
        for (parts, expected) in [
            // A name in parts; a name with every part; a name that is repeated at the end.
            (
                vec![
                    json!({"index": 0, "id": "a", "function": f("get_", "")}),
                    json!({"index": 0, "function": f("weather", "")}),
                    json!({"index": 0, "function": {"arguments": "{}"}}),
                ],
                vec![0, 0, 0],
            ),
            (
                vec![
                    json!({"index": 0, "id": "a", "function": f("f", "{")}),
                    json!({"index": 0, "id": "a", "function": f("f", "}")}),
                    json!({"index": 0, "id": "a", "function": f("f", "")}),
                ],
                vec![0, 0, 0],
            ),
            // Each call has index 0: with ids, with the same id, without ids.
            (
                vec![
                    json!({"index": 0, "id": "a", "function": f("f", "{}")}),
                    json!({"index": 0, "id": "b", "function": f("f", "{}")}),
                ],
                vec![0, 1],
            ),
            (
                vec![
                    json!({"index": 0, "id": "i", "function": f("f", "{}")}),
                    json!({"index": 0, "id": "i", "function": f("g", "{}")}),
                ],
                vec![0, 1],
            ),
            (
                vec![
                    json!({"index": 0, "id": "", "function": f("f", "{}")}),
                    json!({"index": 0, "id": null, "function": f("f", "{}")}),
                ],
                vec![0, 1],
            ),
            // Two indices with the same id.
            (
                vec![
                    json!({"index": 0, "id": "i", "function": f("f", "{")}),
                    json!({"index": 1, "id": "i", "function": f("g", "{")}),
                    json!({"index": 0, "id": "i", "function": {"arguments": "}"}}),
                ],
                vec![0, 1, 0],
            ),
        ] {
            assert_eq!(places(&parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn parts_without_an_index_or_with_changing_ids_find_their_call() {
        let f = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
        for (parts, expected) in [
            // By id, by name.
            (
                vec![
                    json!({"id": "a", "function": f("f", "{")}),
                    json!({"id": "b", "function": f("f", "{")}),
                    json!({"id": "a", "function": {"arguments": "}"}}),
                    json!({"function": {"arguments": "}"}}),
                ],
                vec![0, 1, 0, 1],
            ),
            (
                vec![
                    json!({"function": f("f", "")}),
                    json!({"function": f("g", "")}),
                ],
                vec![0, 1],
            ),
            // A new id with each part.
            (
                vec![
                    json!({"index": 0, "id": "a", "function": f("f", "{")}),
                    json!({"index": 0, "id": "b", "function": {"arguments": "}"}}),
                ],
                vec![0, 0],
            ),
        ] {
            assert_eq!(places(&parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn the_number_of_calls_is_bounded() {
        let mut calls = ToolCalls::default();
        for index in 0..TOOL_CALLS_MAX {
            let call = json!({"index": index, "function": {"name": "f"}});
            assert_eq!(calls.place(&Part::of(&call)), Some(index));
        }
        let call = json!({"index": TOOL_CALLS_MAX, "function": {"name": "f"}});
        assert_eq!(calls.place(&Part::of(&call)), None);
        let call = json!({"index": 1, "function": {"arguments": "{}"}});
        assert_eq!(calls.place(&Part::of(&call)), Some(1));
    }
}
