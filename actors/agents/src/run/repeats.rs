//! Finds calls that are made again and again with the same result.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::message::ToolCall;

/// How often each call had the same result in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    /// By the digest of the tool and its arguments: the digest of the last result, and how often it was the same.
    seen: HashMap<[u8; 32], ([u8; 32], u32)>,
    most: Option<(String, u32)>,
}

impl Repeats {
    /// Notes the result of a call.
    pub(super) fn note(&mut self, call: &ToolCall, result: &str) {
        // The order and the spaces of arguments mean nothing.
        let arguments = serde_json::from_str::<Value>(&call.arguments);
        let arguments = arguments.map_or_else(|_| call.arguments.clone(), |value| sorted(&value));
        let mut digest = Sha256::new();
        digest.update(&call.name);
        digest.update([0]);
        digest.update(arguments);
        let (key, result) = (digest.finalize().into(), Sha256::digest(result).into());
        let seen = self.seen.entry(key).or_insert((result, 0));
        *seen = if seen.0 == result {
            (result, seen.1 + 1)
        } else {
            (result, 1)
        };
        let count = seen.1;
        if self.most.as_ref().is_none_or(|(_, most)| count > *most) {
            self.most = Some((call.name.clone(), count));
        }
    }

    /// Returns the tool whose call had the same result this often.
    pub(super) fn reached(&self, repeats_max: u32) -> Option<&str> {
        let (name, most) = self.most.as_ref()?;
        (*most >= repeats_max).then_some(name)
    }
}

/// Returns a value as JSON whose members are in the order of their names, whatever order the map keeps.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, &Value> = members.iter().collect();
            let members = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), sorted(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(sorted).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}
