//! The results of tools.

use serde_json::Value;

/// Returns what a model reads of the result of a tool of MCP: its structured value, or else its texts.
///
/// # Errors
/// Returns the texts of a result that is an error, and why a result cannot be read.
pub fn result_text(result: &[u8]) -> Result<String, String> {
    let unreadable = |_| "the result of the tool cannot be read".to_owned();
    let result: Value = serde_json::from_slice(result).map_err(unreadable)?;
    let blocks = result["content"].as_array().into_iter().flatten();
    let texts = blocks.map(|block| match block["text"].as_str() {
        Some(text) => text.to_owned(),
        None => block["resource"]["text"].as_str().map_or_else(
            || format!("[{}]", block["type"].as_str().unwrap_or("content")),
            str::to_owned,
        ),
    });
    let texts = texts.collect::<Vec<_>>().join("\n");
    if result["isError"] == true {
        return Err(texts);
    }
    match &result["structuredContent"] {
        Value::Null => Ok(texts),
        value => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(result: &Value) -> Result<String, String> {
        result_text(result.to_string().as_bytes())
    }

    #[test]
    fn a_model_reads_the_texts_of_a_result_or_its_value() {
        let content = json!([
            {"type": "text", "text": "a"}, {"type": "image", "data": "x"},
            {"type": "resource", "resource": {"uri": "u", "text": "b"}},
        ]);
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(text(&json!({"content": content})), ok("a\n[image]\nb"));
        let value = json!({"content": content, "structuredContent": {"x": 1}});
        assert_eq!(text(&value), ok("{\"x\":1}"));
        let failed = json!({"content": [{"type": "text", "text": "no"}], "isError": true});
        assert_eq!(text(&failed), Err("no".to_owned()));
        assert!(result_text(b"{").is_err());
    }
}
