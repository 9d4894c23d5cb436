//! Responses in the form in which they are kept, and the conversations that they form.
//!
//! The first response of a conversation begins a tree; each further one names the response that it continues. The id of
//! a response begins with the id of its tree, so that whoever keeps trees finds it.
//!
//! What is kept is what was asked, as it came, and what was answered. The next call needs both as chat messages or as
//! input items, according to the backend that it goes to.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    mcp::McpItems,
    responses::{history, input},
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

/// One response and what it answers.
#[derive(Debug, Serialize)]
pub struct Kept<'a> {
    /// The id of the response.
    id: &'a str,
    /// The response that it continues.
    previous: Option<&'a str>,
    /// What was asked: a text or a list of items, without instructions, which hold for one call only.
    input: &'a RawValue,
    /// The response as its caller got it.
    response: &'a Value,
}

impl<'a> Kept<'a> {
    /// Creates the form of a response to a request; `None` if the request is not an object.
    pub fn new(response: &'a Value, request: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Request<'r> {
            #[serde(borrow)]
            input: Option<&'r RawValue>,
        }
        let request: Request<'a> = serde_json::from_slice(request).ok()?;
        let input = match request.input {
            Some(input) => input,
            None => serde_json::from_str("[]").ok()?,
        };
        let text = |key: &str| response.get(key).and_then(Value::as_str);
        Some(Self {
            id: text("id").unwrap_or_default(),
            previous: text("previous_response_id"),
            input,
            response,
        })
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
    /// The chat messages of what was asked and answered: what earlier versions kept instead of the input.
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    /// What was asked.
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    /// The response, as JSON.
    #[serde(borrow)]
    pub response: &'a RawValue,
}

impl<'a> KeptView<'a> {
    /// Reads what [`Kept`] has written; `None` if it is something else, for example a response that was erased.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Returns what was asked and answered as chat messages; `None` if it holds an item that chat has no place for.
    pub fn messages(&self) -> Option<Vec<Value>> {
        if let Some(messages) = self.messages {
            return serde_json::from_str(messages.get()).ok();
        }
        let mut omitted = Omitted::default();
        // Decided already: the calls that were approved stand in the answer.
        let mut decided = McpItems::default();
        let asked = history::items_of(self.input?)?;
        let mut messages =
            input::messages(asked, Path::Root.key("input"), &mut omitted, &mut decided).ok()?;
        let path = Path::Root.key("output");
        let answered = input::messages(self.output()?, path, &mut omitted, &mut decided);
        let mut answered = answered.ok()?;
        self.add_thinking(&mut answered);
        messages.extend(answered);
        Some(messages)
    }

    /// Returns what was asked and answered as items that can be sent to a backend of this API; `None` if only the chat
    /// messages were kept.
    pub fn items(&self) -> Option<Vec<Value>> {
        let mut items = history::items_of(self.input?)?;
        items.extend(self.output()?);
        Some(history::as_input(items, &self.id))
    }

    /// Returns the calls on which the caller was asked to decide, and the servers whose tools were listed.
    pub fn mcp_items(&self) -> McpItems {
        McpItems::of_output(&self.output().unwrap_or_default())
    }

    /// Adds the signed thinking of a response to its tool calls; Anthropic's API requires it back with these.
    fn add_thinking(&self, messages: &mut [Value]) {
        #[derive(Deserialize)]
        struct Response {
            #[serde(default)]
            thinking_blocks: Option<Value>,
        }
        let mut with_calls = messages.iter_mut();
        let with_calls = with_calls.find(|message| message.get("tool_calls").is_some());
        let response: Option<Response> = serde_json::from_str(self.response.get()).ok();
        let blocks = response.and_then(|response| response.thinking_blocks);
        if let (Some(message), Some(blocks)) = (with_calls, blocks) {
            message["thinking_blocks"] = blocks;
        }
    }

