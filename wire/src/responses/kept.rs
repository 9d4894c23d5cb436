//! Responses in the form in which they are kept, and the conversations that they form.
//!
//! The first response of a conversation begins a tree; each further one names the response that it continues. The id of
//! a response begins with the id of its tree, so that whoever keeps trees finds it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    responses::input,
    translate::{Omitted, Path},
};

/// Letters of the id of a tree.
const TREE_SIZE: usize = 32;
/// Letters that tell the responses of a tree apart.
const OWN_SIZE: usize = 16;
const PREFIX: &str = "resp_";

/// Returns the id of a response in a tree; `tree` and `own` are random.
pub fn response_id(tree: u128, own: u64) -> String {
    format!("{PREFIX}{tree:032x}{own:016x}")
}

/// Returns the id of the tree that a response belongs to; `None` if the text is not the id of a response.
pub fn tree_of(response_id: &str) -> Option<u128> {
    let digits = response_id.strip_prefix(PREFIX)?;
    let is_hex = digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_hex || digits.len() != TREE_SIZE + OWN_SIZE {
        return None;
    }
    u128::from_str_radix(&digits[..TREE_SIZE], 16).ok()
}

/// One response and the chat messages that it stands for.
#[derive(Debug, Serialize)]
pub struct Kept<'a> {
    /// The id of the response.
    pub id: &'a str,
    /// The response that it continues.
    pub previous: Option<&'a str>,
    /// What was asked and what was answered, as chat messages; without instructions, which hold for one call only.
    pub messages: Vec<Value>,
    /// The response as its caller got it.
    pub response: &'a Value,
}

impl<'a> Kept<'a> {
    /// Creates the form of a response. `asked` are the chat messages of its request without the instructions.
    pub fn new(response: &'a Value, mut asked: Vec<Value>) -> Self {
        let text = |key: &str| response.get(key).and_then(Value::as_str);
        let output = response.get("output").and_then(Value::as_array);
        let output = output.cloned().unwrap_or_default();
        // The items are this crate's own, and each has a counterpart.
        let answered = input::messages(output, Path::Root.key("output"), &mut Omitted::default());
        asked.extend(answered.unwrap_or_default());
        Self {
            id: text("id").unwrap_or_default(),
            previous: text("previous_response_id"),
            messages: asked,
            response,
        }
    }
}

/// A kept response that is read.
#[derive(Debug, Deserialize)]
pub struct KeptView<'a> {
    /// The id of the response.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The response that it continues.
    #[serde(borrow)]
    pub previous: Option<Cow<'a, str>>,
    /// The chat messages, as JSON.
    #[serde(borrow)]
    pub messages: &'a RawValue,
    /// The response, as JSON.
    #[serde(borrow)]
    pub response: &'a RawValue,
}

impl<'a> KeptView<'a> {
    /// Reads what [`Kept`] has written; `None` if it is something else, for example a response that was erased.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Returns the places of a response and of those that it continues, the oldest first; `None` if `id` is not among
/// them. A response that is gone ends the line.
pub fn line_of(kept: &[KeptView<'_>], id: &str) -> Option<Vec<usize>> {
    let places: BTreeMap<&str, usize> = kept
        .iter()
        .enumerate()
        .map(|(place, kept)| (kept.id.as_ref(), place))
        .collect();
    let mut line = vec![*places.get(id)?];
    while let Some(place) = line.last()
        && let Some(previous) = &kept[*place].previous
        && let Some(before) = places.get(previous.as_ref())
        // A response continues one that was kept before it.
        && before < place
    {
        line.push(*before);
    }
    line.reverse();
    Some(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_tells_its_tree() {
        let id = response_id(7, 9);
        assert_eq!(tree_of(&id), Some(7));
        assert_eq!(tree_of(&response_id(u128::MAX, u64::MAX)), Some(u128::MAX));
        for wrong in [
            "",
            "resp_",
            "resp_xyz",
            "sess_0",
            &id[..id.len() - 1],
            &id.to_uppercase(),
        ] {
            assert_eq!(tree_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_response_is_kept_with_its_messages() {
        let response = json!({
            "id": "resp_2", "previous_response_id": "resp_1",
            "output": [
                {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "message", "id": "msg", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]},
                {"type": "function_call", "id": "fc", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
        });
        let kept = Kept::new(&response, vec![json!({"role": "user", "content": "hej"})]);
        let bytes = serde_json::to_vec(&kept).unwrap();
        let view = KeptView::read(&bytes).unwrap();
        assert_eq!(
            (view.id.as_ref(), view.previous.as_deref()),
            ("resp_2", Some("resp_1"))
        );
        let messages: Value = serde_json::from_str(view.messages.get()).unwrap();
        let expected = json!([
            {"role": "user", "content": "hej"},
            {"role": "assistant", "content": "hi", "reasoning_content": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        ]);
        assert_eq!(messages, expected);
        assert_eq!(
            serde_json::from_str::<Value>(view.response.get()).unwrap(),
            response
        );
        assert!(KeptView::read(b"").is_none());
    }

    #[test]
    fn a_line_leaves_out_other_branches() {
        let bytes: Vec<Vec<u8>> = [
            ("a", None),
            ("b", Some("a")),
            ("c", Some("a")),
            ("d", Some("b")),
            ("e", Some("gone")),
        ]
        .iter()
        .map(|(id, previous)| {
            json!({"id": id, "previous": previous, "messages": [], "response": {}})
                .to_string()
                .into_bytes()
        })
        .collect();
        let kept: Vec<KeptView<'_>> = bytes
            .iter()
            .filter_map(|bytes| KeptView::read(bytes))
            .collect();
        assert_eq!(line_of(&kept, "d"), Some(vec![0, 1, 3]));
        assert_eq!(line_of(&kept, "c"), Some(vec![0, 2]));
        assert_eq!(line_of(&kept, "e"), Some(vec![4]));
        assert_eq!(line_of(&kept, "x"), None);
    }
}
