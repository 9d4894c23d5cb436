//! Takes the tool out of a chat request. Everything else of the body stays as it came.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use super::{FileSearch, RESULTS, TOOL, choice_without, is_file_search};
use crate::{
    members::Members,
    translate::{Fields, InvalidField, Path},
};

/// Returns a request, of chat or of the Responses API, without the tool, and the search that it asks for; `None` if it does not have the tool.
///
/// # Errors
/// Returns an error if the tool is not valid, or stands there twice.
pub fn take_from_chat(body: &[u8]) -> Result<Option<(Bytes, FileSearch)>, InvalidField> {
    if memmem::find(body, TOOL.as_bytes()).is_none() {
        return Ok(None);
    }
    // What cannot be read is refused by its reader.
    let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else {
        return Ok(None);
    };
    let read = |key: &str| -> Option<Value> { serde_json::from_str(members.get(key)?.get()).ok() };
    let Some(Value::Array(tools)) = read("tools") else {
        return Ok(None);
    };
    let (mut search, mut others) = (None, Vec::new());
    for (index, tool) in tools.into_iter().enumerate() {
        if !is_file_search(&tool) {
            others.push(tool);
            continue;
        }
        let list = Path::Root.key("tools");
        let path = list.index(index);
        FileSearch::set(&mut search, Fields::of(tool, path)?, path)?;
    }
    let Some(mut search) = search else {
        return Ok(None);
    };
    let (choice, is_chosen) = choice_without(read("tool_choice"), !others.is_empty());
    search.is_chosen = is_chosen;
    let mut include = None;
    if let Some(Value::Array(mut entries)) = read("include") {
        let all = entries.len();
        entries.retain(|entry| entry != RESULTS);
        search.includes_results = entries.len() < all;
        include = (!entries.is_empty()).then(|| Value::from(entries));
    }
    let others = (!others.is_empty()).then(|| Value::from(others));
    let has_tools = others.is_some();
    let changed = [
        ("tools", others),
        ("tool_choice", choice),
        ("include", include),
    ];
    let body = members.with(|key| match key {
        // Servers of chat refuse the field without tools, where it has no effect.
        "parallel_tool_calls" if !has_tools => Some(None),
        _ => changed
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.as_ref()),
    });
    Ok(Some((body.into(), search)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(body: &str) -> (String, FileSearch) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let (body, search) = take_from_chat(&body).unwrap().unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), search)
    }

    #[test]
    fn the_tool_is_taken_out_and_all_else_stays() {
        let body = r#"{"model":"m","x":1e2,"tools":[{"type":"file_search","vector_store_ids":["vs_1"],"max_num_results":3}],"tool_choice":"required","parallel_tool_calls":true,"include":["file_search_call.results"],"messages":[{"a": 1}]}"#;
        let (rest, search) = taken(body);
        assert_eq!(rest, r#"{"model":"m","x":1e2,"messages":[{"a": 1}]}"#);
        assert_eq!(search.vector_store_ids, ["vs_1"]);
        assert_eq!(search.options["max_num_results"], 3);
        assert!(search.includes_results && search.is_chosen);
        assert_eq!(search.path, "tools[0]");
    }

    #[test]
    fn other_tools_and_their_choice_stay() {
        let function = json!({"type": "function", "function": {"name": "f"}});
        let tool = json!({"type": "file_search", "vector_store_ids": ["vs_1"]});
        for (choice, rest, is_chosen) in [
            (json!("auto"), json!("auto"), true),
            (json!("none"), json!("none"), false),
            (json!("required"), json!("auto"), true),
            (json!({"type": "file_search"}), json!("auto"), true),
            (function.clone(), function.clone(), false),
        ] {
            let body = json!({"model": "m", "tools": [function, tool], "tool_choice": choice});
            let (body, search) = taken(&body.to_string());
            let expected = json!({"model": "m", "tools": [function], "tool_choice": rest});
            assert_eq!(body, expected.to_string());
            assert_eq!(search.is_chosen, is_chosen, "{choice}");
            assert_eq!(search.path, "tools[1]");
        }
    }

    #[test]
    fn what_has_no_such_tool_stays_as_it_is() {
        for body in [
            r#"{"messages":[{"content":"file_search"}]}"#,
            r#"{"tools":[{"type":"function","function":{"name":"file_search"}}]}"#,
            r#"{"tools":"file_search"}"#,
            "file_search",
        ] {
            let body = Bytes::copy_from_slice(body.as_bytes());
            assert_eq!(take_from_chat(&body), Ok(None));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |tools: Value| {
            let body = json!({"tools": tools}).to_string();
            take_from_chat(body.as_bytes()).unwrap_err().field
        };
        let tool = json!({"type": "file_search", "vector_store_ids": ["vs_1"]});
        assert_eq!(refused(json!([tool, tool])), "tools[1]");
        for wrong in [
            json!({"type": "file_search"}),
            json!({"type": "file_search", "vector_store_ids": []}),
            json!({"type": "file_search", "vector_store_ids": [1]}),
        ] {
            assert_eq!(refused(json!([wrong])), "tools[0].vector_store_ids");
        }
        let more = json!({"type": "file_search", "vector_store_ids": ["a"], "x": 1});
        assert_eq!(refused(json!([more])), "tools[0].x");
    }
}
