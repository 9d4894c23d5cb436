//! A Responses request for a backend that speaks this API itself.
//!
//! The body goes on as it came, with these exceptions: the items of earlier responses stand before its own input, so
//! that the backend needs no response that it has stored; `store` is `false`, because the response is kept here; and
//! what names a response or a conversation of this service is left out, as is the tool `file_search`, which is run here.

use std::ops::Range;

use serde_json::{Value, value::RawValue};

use crate::{
    file_search::take_from_chat,
    members::Members,
    native::{Native, NativeApi},
};

/// Fields that only this service understands.
const OWN: [&str; 3] = ["previous_response_id", "conversation", "store"];

/// Returns the request with a history before its input; `None` if the body is not an object with a model.
pub fn native_request(body: &[u8], history: &[Value], is_required: bool) -> Option<Native> {
    // The search is done here.
    let taken = take_from_chat(body);
    let without = taken.ok().flatten().map(|(rest, _)| rest);
    let body = without.as_deref().unwrap_or(body);
    let members: Members<'_> = serde_json::from_slice(body).ok()?;
    let mut out = Vec::with_capacity(body.len() + 32);
    let mut model_span: Option<Range<usize>> = None;
    let mut has_input = false;
    out.push(b'{');
    for (key, value) in members.0 {
        if OWN.contains(&key.as_ref()) {
            continue;
        }
        serde_json::to_writer(&mut out, &key).ok()?;
        out.push(b':');
        let start = out.len();
        has_input |= key == "input";
        if key == "input" && !history.is_empty() {
            write_input(history, value, &mut out)?;
        } else {
            out.extend_from_slice(value.get().as_bytes());
        }
        if key == "model" {
            model_span = Some(start..out.len());
        }
        out.push(b',');
    }
    if !has_input && !history.is_empty() {
        out.extend_from_slice(b"\"input\":");
        serde_json::to_writer(&mut out, history).ok()?;
        out.push(b',');
    }
    out.extend_from_slice(b"\"store\":false}");
    Some(Native {
        api: NativeApi::Responses,
        body: out.into(),
        model_span: model_span?,
        is_required,
    })
}

/// Writes the items of a history and those of an input as one list.
fn write_input(history: &[Value], input: &RawValue, out: &mut Vec<u8>) -> Option<()> {
    let own = input.get();
    serde_json::to_writer(&mut *out, history).ok()?;
    // The list goes on.
    out.pop();
    if own.starts_with('"') {
        out.extend_from_slice(b",{\"role\":\"user\",\"content\":");
        out.extend_from_slice(own.as_bytes());
        out.extend_from_slice(b"}]");
        return Some(());
    }
    let items = own.strip_prefix('[')?;
    if !items.starts_with(']') && items.trim_ascii_start() != "]" {
        out.push(b',');
    }
    out.extend_from_slice(items.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(body: &str, history: &[Value]) -> Value {
        let native = native_request(body.as_bytes(), history, false).unwrap();
        assert_eq!(&native.body[native.model_span.clone()], b"\"m\"");
        serde_json::from_slice(&native.body).unwrap()
    }

    #[test]
    fn only_what_is_this_services_own_changes() {
        let body = r#"{"store":true, "input" : [{"a":1e2}], "model" :"m","conversation":null,"tools":[{"type":"web_search"}]}"#;
        let native = native_request(body.as_bytes(), &[], true).unwrap();
        let expected =
            r#"{"input":[{"a":1e2}],"model":"m","tools":[{"type":"web_search"}],"store":false}"#;
        assert_eq!(native.body, expected);
        assert!(native.is_required);
    }

    #[test]
    fn a_search_that_is_done_here_is_left_out() {
        let body = r#"{"model":"m","input":"x","tools":[{"type":"file_search","vector_store_ids":["v"]},{"type":"web_search"}],"tool_choice":{"type":"file_search"},"include":["file_search_call.results","a"]}"#;
        let expected = json!({"model": "m", "input": "x", "tools": [{"type": "web_search"}], "tool_choice": "auto", "include": ["a"], "store": false});
        assert_eq!(request(body, &[]), expected);
    }

    #[test]
    fn a_history_stands_before_the_input() {
        let history = [json!({"role": "user", "content": "one"}), json!({"x": 1})];
        for (input, own) in [
            ("\"two\"", vec![json!({"role": "user", "content": "two"})]),
            ("[ {\"y\":2} ]", vec![json!({"y": 2})]),
            ("[ ]", vec![]),
            ("[]", vec![]),
        ] {
            let body = format!(r#"{{"model":"m","previous_response_id":"r","input":{input}}}"#);
            let expected: Vec<Value> = history.iter().cloned().chain(own).collect();
            let expected = json!({"model": "m", "input": expected, "store": false});
            assert_eq!(request(&body, &history), expected, "{input}");
        }
        let expected = json!({"model": "m", "input": history, "store": false});
        assert_eq!(request(r#"{"model":"m"}"#, &history), expected);
    }

    #[test]
    fn what_is_not_a_request_has_no_native_form() {
        for body in ["", "[]", "{}", "{\"input\":1}"] {
            assert!(
                native_request(body.as_bytes(), &[], false).is_none(),
                "{body}"
            );
        }
    }
}
