//! Adds the role of the assistant to the first chunk of a choice, where a server leaves it out.
//!
//! Official clients build their message of the chunks and require its role; some servers never send one.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The member that is added.
const ROLE: &str = "\"role\":\"assistant\"";

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

/// A key that is borrowed where it can be.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Returns the chunk with the role in each delta that lacks it; `None` if none does.
pub(crate) fn with_roles(chunk: &[u8]) -> Option<Bytes> {
    let view: Chunk<'_> = serde_json::from_slice(chunk).ok()?;
    let mut out = Vec::with_capacity(chunk.len() + 32);
    let mut copied = 0;
    for delta in view.choices.iter().filter_map(|choice| choice.delta) {
        let Ok(members) = serde_json::from_str::<BTreeMap<Key<'_>, &RawValue>>(delta.get()) else {
            continue;
        };
        let offset = |part: &str| part.as_ptr().addr() - chunk.as_ptr().addr();
        match members.get(&Key("role".into())).map(|role| role.get()) {
            Some("null") => {
                let role = members.get(&Key("role".into()))?.get();
                let start = offset(role);
                out.extend_from_slice(&chunk[copied..start]);
                out.extend_from_slice(b"\"assistant\"");
                copied = start + role.len();
            }
            Some(_) => {}
            None => {
                // After the bracket that opens the object.
                let start = offset(delta.get()) + 1;
                out.extend_from_slice(&chunk[copied..start]);
                out.extend_from_slice(ROLE.as_bytes());
                if !members.is_empty() {
                    out.push(b',');
                }
                copied = start;
            }
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&chunk[copied..]);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(deltas: &str) -> String {
        format!(r#"{{"x": 1e2,"choices":[{deltas}],"delta":{{}}}}"#)
    }

    #[test]
    fn the_role_is_added_where_it_is_missing_and_nothing_else_changes() {
        for (given, expected) in [
            (
                r#"{"delta":{"content":"a"}}"#,
                r#"{"delta":{"role":"assistant","content":"a"}}"#,
            ),
            (r#"{"delta": { } }"#, r#"{"delta": {"role":"assistant" } }"#),
            (
                r#"{"delta":{"role":null,"content":""}}"#,
                r#"{"delta":{"role":"assistant","content":""}}"#,
            ),
            (
                r#"{"delta":{"role":"tool"}},{"index":1,"delta":{"content":"{"}}"#,
                r#"{"delta":{"role":"tool"}},{"index":1,"delta":{"role":"assistant","content":"{"}}"#,
            ),
        ] {
            let added = with_roles(chunk(given).as_bytes()).unwrap();
            assert_eq!(std::str::from_utf8(&added).unwrap(), chunk(expected));
        }
    }

    #[test]
    fn what_has_no_delta_or_has_its_role_stays() {
        for given in [
            r#"{"delta":{"role":"assistant","content":"a"}}"#,
            r#"{"text":"a"}"#,
            r#"{"delta":null}"#,
            r#"{"delta":[]}"#,
            r#"{"message":{}}"#,
        ] {
            assert_eq!(with_roles(chunk(given).as_bytes()), None, "{given}");
        }
        assert_eq!(with_roles(b"{}"), None);
    }
}