    fn output(&self) -> Option<Vec<Value>> {
        #[derive(Deserialize)]
        struct Response {
            #[serde(default)]
            output: Vec<Value>,
        }
        let response: Response = serde_json::from_str(self.response.get()).ok()?;
        Some(response.output)
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

    fn kept(input: &Value, output: &Value) -> Vec<u8> {
        let request = json!({"model": "m", "input": input}).to_string();
        let response = json!({"id": "resp_2", "previous_response_id": "resp_1", "output": output});
        let kept = Kept::new(&response, request.as_bytes()).unwrap();
        serde_json::to_vec(&kept).unwrap()
    }

    #[test]
    fn a_kept_response_is_read_as_messages_and_as_items() {
        let output = json!([
            {"type": "reasoning", "id": "rs_2_0", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "id": "msg_2_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_2_2", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
        ]);
        let bytes = kept(&json!("hej"), &output);
        let view = KeptView::read(&bytes).unwrap();
        assert_eq!(
            (view.id.as_ref(), view.previous.as_deref()),
            ("resp_2", Some("resp_1"))
        );
        let messages = json!([
            {"role": "user", "content": "hej"},
            {"role": "assistant", "content": "hi", "reasoning_content": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        ]);
        assert_eq!(view.messages().map(Value::from), Some(messages));
        // A translated reasoning has an id that no server knows.
        let items = json!([
            {"role": "user", "content": "hej"},
            {"role": "assistant", "content": "hi"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ]);
        assert_eq!(view.items().map(Value::from), Some(items));
        let response: Value = serde_json::from_str(view.response.get()).unwrap();
        assert_eq!(response["output"], output);
        assert!(KeptView::read(b"").is_none());
    }

    #[test]
    fn what_a_chat_server_requires_back_with_a_call_goes_to_chat_servers_only() {
        let signed = json!({"google": {"thought_signature": "SIG=="}});
        let thinking = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}]);
        let response = json!({
            "id": "resp_2", "thinking_blocks": thinking,
            "output": [{"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}", "extra_content": signed}],
        });
        let kept = Kept::new(&response, br#"{"input": []}"#).unwrap();
        let bytes = serde_json::to_vec(&kept).unwrap();
        let view = KeptView::read(&bytes).unwrap();
        let function = json!({"name": "f", "arguments": "{}"});
        let call =
            json!({"id": "c", "type": "function", "function": function, "extra_content": signed});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call], "thinking_blocks": thinking});
        assert_eq!(view.messages(), Some(vec![message]));
        let item = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"});
        assert_eq!(view.items(), Some(vec![item]));
    }

    #[test]
    fn items_of_the_providers_own_go_back_as_they_came() {
        let refusal = json!({"type": "message", "id": "msg_a", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]});
        let output = json!([
            {"type": "reasoning", "id": "rs_a", "summary": [], "encrypted_content": "x"},
            {"type": "reasoning", "id": "rs_b", "summary": []},
            {"type": "reasoning", "id": "rs_c", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "web_search_call", "id": "ws_a", "status": "completed"},
            refusal,
        ]);
        let asked =
            json!([{"type": "function_call_output", "id": "fco", "call_id": "c", "output": "1"}]);
        let bytes = kept(&asked, &output);
        let view = KeptView::read(&bytes).unwrap();
        let expected = json!([
            {"type": "function_call_output", "call_id": "c", "output": "1"},
            output[0], output[2], output[3],
            {"type": "message", "role": "assistant", "content": refusal["content"]},
        ]);
        assert_eq!(view.items().map(Value::from), Some(expected));
        // Chat has no place for the search.
        assert_eq!(view.messages(), None);
    }

    #[test]
    fn what_earlier_versions_kept_is_read_as_messages() {
        let old =
            json!({"id": "r", "previous": null, "messages": [{"role": "user"}], "response": {}});
        let bytes = old.to_string();
        let view = KeptView::read(bytes.as_bytes()).unwrap();
        assert_eq!(view.messages(), Some(vec![json!({"role": "user"})]));
        assert_eq!(view.items(), None);
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
